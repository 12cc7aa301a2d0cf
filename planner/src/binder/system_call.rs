//! Functions made for one statement: the catalog's functions with the session's context inside, casts to and from
//! `regclass` and its kin, subscripts of the catalog's vectors.
//!
//! Invariants: a call closes over one immutable context, so it is stable within the statement; none of these is
//! in the registry, so none may stand in a view's plan.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute;
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use weir_catalog::functions::{self as catalog_functions, FunctionContext, SystemFunction};
use weir_catalog::system::Setting;
use weir_common::{Error, Result, SqlType};
use weir_exec::error::into_datafusion;
use weir_exec::functions::{self, CastContext};

use super::Binder;
use super::typed::Typed;

type Compute = dyn Fn(&[ArrayRef], usize) -> Result<ArrayRef> + Send + Sync;

/// A UDF around a closure.
struct StatementFunction {
    name: String,
    result: DataType,
    signature: Signature,
    compute: Box<Compute>,
}

/// A call of a closure over these arguments, which have the right types already.
pub(crate) fn call(
    name: &str,
    args: Vec<Expr>,
    result: DataType,
    volatility: Volatility,
    compute: impl Fn(&[ArrayRef], usize) -> Result<ArrayRef> + Send + Sync + 'static,
) -> Expr {
    let shape = if args.is_empty() { TypeSignature::Nullary } else { TypeSignature::Any(args.len()) };
    let function = StatementFunction {
        name: name.to_owned(),
        result,
        signature: Signature::new(shape, volatility),
        compute: Box::new(compute),
    };
    ScalarUDF::new_from_impl(function).call(args)
}

impl std::fmt::Debug for StatementFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// Within a statement the name says it all: every call closes over the same context.
impl PartialEq for StatementFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.result == other.result
    }
}

impl Eq for StatementFunction {}

impl Hash for StatementFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for StatementFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.result.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let rows = args.number_rows;
        let arrays: DfResult<Vec<ArrayRef>> = args.args.iter().map(|arg| arg.to_array(rows)).collect();
        let arrays = arrays?;
        let result = (self.compute)(&arrays, rows).map_err(into_datafusion)?;
        Ok(ColumnarValue::Array(result))
    }
}

impl Binder<'_> {
    /// A function of the catalog or the session, if there is one of this name and number of arguments.
    pub(crate) fn system_function(
        &self,
        name: &str,
        args: &[Typed],
        position: Option<usize>,
    ) -> Result<Option<Typed>> {
        let Some(function) = catalog_functions::find(name, args.len()) else { return Ok(None) };
        if self.continuous.get() {
            return Err(Error::unsupported(format!("{name}() in a materialized view"))
                .with_hint("Call it in the query that reads the view.")
                .at(position));
        }
        let args: Result<Vec<Expr>> =
            args.iter().zip(&function.args).map(|(arg, ty)| self.coerce(arg.clone(), ty)).collect();
        let expr = self.system_expr(function, args?);
        Ok(Some(Typed::new(expr, function.result.clone(), position)))
    }

    fn system_expr(&self, function: &'static SystemFunction, args: Vec<Expr>) -> Expr {
        let context = Arc::new(self.function_context());
        call(function.name, args, function.result.arrow(), Volatility::Stable, move |args, rows| {
            function.eval(&context, args, rows)
        })
    }

    fn function_context(&self) -> FunctionContext {
        let session = &self.cx.session;
        let setting = |(name, value): (&String, &String)| Setting {
            name: name.clone(),
            value: value.clone(),
            ..Setting::default()
        };
        FunctionContext {
            user: session.user.clone(),
            database: session.database.clone(),
            search_path: session.search_path.clone(),
            backend_pid: session.backend_pid,
            settings: session.settings.iter().map(setting).collect(),
            ..FunctionContext::new(Arc::clone(&self.cx.catalog))
        }
    }

    /// Casts that need the catalog: text to and from `regclass` and its kin.
    pub(crate) fn system_cast(
        &self,
        from: &Typed,
        to: &SqlType,
        context: CastContext,
    ) -> Result<Option<Expr>> {
        let name = match (&from.ty, to) {
            (ty, to) if ty.is_string() && to.is_oid_like() && *to != SqlType::Oid => {
                if context == CastContext::Implicit && from.ty != SqlType::Unknown && *to != SqlType::Regclass
                {
                    return Ok(None);
                }
                format!("cast_to_{}", to.name())
            }
            (ty, to) if ty.is_oid_like() && *ty != SqlType::Oid && to.is_string() => {
                if context == CastContext::Implicit {
                    return Ok(None);
                }
                format!("{}_to_text", ty.name())
            }
            _ => return Ok(None),
        };
        let Some(function) = catalog_functions::find(&name, 1) else { return Ok(None) };
        Ok(Some(self.system_expr(function, vec![from.expr.clone()])))
    }
}

/// A call of a function of the registry over arguments that have the right types already.
pub(crate) fn registered(name: &str, args: Vec<Expr>) -> Result<Expr> {
    let function = functions::by_name(name);
    function.map(|f| f.call(args)).ok_or_else(|| Error::internal(format!("no function named {name}")))
}

/// `ARRAY[…]` of elements of one type.
pub(crate) fn make_array(items: Vec<Expr>, element: &SqlType) -> Result<Expr> {
    if items.is_empty() {
        let empty = ScalarValue::List(ScalarValue::new_list_nullable(&[], &element.arrow()));
        return Ok(Expr::Literal(empty, None));
    }
    registered(functions::MAKE_ARRAY, items)
}

/// `a[i]`, NULL outside; `base` is the subscript of the first element.
pub(crate) fn subscript(array: Expr, index: Expr, base: i32, element: &SqlType) -> Expr {
    let result = element.arrow();
    call("array_subscript", vec![array, index], result, Volatility::Immutable, move |args, rows| {
        let (list, index) = (args[0].as_list::<i32>(), args[1].as_primitive::<Int32Type>());
        let place = |row: usize| {
            let start = list.value_offsets()[row];
            let length = list.value_offsets()[row + 1] - start;
            let at = index.value(row).checked_sub(base)?;
            let known = list.is_valid(row) && index.is_valid(row) && (0..length).contains(&at);
            known.then_some(u32::try_from(start + at).ok()?)
        };
        let indices: UInt32Array = (0..rows).map(place).collect();
        compute::take(list.values(), &indices, None).map_err(Error::internal)
    })
}
