//! `Settings`: the run-time parameters of one session, with SET, SET LOCAL, RESET and their transactions.
//!
//! Invariant: `current` is what SHOW prints; `session` is what remains after the transaction. Outside a
//! transaction block they are equal.

pub mod definition;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use weir_common::text::FormatOptions;
use weir_common::{Error, Result, SqlState};

use definition::{DEFINITIONS, REPORTED, find};
pub use value::milliseconds;

/// Whether a SET lasts for the session or for the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Session,
    Local,
}

/// What came of a SET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The value is in force.
    InForce,
    /// A parameter of another system: accepted without effect.
    Ignored,
}

/// Values that differ from their defaults, by lower-case name.
type Values = BTreeMap<String, String>;

/// The parameters of a session.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What RESET goes back to.
    startup: Values,
    session: Values,
    current: Values,
    /// `session` as it was when the transaction block began.
    at_begin: Option<Values>,
    changed: BTreeSet<&'static str>,
    /// How often a value changed: what was bound under another version may mean something else now.
    version: u64,
    /// All values by lower-case name, once they were asked for under this version.
    known: OnceLock<Arc<BTreeMap<String, String>>>,
}

/// What all parameters were at one time.
pub struct SettingsMark {
    session: Values,
    current: Values,
}

impl Settings {
    /// The defaults, changed by what the client asked for when it connected.
    pub fn start(user: &str, parameters: &[(String, String)]) -> Result<Settings> {
        let mut settings = Settings::default();
        settings.startup.insert("session_authorization".into(), user.to_string());
        settings.session.clone_from(&settings.startup);
        settings.current.clone_from(&settings.startup);
        for (name, value) in parameters {
            settings.set(name, value, Scope::Session)?;
        }
        settings.startup.clone_from(&settings.session);
        settings.changed.clear();
        Ok(settings)
    }

    /// Sets a parameter. Errors: 42704 for an unknown name, and those of its value.
    pub fn set(&mut self, name: &str, value: &str, scope: Scope) -> Result<Applied> {
        let Some(definition) = find(name) else {
            return self.set_custom(name, value, scope);
        };
        let value = value::normalise(definition, value)?;
        self.put(&definition.name.to_ascii_lowercase(), Some(value), scope);
        Ok(Applied::InForce)
    }

    /// Names with a dot belong to applications; those of other streaming databases are let through.
    fn set_custom(&mut self, name: &str, value: &str, scope: Scope) -> Result<Applied> {
        let lower = name.to_ascii_lowercase();
        if lower.starts_with("rw_") || lower.starts_with("streaming_") {
            return Ok(Applied::Ignored);
        }
        if !is_custom(&lower) {
            return Err(unknown(name));
        }
        self.put(&lower, Some(value.to_string()), scope);
        Ok(Applied::InForce)
    }

    /// Back to the value at connection start.
    pub fn reset(&mut self, name: &str) -> Result<()> {
        let lower = match find(name) {
            Some(definition) if definition.kind == definition::Kind::Fixed => {
                return value::normalise(definition, "").map(|_| ());
            }
            Some(definition) => definition.name.to_ascii_lowercase(),
            None => name.to_ascii_lowercase(),
        };
        if find(name).is_none() && !self.current.contains_key(&lower) && !is_custom(&lower) {
            return Err(unknown(name));
        }
        self.put(&lower, self.startup.get(&lower).cloned(), Scope::Session);
        Ok(())
    }

    /// RESET ALL.
    pub fn reset_all(&mut self) {
        let names: Vec<String> = self.current.keys().chain(self.startup.keys()).cloned().collect();
        for name in names {
            self.put(&name, self.startup.get(&name).cloned(), Scope::Session);
        }
    }

    /// The value in force, as SHOW prints it. Error: 42704.
    pub fn show(&self, name: &str) -> Result<String> {
        match find(name) {
            Some(definition) => Ok(self.value_of(definition.name)),
            None => self.current.get(&name.to_ascii_lowercase()).cloned().ok_or_else(|| unknown(name)),
        }
    }

    /// Every parameter with its value and description, by name.
    pub fn all(&self) -> Vec<(String, String, &'static str)> {
        let known = DEFINITIONS.iter().map(|d| (d.name.to_string(), self.value_of(d.name), d.description));
        let custom = self.current.iter().filter(|(name, _)| find(name).is_none());
        known.chain(custom.map(|(name, value)| (name.clone(), value.clone(), ""))).collect()
    }

    /// The schemas to look names up in. `"$user"` names no schema here.
    pub fn search_path(&self) -> Vec<String> {
        let path = self.value_of("search_path");
        let names = path.split(',').map(|n| n.trim().trim_matches(['"', '\'']).to_string());
        names.filter(|n| !n.is_empty() && n != "$user").collect()
    }

    /// Every value by its lower-case name.
    pub fn by_name(&self) -> Arc<BTreeMap<String, String>> {
        let all = || self.all().into_iter().map(|(name, value, _)| (name.to_ascii_lowercase(), value));
        Arc::clone(self.known.get_or_init(|| Arc::new(all().collect())))
    }

    /// Changes with every value that a statement's meaning may depend on.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How values are printed.
    pub fn format_options(&self) -> FormatOptions {
        let zone = value::time_zone(&self.value_of("TimeZone")).unwrap_or(chrono_tz::Tz::UTC);
        FormatOptions { time_zone: zone }
    }

    /// A boolean parameter.
    pub fn is_on(&self, name: &str) -> bool {
        value::parse_bool(&self.value_of(name)).unwrap_or(false)
    }

    /// A duration parameter in milliseconds; `None` when it is off.
    pub fn timeout_ms(&self, name: &str) -> Option<u64> {
        Some(milliseconds(&self.value_of(name))).filter(|ms| *ms > 0)
    }

    /// The reported parameters with their values.
    pub fn reported(&self) -> Vec<(&'static str, String)> {
        REPORTED.iter().map(|name| (*name, self.value_of(name))).collect()
    }

    /// The reported parameters that changed since the last call.
    pub fn take_changes(&mut self) -> Vec<(&'static str, String)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|name| (name, self.value_of(name))).collect()
    }

    /// A transaction block begins.
    pub fn begin(&mut self) {
        self.at_begin = Some(self.session.clone());
    }

    /// The settings as they are, for a savepoint.
    pub fn mark(&self) -> SettingsMark {
        SettingsMark { session: self.session.clone(), current: self.current.clone() }
    }

    /// Back to the settings of a savepoint.
    pub fn roll_back_to(&mut self, mark: &SettingsMark) {
        self.session.clone_from(&mark.session);
        self.replace_current(mark.current.clone());
    }

    /// The block commits: SET stays, SET LOCAL goes.
    pub fn commit(&mut self) {
        self.at_begin = None;
        self.replace_current(self.session.clone());
    }

    /// The block rolls back: both go.
    pub fn rollback(&mut self) {
        if let Some(values) = self.at_begin.take() {
            self.session.clone_from(&values);
            self.replace_current(values);
        }
    }

    fn value_of(&self, name: &str) -> String {
        let default = || find(name).map_or(String::new(), |d| d.default.to_string());
        self.current.get(&name.to_ascii_lowercase()).cloned().unwrap_or_else(default)
    }

    fn put(&mut self, name: &str, value: Option<String>, scope: Scope) {
        let store = |values: &mut Values| match &value {
            Some(value) => values.insert(name.to_string(), value.clone()),
            None => values.remove(name),
        };
        let before = store(&mut self.current);
        if scope == Scope::Session {
            store(&mut self.session);
        }
        if before != value {
            self.note_change(name);
        }
    }

    fn replace_current(&mut self, values: Values) {
        let before = std::mem::replace(&mut self.current, values);
        let names: Vec<String> = before.keys().chain(self.current.keys()).cloned().collect();
        for name in names {
            if before.get(&name) != self.current.get(&name) {
                self.note_change(&name);
            }
        }
    }

    fn note_change(&mut self, name: &str) {
        self.known = OnceLock::new();
        // What a transaction may do changes with every BEGIN and decides nothing about a name or a literal.
        self.version += u64::from(!name.starts_with("transaction_"));
        self.changed.extend(REPORTED.iter().find(|r| r.eq_ignore_ascii_case(name)));
    }
}

fn is_custom(name: &str) -> bool {
    name.contains('.') && !name.starts_with("weir.")
}

fn unknown(name: &str) -> Error {
    Error::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::start("weir", &[("application_name".into(), "test".into())]).expect("valid")
    }

    #[test]
    fn unknown_names_are_refused_and_foreign_ones_ignored() {
        let mut s = settings();
        assert_eq!(s.set("no_such", "1", Scope::Session).unwrap_err().state().0, "42704");
        assert_eq!(s.set("weir.no_such", "1", Scope::Session).unwrap_err().state().0, "42704");
        assert_eq!(s.set("rw_implicit_flush", "true", Scope::Session), Ok(Applied::Ignored));
        assert_eq!(s.set("app.tenant", "7", Scope::Session), Ok(Applied::InForce));
        assert_eq!(s.show("app.tenant").unwrap(), "7");
        assert_eq!(s.show("no_such").unwrap_err().state().0, "42704");
    }

    #[test]
    fn transactions_undo_what_they_set() {
        let mut s = settings();
        s.begin();
        s.set("timezone", "Asia/Tokyo", Scope::Session).unwrap();
        s.set("statement_timeout", "1s", Scope::Local).unwrap();
        s.rollback();
        assert_eq!(s.show("TimeZone").unwrap(), "UTC");
        assert_eq!(s.show("statement_timeout").unwrap(), "0");
        s.begin();
        s.set("timezone", "Asia/Tokyo", Scope::Session).unwrap();
        s.set("statement_timeout", "1s", Scope::Local).unwrap();
        assert_eq!(s.timeout_ms("statement_timeout"), Some(1_000));
        s.commit();
        assert_eq!(s.show("TimeZone").unwrap(), "Asia/Tokyo");
        assert_eq!(s.show("statement_timeout").unwrap(), "0");
    }

    #[test]
    fn changes_of_reported_parameters_are_told_once() {
        let mut s = settings();
        assert!(s.take_changes().is_empty());
        s.set("application_name", "psql", Scope::Session).unwrap();
        s.set("work_mem", "8MB", Scope::Session).unwrap();
        assert_eq!(s.take_changes(), vec![("application_name", "psql".to_string())]);
        assert!(s.take_changes().is_empty());
        s.reset("application_name").unwrap();
        assert_eq!(s.take_changes(), vec![("application_name", "test".to_string())]);
    }

    #[test]
    fn the_search_path_is_a_list_of_schemas() {
        let mut s = settings();
        assert_eq!(s.search_path(), ["public"]);
        s.set("search_path", "\"a b\", public", Scope::Session).unwrap();
        assert_eq!(s.search_path(), ["a b", "public"]);
    }
}
