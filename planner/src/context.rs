//! What binding needs beyond the statement: the catalog, the session, the parameters.
//!
//! Place in the flow: the session layer makes a [`BindContext`] for each statement. Invariant: binding twice with
//! an equal context gives the same result; in particular the time is given here and not read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use weir_catalog::snapshot::CatalogSnapshot;
use weir_common::{Error, ObjectId, Result, SqlState, SqlType};
use weir_exec::expr::Literal;

use crate::rules::DisabledRules;
use crate::rules::optional::DISABLED_RULES;

/// The facts of a session that can change what a statement means.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    pub user: String,
    pub database: String,
    /// Schemas searched for unqualified names, without the implicit `pg_catalog`, which comes first.
    pub search_path: Vec<String>,
    /// IANA name of the session's zone: `UTC`, `Europe/Berlin`.
    pub time_zone: String,
    pub backend_pid: i32,
    /// Every run-time parameter by its lower-case name, for `SHOW` and `current_setting`.
    pub settings: Arc<BTreeMap<String, String>>,
    /// What `now()` is: the start of the transaction, microseconds since 1970-01-01 UTC.
    pub now_micros: i64,
}

impl SessionInfo {
    /// The optimizer's rules that the session has switched off.
    pub fn disabled_rules(&self) -> Result<DisabledRules> {
        DisabledRules::parse(self.settings.get(DISABLED_RULES).map_or("", String::as_str))
    }
}

impl Default for SessionInfo {
    fn default() -> Self {
        SessionInfo {
            user: "weir".into(),
            database: "weir".into(),
            search_path: vec!["public".into()],
            time_zone: "UTC".into(),
            backend_pid: 0,
            settings: Arc::default(),
            now_micros: 0,
        }
    }
}

/// The types of `$1`, `$2`, …: declared by the client, or inferred by the first use that decides.
#[derive(Debug, Default)]
pub struct ParamTypes {
    types: Mutex<Vec<Option<SqlType>>>,
    /// Whether parameters beyond the declared ones may come into being.
    open: bool,
}

impl ParamTypes {
    /// Declared types; `None` where the client leaves the choice to us. More parameters may be used.
    pub fn declared(types: Vec<Option<SqlType>>) -> ParamTypes {
        ParamTypes { types: Mutex::new(types), open: true }
    }

    /// A statement that may not use parameters (simple query protocol, views).
    pub fn none() -> ParamTypes {
        ParamTypes { types: Mutex::new(Vec::new()), open: false }
    }

    /// The type of `$number`, when it is known. 42P02 when there is no such parameter.
    pub fn lookup(&self, number: usize) -> Result<Option<SqlType>> {
        let mut types = self.lock();
        if number == 0 || number > 65535 || (!self.open && number > types.len()) {
            let message = format!("there is no parameter ${number}");
            return Err(Error::new(SqlState::UNDEFINED_PARAMETER, message));
        }
        if types.len() < number {
            types.resize(number, None);
        }
        Ok(types[number - 1].clone())
    }

    /// Decides the type of `$number`; the first decision stays.
    pub fn infer(&self, number: usize, ty: SqlType) {
        let mut types = self.lock();
        if let Some(slot) = types.get_mut(number.wrapping_sub(1)) {
            slot.get_or_insert(ty);
        }
    }

    /// All types after binding; 42P18 for one that nothing decided.
    pub fn resolved(&self) -> Result<Vec<SqlType>> {
        let types = self.lock();
        let undecided = |number: usize| {
            let message = format!("could not determine data type of parameter ${number}");
            Error::new(SqlState::INDETERMINATE_DATATYPE, message)
        };
        types.iter().enumerate().map(|(i, ty)| ty.clone().ok_or_else(|| undecided(i + 1))).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<SqlType>>> {
        self.types.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value of a parameter, in the type that [`ParamTypes`] says.
pub type ParamValue = Literal;

/// What stands in a plan where the statement has parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ParamValues {
    /// Typed NULLs: the statement is only described.
    #[default]
    Described,
    /// Their values, as literals.
    Given(Vec<ParamValue>),
    /// Placeholders of the parameters' types: the plan is kept, and the values come when it runs.
    Kept,
}

/// Sequences as a session uses them. A value is durable before it is returned.
pub trait SequenceAccess: Send + Sync {
    /// `nextval`, so many times.
    fn next(&self, sequence: ObjectId, count: usize) -> Result<Vec<i64>>;
    /// `currval`.
    fn current(&self, sequence: ObjectId) -> Result<i64>;
    /// `lastval`.
    fn last(&self) -> Result<i64>;
    /// `setval`.
    fn set(&self, sequence: ObjectId, value: i64, is_called: bool) -> Result<()>;
    /// The last value, and whether it was given.
    fn point(&self, sequence: ObjectId) -> Result<(i64, bool)>;
}

/// Everything a statement is bound against.
pub struct BindContext {
    pub catalog: Arc<CatalogSnapshot>,
    pub session: SessionInfo,
    pub params: ParamTypes,
    pub param_values: ParamValues,
    /// The session's sequences; without them no statement can use any.
    pub sequences: Option<Arc<dyn SequenceAccess>>,
}

impl BindContext {
    /// A context without parameters.
    pub fn new(catalog: Arc<CatalogSnapshot>, session: SessionInfo) -> BindContext {
        let param_values = ParamValues::Described;
        BindContext { catalog, session, params: ParamTypes::none(), param_values, sequences: None }
    }
}
