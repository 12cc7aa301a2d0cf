//! What `pg_type` says of the built-in types, and the names of functions in `pg_proc`, from PostgreSQL 15.

use std::collections::HashMap;
use std::sync::LazyLock;

/// `pg_type`'s rows.
pub(crate) const PG_TYPE: &str = include_str!("data/pg_type.tsv");
/// `pg_proc`'s rows: the functions of the types, operators and casts, and those users call.
pub(crate) const PG_PROC: &str = include_str!("data/pg_proc.tsv");

/// How values of a type are stored, as clients and `pg_attribute` want to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TypeFacts {
    pub name: &'static str,
    pub len: i64,
    pub by_value: bool,
    pub align: &'static str,
    pub storage: &'static str,
    pub collation: i64,
    pub array: i64,
    pub element: i64,
}

/// A row of `pg_proc`, as far as functions need it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcFacts {
    pub name: &'static str,
    pub arg_types: &'static str,
    pub result: i64,
    pub returns_set: bool,
    pub variadic: i64,
}

/// A built-in type by OID.
pub(crate) fn type_facts(oid: i64) -> Option<&'static TypeFacts> {
    static FACTS: LazyLock<HashMap<i64, TypeFacts>> = LazyLock::new(|| by_oid(PG_TYPE, read_type));
    FACTS.get(&oid)
}

/// The OID of a built-in type by its `typname`.
pub(crate) fn type_oid(name: &str) -> Option<i64> {
    static OIDS: LazyLock<HashMap<&'static str, i64>> = LazyLock::new(|| {
        by_oid(PG_TYPE, |row| row.text("typname")).into_iter().map(|(oid, name)| (name, oid)).collect()
    });
    OIDS.get(name).copied()
}

/// A built-in function by OID.
pub(crate) fn proc_facts(oid: i64) -> Option<&'static ProcFacts> {
    procs().get(&oid)
}

/// The OIDs of the built-in functions of this name, in ascending order.
pub(crate) fn proc_oids(name: &str) -> Vec<i64> {
    let mut oids: Vec<i64> =
        procs().iter().filter(|(_, facts)| facts.name == name).map(|(oid, _)| *oid).collect();
    oids.sort_unstable();
    oids
}

fn procs() -> &'static HashMap<i64, ProcFacts> {
    static FACTS: LazyLock<HashMap<i64, ProcFacts>> = LazyLock::new(|| by_oid(PG_PROC, read_proc));
    &FACTS
}

fn read_type(row: &TsvRow) -> TypeFacts {
    TypeFacts {
        name: row.text("typname"),
        len: row.int("typlen"),
        by_value: row.text("typbyval") == "t",
        align: row.text("typalign"),
        storage: row.text("typstorage"),
        collation: row.int("typcollation"),
        array: row.int("typarray"),
        element: row.int("typelem"),
    }
}

fn read_proc(row: &TsvRow) -> ProcFacts {
    ProcFacts {
        name: row.text("proname"),
        arg_types: row.text("proargtypes"),
        result: row.int("prorettype"),
        returns_set: row.text("proretset") == "t",
        variadic: row.int("provariadic"),
    }
}

/// A line of a `.tsv` file with the names of its cells.
struct TsvRow(HashMap<&'static str, &'static str>);

impl TsvRow {
    fn text(&self, name: &str) -> &'static str {
        self.0.get(name).copied().unwrap_or_default()
    }

    fn int(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or_default()
    }
}

fn by_oid<T>(tsv: &'static str, read: impl Fn(&TsvRow) -> T) -> HashMap<i64, T> {
    let mut lines = tsv.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let row = |line: &'static str| TsvRow(names.iter().copied().zip(line.split('\t')).collect());
    lines.map(row).map(|row| (row.int("oid"), read(&row))).collect()
}
