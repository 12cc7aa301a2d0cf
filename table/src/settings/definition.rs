//! The settings there are: name, default, what values they take, and whether clients are told of changes.
//!
//! One row a setting; PostgreSQL's names with PostgreSQL's spelling. A setting that Weir has no use for is
//! listed when clients are known to send it, and then its value only is kept.

use std::collections::HashMap;
use std::sync::LazyLock;

use weir_planner::rules::optional::DISABLED_RULES;

/// What values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only shown, never set (55P02).
    Fixed,
    /// `on` or `off`.
    Bool,
    /// A whole number within bounds.
    Integer { min: i64, max: i64 },
    /// Milliseconds; units `us`, `ms`, `s`, `min`, `h`, `d` are understood.
    Duration,
    /// Kilobytes; units `B`, `kB`, `MB`, `GB`, `TB` are understood.
    Memory,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any text.
    Text,
    /// A zone name or an offset.
    TimeZone,
    /// Output style and field order; only ISO with month before day.
    DateStyle,
    /// A client encoding; only UTF-8.
    Encoding,
    /// Schema names in order.
    SearchPath,
    /// Optimizer rules that queries can do without.
    Rules,
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// As SHOW and ParameterStatus spell it.
    pub name: &'static str,
    pub default: &'static str,
    pub kind: Kind,
    /// What `pg_settings.short_desc` says.
    pub description: &'static str,
}

const fn define(
    name: &'static str,
    default: &'static str,
    kind: Kind,
    description: &'static str,
) -> Definition {
    Definition { name, default, kind, description }
}

const ISOLATION: Kind =
    Kind::Choice(&["serializable", "repeatable read", "read committed", "read uncommitted"]);
const LEVELS: Kind = Kind::Choice(&[
    "debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "info", "notice", "warning", "error",
]);
const COUNT: Kind = Kind::Integer { min: 0, max: i32::MAX as i64 };

/// The version that drivers parse, and ours.
pub const SERVER_VERSION: &str = concat!("14.12 (Weir ", env!("CARGO_PKG_VERSION"), ")");

/// The settings whose value the server tells the client, at the start and on every change.
pub const REPORTED: &[&str] = &[
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
];

/// Every setting, sorted by lower-case name.
pub const DEFINITIONS: &[Definition] = &[
    define(
        "application_name",
        "",
        Kind::Text,
        "Sets the application name to be reported in statistics and logs.",
    ),
    define("array_nulls", "on", Kind::Bool, "Enable input of NULL elements in arrays."),
    define(
        "backslash_quote",
        "safe_encoding",
        Kind::Text,
        "Sets whether \"\\'\" is allowed in string literals.",
    ),
    define("block_size", "8192", Kind::Fixed, "Shows the size of a disk block."),
    define("bytea_output", "hex", Kind::Choice(&["hex"]), "Sets the output format for bytea."),
    define("check_function_bodies", "on", Kind::Bool, "Check routine bodies during CREATE FUNCTION."),
    define("client_encoding", "UTF8", Kind::Encoding, "Sets the client's character set encoding."),
    define("client_min_messages", "notice", LEVELS, "Sets the message levels that are sent to the client."),
    define("data_checksums", "on", Kind::Fixed, "Shows whether data checksums are turned on."),
    define("DateStyle", "ISO, MDY", Kind::DateStyle, "Sets the display format for date and time values."),
    define("default_table_access_method", "heap", Kind::Text, "Sets the default table access method."),
    define("default_tablespace", "", Kind::Text, "Sets the default tablespace to create tables in."),
    define(
        "default_text_search_config",
        "pg_catalog.simple",
        Kind::Text,
        "Sets default text search configuration.",
    ),
    define("default_transaction_deferrable", "off", Kind::Bool, "Sets the default deferrable status."),
    define("default_transaction_isolation", "read committed", ISOLATION, "Sets the default isolation level."),
    define("default_transaction_read_only", "off", Kind::Bool, "Sets the default read-only status."),
    define(
        "extra_float_digits",
        "1",
        Kind::Integer { min: -15, max: 3 },
        "Sets the digits displayed for floats.",
    ),
    define("geqo", "on", Kind::Bool, "Enables genetic query optimization."),
    define(
        "idle_in_transaction_session_timeout",
        "0",
        Kind::Duration,
        "Sets the maximum allowed idle time between queries, when in a transaction.",
    ),
    define(
        "idle_session_timeout",
        "0",
        Kind::Duration,
        "Sets the maximum allowed idle time between queries.",
    ),
    define("in_hot_standby", "off", Kind::Fixed, "Shows whether hot standby is currently active."),
    define("integer_datetimes", "on", Kind::Fixed, "Shows whether datetimes are integer based."),
    define(
        "IntervalStyle",
        "postgres",
        Kind::Choice(&["postgres"]),
        "Sets the display format for interval values.",
    ),
    define("is_superuser", "on", Kind::Fixed, "Shows whether the current user is a superuser."),
    define("jit", "off", Kind::Bool, "Allow JIT compilation."),
    define("lc_collate", "C.UTF-8", Kind::Fixed, "Shows the collation order locale."),
    define(
        "lc_ctype",
        "C.UTF-8",
        Kind::Fixed,
        "Shows the character classification and case conversion locale.",
    ),
    define("lc_messages", "C.UTF-8", Kind::Text, "Sets the language in which messages are displayed."),
    define("lc_monetary", "C.UTF-8", Kind::Text, "Sets the locale for formatting monetary amounts."),
    define("lc_numeric", "C.UTF-8", Kind::Text, "Sets the locale for formatting numbers."),
    define("lc_time", "C.UTF-8", Kind::Text, "Sets the locale for formatting date and time values."),
    define("lock_timeout", "0", Kind::Duration, "Sets the maximum allowed duration of any wait for a lock."),
    define("log_statement", "none", Kind::Text, "Sets the type of statements logged."),
    define("max_connections", "100", Kind::Fixed, "Sets the maximum number of concurrent connections."),
    define("max_identifier_length", "63", Kind::Fixed, "Shows the maximum identifier length."),
    define("max_index_keys", "32", Kind::Fixed, "Shows the maximum number of index keys."),
    define(
        "maintenance_work_mem",
        "65536",
        Kind::Memory,
        "Sets the memory to be used for maintenance operations.",
    ),
    define("port", "5432", Kind::Fixed, "Sets the TCP port the server listens on."),
    define(
        "require_bounded_state",
        "warn",
        Kind::Choice(&["off", "warn", "error"]),
        "Sets what happens when the state of a new view or sink would grow without bound.",
    ),
    define("row_security", "on", Kind::Bool, "Enable row security."),
    define("search_path", "\"$user\", public", Kind::SearchPath, "Sets the schema search order for names."),
    define("seed", "unavailable", Kind::Text, "Sets the seed for random-number generation."),
    define("server_encoding", "UTF8", Kind::Fixed, "Shows the server (database) character set encoding."),
    define("server_version", SERVER_VERSION, Kind::Fixed, "Shows the server version."),
    define("server_version_num", "140012", Kind::Fixed, "Shows the server version as an integer."),
    define("session_authorization", "weir", Kind::Fixed, "Shows the session user name."),
    define("standard_conforming_strings", "on", Kind::Choice(&["on"]), "Causes '...' strings to be literal."),
    define("statement_timeout", "0", Kind::Duration, "Sets the maximum allowed duration of any statement."),
    define("synchronize_seqscans", "on", Kind::Bool, "Enable synchronized sequential scans."),
    define(
        "synchronous_commit",
        "on",
        Kind::Choice(&["on", "remote_apply", "remote_write", "local"]),
        "Sets the current transaction's synchronization level.",
    ),
    define("tcp_keepalives_count", "0", COUNT, "Maximum number of TCP keepalive retransmits."),
    define("tcp_keepalives_idle", "0", COUNT, "Time between issuing TCP keepalives."),
    define("tcp_keepalives_interval", "0", COUNT, "Time between TCP keepalive retransmits."),
    define(
        "TimeZone",
        "UTC",
        Kind::TimeZone,
        "Sets the time zone for displaying and interpreting time stamps.",
    ),
    define(
        "transaction_deferrable",
        "off",
        Kind::Bool,
        "Whether to defer a read-only serializable transaction.",
    ),
    define(
        "transaction_isolation",
        "read committed",
        ISOLATION,
        "Sets the current transaction's isolation level.",
    ),
    define("transaction_read_only", "off", Kind::Bool, "Sets the current transaction's read-only status."),
    define("wal_level", "logical", Kind::Fixed, "Sets the level of information written to the WAL."),
    define(
        "weir.consistency",
        "strict",
        Kind::Choice(&["strict", "session", "eventual"]),
        "Sets how fresh a read is: of all writes before it (strict), of the session's own, or what is there.",
    ),
    define(
        DISABLED_RULES,
        "",
        Kind::Rules,
        "Lists optimizer rules that queries, and views created from now on, are planned without.",
    ),
    define("work_mem", "4096", Kind::Memory, "Sets the memory to be used for query workspaces."),
    define("xmlbinary", "base64", Kind::Text, "Sets how binary values are to be encoded in XML."),
    define("xmloption", "content", Kind::Text, "Sets whether XML data is a document or content fragment."),
];

/// The setting of this name, in any letter case.
pub fn find(name: &str) -> Option<&'static Definition> {
    static BY_NAME: LazyLock<HashMap<String, &'static Definition>> =
        LazyLock::new(|| DEFINITIONS.iter().map(|d| (d.name.to_ascii_lowercase(), d)).collect());
    match name.to_ascii_lowercase().as_str() {
        "time zone" => BY_NAME.get("timezone").copied(),
        name => BY_NAME.get(name).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reported_setting_is_defined() {
        for name in REPORTED {
            assert!(find(name).is_some(), "{name}");
        }
    }

    #[test]
    fn names_are_unique_whatever_the_case() {
        let mut names: Vec<String> = DEFINITIONS.iter().map(|d| d.name.to_ascii_lowercase()).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
