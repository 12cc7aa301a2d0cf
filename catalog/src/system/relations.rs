//! Reads `relations.txt`, where the name, OID and columns of every virtual table are written.
//!
//! The text is part of the program, so a mistake in it is a defect that the first use of any table, and so every
//! test, reports by a panic.

use weir_common::types::NumericType;
use weir_common::{Column, ObjectId, SqlType};

/// What `relations.txt` says of a table.
pub(super) struct Declaration {
    pub schema: &'static str,
    pub name: &'static str,
    pub oid: ObjectId,
    pub kind: &'static str,
    pub columns: Vec<Column>,
}

/// Every table, in the order of the file.
pub(super) fn declarations() -> Vec<Declaration> {
    let mut declarations: Vec<Declaration> = Vec::new();
    for line in
        include_str!("relations.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        match line.strip_prefix("  ") {
            None => declarations.push(read_head(line)),
            Some(columns) => {
                let table = declarations.last_mut().expect("a table's head comes before its columns");
                read_columns(columns, &mut table.columns);
            }
        }
    }
    declarations
}

/// `pg_catalog.pg_class 1259 r`
fn read_head(line: &'static str) -> Declaration {
    let mut words = line.split(' ');
    let (schema, name) = words.next().and_then(|word| word.split_once('.')).expect("schema.table");
    let oid = words.next().and_then(|word| word.parse().ok()).expect("an OID");
    let kind = words.next().expect("a relkind");
    Declaration { schema, name, oid: ObjectId(oid), kind, columns: Vec::new() }
}

/// `oid oid, relname name, relacl text[]?,`
fn read_columns(line: &str, columns: &mut Vec<Column>) {
    for column in line.split(',').map(str::trim).filter(|column| !column.is_empty()) {
        let (name, ty) = column.split_once(' ').expect("a name and a type");
        let (ty, nullable) = ty.strip_suffix('?').map_or((ty, false), |ty| (ty, true));
        let id = u16::try_from(columns.len() + 1).expect("few columns");
        columns.push(Column { id, name: name.to_owned(), ty: read_type(ty), nullable });
    }
}

fn read_type(name: &str) -> SqlType {
    if let Some(element) = name.strip_suffix("[]") {
        return SqlType::Array(Box::new(read_type(element)));
    }
    match name {
        "bool" => SqlType::Bool,
        "int2" => SqlType::Int2,
        "int4" => SqlType::Int4,
        "int8" => SqlType::Int8,
        "float4" => SqlType::Float4,
        "float8" => SqlType::Float8,
        "numeric" => SqlType::Numeric(NumericType::UNCONSTRAINED),
        "text" => SqlType::Text,
        "varchar" => SqlType::Varchar(None),
        "name" => SqlType::Name,
        "char" => SqlType::Char,
        "timestamptz" => SqlType::Timestamptz,
        "interval" => SqlType::Interval,
        "bytea" => SqlType::Bytea,
        "oid" => SqlType::Oid,
        "regproc" => SqlType::Regproc,
        "regtype" => SqlType::Regtype,
        "int2vector" => SqlType::Int2Vector,
        "oidvector" => SqlType::OidVector,
        other => panic!("relations.txt names the type {other}"),
    }
}
