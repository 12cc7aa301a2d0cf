//! The table of overloads: what each SQL name or operator means for which argument types.
//!
//! Filled once, at first use, by the `register` function of each family. Overload resolution reads it by SQL
//! name ([`overloads`]), stored plans by UDF name ([`by_name`]). UDF names are PostgreSQL's `pg_proc` names where
//! one exists; they are part of the format of stored plans and must not change their meaning.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field};
use datafusion::logical_expr::{Operator, ScalarUDF};
use weir_common::types::{NumericDisplay, NumericType};
use weir_common::{Result, SqlType};

use super::call::{ArrowResult, Call, Eval, PgFunction};
use super::type_code;

/// The type a parameter accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    /// This type, or what casts to it implicitly.
    Is(SqlType),
    /// Any type, as it is.
    Any,
    /// Any type; all such parameters have the same one.
    AnyElement,
    /// An array whose elements are of the `AnyElement` type.
    AnyArray,
    /// Any type but arrays, as it is.
    AnyNonArray,
}

/// The type of a result.
#[derive(Clone, Debug)]
pub(crate) enum Returns {
    Is(SqlType),
    /// The type of this argument.
    SameAs(usize),
    /// The element type of this array argument.
    ElementOf(usize),
    /// An array of this argument's type.
    ArrayOf(usize),
    /// A numeric that depends on the numeric arguments.
    Numeric(fn(&[NumericType]) -> NumericType),
}

/// What runs.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Udf(Arc<ScalarUDF>),
    Native(Operator),
}

/// One meaning of a SQL name.
#[derive(Clone, Debug)]
pub(crate) struct Overload {
    /// What resolution sees.
    pub(crate) params: Vec<Param>,
    /// The last parameter may be given any number of times, also never.
    pub(crate) variadic: bool,
    /// What the arguments are cast to, where it differs from `params` (float4 + float8).
    pub(crate) cast_to: Option<Vec<SqlType>>,
    /// Numeric arguments are brought to one scale first.
    pub(crate) same_scale: bool,
    /// Works on the text of its arguments, whatever their types: see `any_text`.
    pub(crate) all_text: bool,
    pub(crate) returns: Returns,
    pub(crate) body: Body,
    pub(crate) strict: bool,
    pub(crate) volatile: bool,
}

/// Collects overloads while the table is filled.
#[derive(Default)]
pub(crate) struct Table {
    overloads: HashMap<&'static str, Vec<Overload>>,
    udfs: HashMap<String, Arc<ScalarUDF>>,
    evaluators: HashMap<String, Eval>,
    list_makers: HashSet<String>,
    set_functions: HashSet<&'static str>,
}

/// A parameter or result type that is always the same, short to write in tables.
pub(crate) const fn is(ty: SqlType) -> Param {
    Param::Is(ty)
}

/// Any numeric: the scale is the argument's own.
pub(crate) const NUMERIC: SqlType = SqlType::Numeric(NumericType::UNCONSTRAINED);

impl Table {
    /// Adds a strict, immutable function whose UDF has the SQL name.
    pub(crate) fn one(
        &mut self,
        name: &'static str,
        params: &[SqlType],
        result: SqlType,
        eval: impl Fn(&Call<'_>) -> Result<ArrayRef> + Send + Sync + 'static,
    ) {
        self.add(name, name, params, result, eval);
    }

    /// Adds a strict, immutable overload `sql` implemented by the UDF `udf`.
    pub(crate) fn add(
        &mut self,
        sql: &'static str,
        udf: &str,
        params: &[SqlType],
        result: SqlType,
        eval: impl Fn(&Call<'_>) -> Result<ArrayRef> + Send + Sync + 'static,
    ) {
        let params: Vec<Param> = params.iter().cloned().map(Param::Is).collect();
        self.generic(sql, udf, &params, Returns::Is(result), eval);
    }

    /// Adds a strict, immutable overload with polymorphic parameters or a computed result type.
    pub(crate) fn generic(
        &mut self,
        sql: &'static str,
        udf: &str,
        params: &[Param],
        returns: Returns,
        eval: impl Fn(&Call<'_>) -> Result<ArrayRef> + Send + Sync + 'static,
    ) -> &mut Overload {
        let udf = self.udf(udf, params.len(), &returns, false, eval);
        self.push(sql, params, returns, Body::Udf(udf))
    }

    /// Adds a volatile function.
    pub(crate) fn volatile(
        &mut self,
        name: &'static str,
        params: &[SqlType],
        result: SqlType,
        eval: impl Fn(&Call<'_>) -> Result<ArrayRef> + Send + Sync + 'static,
    ) {
        let returns = Returns::Is(result);
        let udf = self.udf(name, params.len(), &returns, true, eval);
        let params: Vec<Param> = params.iter().cloned().map(Param::Is).collect();
        self.push(name, &params, returns, Body::Udf(udf)).volatile = true;
    }

    /// Adds a strict, immutable function that gives the rows of a set-returning function as one list.
    ///
    /// DataFusion is told that it is volatile: else it makes a list of constants while it plans, and writes a million
    /// values into the plan. What is true of it [`is_list_maker`] says.
    pub(crate) fn list_maker(
        &mut self,
        sql: &'static str,
        udf: &str,
        params: &[Param],
        returns: Returns,
        eval: impl Fn(&Call<'_>) -> Result<ArrayRef> + Send + Sync + 'static,
    ) -> &mut Overload {
        let function = self.udf(udf, params.len(), &returns, true, eval);
        self.list_makers.insert(udf.to_owned());
        self.set_functions.insert(sql);
        self.push(sql, params, returns, Body::Udf(function))
    }

    /// Adds a set-returning function whose rows are the list that a function gives which is there already.
    pub(crate) fn rows_of(&mut self, sql: &'static str, udf: &str, params: &[SqlType], list: SqlType) {
        self.set_functions.insert(sql);
        self.alias(sql, udf, params, Returns::Is(list));
    }

    /// Adds an immutable function that no SQL name means.
    pub(crate) fn unnamed(
        &mut self,
        udf: &str,
        params: usize,
        returns: Returns,
        eval: impl Fn(&Call<'_>) -> Result<ArrayRef> + Send + Sync + 'static,
    ) {
        self.udf(udf, params, &returns, false, eval);
    }

    /// As [`Self::unnamed`], of no parameters and with a value of its own each time.
    pub(crate) fn unnamed_volatile(
        &mut self,
        udf: &str,
        returns: Returns,
        eval: impl Fn(&Call<'_>) -> Result<ArrayRef> + Send + Sync + 'static,
    ) {
        self.udf(udf, 0, &returns, true, eval);
    }

    /// Adds another name or other parameter types for a UDF that is there already.
    pub(crate) fn alias(
        &mut self,
        sql: &'static str,
        udf: &str,
        params: &[SqlType],
        returns: Returns,
    ) -> &mut Overload {
        let params: Vec<Param> = params.iter().cloned().map(Param::Is).collect();
        self.generic_alias(sql, udf, &params, returns)
    }

    /// As [`Self::alias`], with polymorphic parameters.
    pub(crate) fn generic_alias(
        &mut self,
        sql: &'static str,
        udf: &str,
        params: &[Param],
        returns: Returns,
    ) -> &mut Overload {
        let body = Body::Udf(self.udfs.get(udf).cloned().expect("an alias follows the function it names"));
        self.push(sql, params, returns, body)
    }

    /// Adds a comparison of two values of one type, done by Arrow.
    pub(crate) fn native(
        &mut self,
        sql: &'static str,
        operator: Operator,
        params: &[Param],
    ) -> &mut Overload {
        self.push(sql, params, Returns::Is(SqlType::Bool), Body::Native(operator))
    }

    fn push(&mut self, sql: &'static str, params: &[Param], returns: Returns, body: Body) -> &mut Overload {
        let overload = Overload {
            params: params.to_vec(),
            variadic: false,
            cast_to: None,
            same_scale: false,
            all_text: false,
            returns,
            body,
            strict: true,
            volatile: false,
        };
        let family = self.overloads.entry(sql).or_default();
        family.push(overload);
        family.last_mut().expect("just pushed")
    }

    fn udf(
        &mut self,
        name: &str,
        params: usize,
        returns: &Returns,
        volatile: bool,
        eval: impl Fn(&Call<'_>) -> Result<ArrayRef> + Send + Sync + 'static,
    ) -> Arc<ScalarUDF> {
        let eval: Eval = Arc::new(eval);
        self.evaluators.insert(name.to_owned(), eval.clone());
        let function = PgFunction::new(name.to_owned(), arrow_result(returns), volatile, eval);
        let function = if params == 0 { function.without_arguments() } else { function };
        let udf = Arc::new(ScalarUDF::new_from_impl(function));
        let previous = self.udfs.insert(name.to_owned(), udf.clone());
        assert!(previous.is_none(), "two functions named {name}");
        udf
    }
}

impl Returns {
    /// The SQL type for these (cast) argument types.
    pub(crate) fn sql(&self, args: &[SqlType]) -> SqlType {
        match self {
            Returns::Is(ty) => ty.clone(),
            Returns::SameAs(i) => args[*i].clone(),
            Returns::ElementOf(i) => element_of(&args[*i]),
            Returns::ArrayOf(i) => SqlType::Array(Box::new(args[*i].clone())),
            Returns::Numeric(of) => {
                let numerics: Vec<NumericType> = args
                    .iter()
                    .filter_map(|ty| match ty {
                        SqlType::Numeric(numeric) => Some(*numeric),
                        _ => None,
                    })
                    .collect();
                SqlType::Numeric(of(&numerics))
            }
        }
    }
}

/// The element type of an array type.
pub(crate) fn element_of(array: &SqlType) -> SqlType {
    match array {
        SqlType::Array(element) => element.as_ref().clone(),
        SqlType::Int2Vector => SqlType::Int2,
        SqlType::OidVector => SqlType::Oid,
        other => other.clone(),
    }
}

fn arrow_result(returns: &Returns) -> ArrowResult {
    match returns {
        Returns::Is(ty) => ArrowResult::Fixed(ty.arrow()),
        Returns::SameAs(i) => {
            let i = *i;
            ArrowResult::From(Arc::new(move |args| args[i].clone()))
        }
        Returns::ElementOf(i) => {
            let i = *i;
            ArrowResult::From(Arc::new(move |args| match &args[i] {
                DataType::List(element) => element.data_type().clone(),
                other => other.clone(),
            }))
        }
        Returns::ArrayOf(i) => {
            let i = *i;
            ArrowResult::From(Arc::new(move |args| {
                DataType::List(Arc::new(Field::new_list_field(args[i].clone(), true)))
            }))
        }
        Returns::Numeric(of) => {
            let of = *of;
            ArrowResult::From(Arc::new(move |args| {
                let numerics: Vec<NumericType> = args
                    .iter()
                    .filter_map(|ty| match ty {
                        DataType::Decimal128(precision, scale) => Some(NumericType {
                            precision: *precision,
                            scale: *scale,
                            display: NumericDisplay::Fixed,
                        }),
                        _ => None,
                    })
                    .collect();
                DataType::Decimal128(38, of(&numerics).scale)
            }))
        }
    }
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table::default();
    super::register_families(&mut table);
    table
});

/// All meanings of a SQL name or operator, in registration order.
pub(crate) fn overloads(name: &str) -> &'static [Overload] {
    TABLE.overloads.get(name).map_or(&[], Vec::as_slice)
}

/// Every function by UDF name, but those with a type in their name (casts, `round` to a constant scale), which
/// only [`by_name`] finds.
pub fn registry() -> &'static HashMap<String, Arc<ScalarUDF>> {
    &TABLE.udfs
}

/// What the registered UDF of this name runs.
pub(crate) fn evaluator(name: &str) -> Option<Eval> {
    TABLE.evaluators.get(name).cloned()
}

/// Whether the UDF of this name gives the rows of a set-returning function as a list: immutable, whatever it says of
/// itself.
pub fn is_list_maker(name: &str) -> bool {
    TABLE.list_makers.contains(name)
}

/// Whether this SQL name means a set-returning function: what it resolves to gives the rows as a list.
pub fn is_set_function(name: &str) -> bool {
    TABLE.set_functions.contains(name)
}

/// The UDF of this name, as a stored plan names it.
pub fn by_name(name: &str) -> Option<Arc<ScalarUDF>> {
    TABLE.udfs.get(name).cloned().or_else(|| type_code::parametrised(name))
}
