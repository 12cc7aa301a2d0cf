//! Functions that need the catalog or the session: `format_type`, `pg_get_viewdef`, `current_schema`, the
//! casts to and from `regclass` and its kin.
//!
//! The binder looks a function up with [`find`], coerces the arguments to `args`, and computes it with
//! [`SystemFunction::eval`] and the statement's [`FunctionContext`]. All are stable within a statement. An argument
//! that PostgreSQL takes as either a name or an OID has type regclass here: a literal, text or OID is cast to that.
//! The casts are functions too: `cast_to_regclass(text)` and `regclass_to_text(regclass)`, likewise for `regtype`,
//! `regproc`, `regnamespace` and `regrole`; `cast_to_regprocedure(text)` gives an OID.

pub(crate) mod definitions;
mod description;
mod privilege;
pub mod reg;
mod routine;
mod row;
mod session;
mod size;
#[cfg(test)]
mod tests;
pub mod type_name;
mod visibility;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef};
use weir_common::{ObjectId, Result, SqlType};

use crate::snapshot::{CatalogSnapshot, DATABASE, ROLE};
use crate::system::rows::{Value, array_of};
use crate::system::{RelationSize, Setting};
use row::Row;

/// What a function may see.
#[derive(Clone, Debug)]
pub struct FunctionContext {
    /// The objects.
    pub catalog: Arc<CatalogSnapshot>,
    /// The session's user.
    pub user: String,
    /// The session's database.
    pub database: String,
    /// The schemas that unqualified names are looked up in; `pg_catalog` is implied.
    pub search_path: Vec<String>,
    /// The session's number, as sent to the client for cancelling.
    pub backend_pid: i32,
    /// The session's settings.
    pub settings: Vec<Setting>,
    /// `version()`.
    pub version: String,
    /// When the server started, microseconds since 1970 UTC.
    pub started_at: i64,
    /// `txid_current()`.
    pub transaction_id: i64,
    /// Rows and bytes of the stored relations.
    pub relation_sizes: Vec<RelationSize>,
}

/// A function of the catalog or the session.
pub struct SystemFunction {
    /// Its name, without schema.
    pub name: &'static str,
    /// What its arguments are coerced to first.
    pub args: Vec<SqlType>,
    /// What it returns.
    pub result: SqlType,
    /// Whether a NULL argument makes the result NULL.
    pub strict: bool,
    compute: Compute,
}

type Compute = fn(&FunctionContext, &Row<'_>) -> Result<Value>;

impl SystemFunction {
    /// Computes the function over columns of its argument types, `rows` long each.
    pub fn eval(&self, cx: &FunctionContext, args: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let values: Result<Vec<Value>> = (0..rows)
            .map(|i| {
                let row = Row::new(args, i);
                if self.strict && args.iter().any(|column| column.is_null(i)) {
                    return Ok(Value::Null);
                }
                (self.compute)(cx, &row)
            })
            .collect();
        array_of(&self.result.arrow(), &values?)
    }
}

/// The function of this name with this many arguments.
pub fn find(name: &str, nargs: usize) -> Option<&'static SystemFunction> {
    functions().get(name)?.iter().find(|function| function.args.len() == nargs)
}

/// Whether some function has this name, whatever its arguments.
pub fn is_name(name: &str) -> bool {
    functions().contains_key(name)
}

/// Every function, by name; those of one name differ in how many arguments they have.
pub fn functions() -> &'static HashMap<&'static str, Vec<SystemFunction>> {
    static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<SystemFunction>>> = LazyLock::new(|| {
        let families = [
            definitions::functions(),
            description::functions(),
            privilege::functions(),
            reg::functions(),
            routine::functions(),
            session::functions(),
            size::functions(),
            type_name::functions(),
            visibility::functions(),
        ];
        let mut by_name: HashMap<&'static str, Vec<SystemFunction>> = HashMap::new();
        for function in families.into_iter().flatten() {
            by_name.entry(function.name).or_default().push(function);
        }
        by_name
    });
    &FUNCTIONS
}

impl FunctionContext {
    /// The context of a session of the default user.
    pub fn new(catalog: Arc<CatalogSnapshot>) -> FunctionContext {
        FunctionContext {
            catalog,
            user: ROLE.to_owned(),
            database: DATABASE.to_owned(),
            search_path: vec!["public".to_owned()],
            backend_pid: 0,
            settings: Vec::new(),
            version: "PostgreSQL 14.0 (Weir)".to_owned(),
            started_at: 0,
            transaction_id: 0,
            relation_sizes: Vec::new(),
        }
    }

    /// The bytes of a stored relation; 0 when it is not known.
    pub fn relation_bytes(&self, id: ObjectId) -> u64 {
        self.relation_sizes.iter().find(|size| size.id == id).map_or(0, |size| size.bytes)
    }

    /// The value of a setting, by its name in any case.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        let known = self.settings.iter().find(|setting| setting.name.eq_ignore_ascii_case(name));
        known
            .map(|setting| setting.value.as_str())
            .or_else(|| crate::system::preset(&name.to_ascii_lowercase()))
    }
}

/// A function whose result is NULL when an argument is.
fn strict(name: &'static str, args: &[SqlType], result: SqlType, compute: Compute) -> SystemFunction {
    SystemFunction { name, args: args.to_vec(), result, strict: true, compute }
}

/// A function that sees NULL arguments.
fn lenient(name: &'static str, args: &[SqlType], result: SqlType, compute: Compute) -> SystemFunction {
    SystemFunction { name, args: args.to_vec(), result, strict: false, compute }
}
