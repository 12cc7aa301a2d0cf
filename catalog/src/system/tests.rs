//! The virtual tables over the sample catalog, row by row.

use std::collections::HashSet;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use weir_common::{Epoch, Error, JobId, SqlState};

use super::*;
use crate::sample::{self, BIDS, MV, T};

fn context() -> SystemContext {
    let mut cx = SystemContext::new(sample::snapshot());
    cx.relation_sizes.push(RelationSize { id: T, rows: 3, bytes: 9000, backlog: 0 });
    cx.activity.push(Activity { pid: 7, user: "weir".into(), state: "active".into(), ..Activity::default() });
    cx.prepared_statements.push(PreparedStatement {
        name: "p".into(),
        parameter_types: vec![23, 25],
        ..Default::default()
    });
    cx.settings.push(Setting {
        name: "TimeZone".into(),
        value: "CET".into(),
        default: "UTC".into(),
        ..Default::default()
    });
    cx.sources.push(SourceRow { id: Some(BIDS), name: "bids".into(), rows: 4, ..SourceRow::default() });
    cx.checkpoints.push(CheckpointRow { epoch: Epoch(5), ..CheckpointRow::default() });
    cx.jobs.push(JobRow {
        job: JobId(MV.0),
        name: "mv".into(),
        kind: "materialized view".into(),
        state: "failed".into(),
        error: Some(Error::division_by_zero()),
        epoch: Epoch(9),
        rows_in: 1,
        rows_out: 2,
        rows_skipped: 0,
        rows_late: 0,
        expired_hits: 0,
        state_bytes: 64,
        started_at: None,
    });
    cx
}

fn batch(schema: &str, name: &str) -> RecordBatch {
    find(schema, name).unwrap_or_else(|| panic!("no table {name}")).rows(&context()).unwrap()
}

/// Some columns of some rows, as text: those whose column `by` has the text `value`.
fn rows(table: &str, columns: &str, by: &str, value: &str) -> Vec<String> {
    let (schema, name) = table.split_once('.').unwrap_or(("pg_catalog", table));
    let batch = batch(schema, name);
    let cell = |column: &str, row: usize| {
        let array = batch.column_by_name(column).unwrap_or_else(|| panic!("no column {column}"));
        if array.is_null(row) { "NULL".to_owned() } else { array_value_to_string(array, row).unwrap() }
    };
    (0..batch.num_rows())
        .filter(|row| by.is_empty() || cell(by, *row) == value)
        .map(|row| columns.split(' ').map(|column| cell(column, row)).collect::<Vec<_>>().join("|"))
        .collect()
}

#[test]
fn every_table_has_the_columns_it_declares() {
    let cx = context();
    let mut oids = HashSet::new();
    for table in tables() {
        let batch = table.rows(&cx).unwrap_or_else(|e| panic!("{}.{}: {e}", table.schema, table.name));
        assert!(oids.insert(table.oid), "{} has the OID of another table", table.name);
        assert_eq!(batch.num_columns(), table.columns.len());
        for (i, column) in table.columns.iter().enumerate() {
            assert_eq!(usize::from(column.id), i + 1);
            assert_eq!(batch.schema().field(i).name(), &column.name);
            assert_eq!(batch.column(i).data_type(), &column.ty.arrow(), "{}.{}", table.name, column.name);
            let has_null = batch.column(i).null_count() > 0 && column.ty.arrow() != DataType::Binary;
            assert!(column.nullable || !has_null, "{}.{} has NULL", table.name, column.name);
        }
    }
    assert!(oids.len() > 80);
}

#[test]
fn pg_class_shows_relations_by_kind() {
    let columns = "oid relname relkind relam relhasindex relhasrules relnatts relreplident reltuples";
    assert_eq!(
        rows("pg_class", columns, "relnamespace", "2200"),
        [
            "16384|t|r|2|true|false|2|d|3.0",
            "16385|t_pkey|i|403|false|false|1|n|0.0",
            "16386|v|v|0|false|true|1|n|-1.0",
            "16387|mv|m|2|false|true|1|d|-1.0",
            "16388|bids|r|0|false|false|2|d|-1.0",
        ]
    );
    assert_eq!(rows("pg_class", "oid relkind relnatts", "relname", "pg_class"), ["1259|r|33"]);
    assert_eq!(rows("pg_class", "relkind relnamespace", "relname", "pg_roles"), ["v|11"]);
}

#[test]
fn pg_attribute_shows_columns() {
    let columns =
        "attname atttypid attlen attnum atttypmod attnotnull atthasdef attcollation attstorage attalign";
    assert_eq!(
        rows("pg_attribute", columns, "attrelid", "16384"),
        ["id|23|4|1|-1|true|false|0|p|i", "name|1043|-1|2|24|false|true|100|x|i"]
    );
    assert_eq!(rows("pg_attribute", "attname attnum", "attrelid", "16385"), ["id|1"]);
    assert_eq!(rows("pg_attrdef", "adnum adbin", "adrelid", "16384"), ["2|'x'::character varying"]);
    assert_eq!(rows("pg_attribute", "atttypid", "attname", "relacl"), ["1009"]);
}

#[test]
fn a_primary_key_is_an_index_and_a_constraint() {
    let columns = "indexrelid indisunique indisprimary indisvalid indkey indclass indoption";
    assert_eq!(rows("pg_index", columns, "indrelid", "16384"), ["16385|true|true|true|[1]|[1978]|[0]"]);
    assert_eq!(
        rows("pg_constraint", "conname contype conindid conkey convalidated", "conrelid", "16384"),
        ["t_pkey|p|16385|[1]|true"]
    );
    assert_eq!(
        rows("pg_indexes", "tablename indexname indexdef", "", ""),
        ["t|t_pkey|CREATE UNIQUE INDEX t_pkey ON public.t USING btree (id)"]
    );
    assert_eq!(
        rows(
            "information_schema.key_column_usage",
            "table_schema constraint_name column_name ordinal_position",
            "",
            ""
        ),
        ["public|t_pkey|id|1"]
    );
    assert_eq!(
        rows("information_schema.table_constraints", "constraint_type", "table_name", "t"),
        ["PRIMARY KEY"]
    );
}

#[test]
fn comments_views_and_schemas() {
    assert_eq!(
        rows("pg_description", "classoid objsubid description", "objoid", "16384"),
        ["1259|0|people", "1259|2|given name"]
    );
    assert_eq!(rows("pg_views", "viewname definition", "schemaname", "public"), ["v| SELECT id FROM t;"]);
    assert_eq!(rows("pg_matviews", "matviewname definition", "", ""), ["mv| SELECT count(*) AS n FROM v;"]);
    assert_eq!(rows("pg_tables", "tablename hasindexes", "schemaname", "public"), ["t|true", "bids|false"]);
    assert_eq!(
        rows("pg_namespace", "oid nspname nspowner", "", ""),
        ["11|pg_catalog|10", "2200|public|10", "13000|sys|10", "13207|information_schema|10"]
    );
    assert_eq!(
        rows("pg_depend", "objid refobjid deptype", "classid", "2618"),
        ["2500016386|16386|i", "2500016386|16384|n", "2500016387|16387|i", "2500016387|16386|n"]
    );
}

#[test]
fn information_schema_columns_has_the_types_facts() {
    let columns = "column_name column_default is_nullable data_type character_maximum_length \
                   character_octet_length numeric_precision numeric_scale udt_name is_updatable";
    assert_eq!(
        rows("information_schema.columns", columns, "table_name", "t"),
        [
            "id|NULL|NO|integer|NULL|NULL|32|0|int4|YES",
            "name|'x'::character varying|YES|character varying|20|80|NULL|NULL|varchar|YES",
        ]
    );
    assert_eq!(
        rows(
            "information_schema.tables",
            "table_name table_type is_insertable_into",
            "table_schema",
            "public"
        ),
        ["t|BASE TABLE|YES", "v|VIEW|NO", "bids|BASE TABLE|NO"]
    );
}

#[test]
fn built_in_types_have_postgres_facts() {
    let columns = "typname typlen typcategory typelem typarray typinput typcollation typdelim typtypmod";
    assert_eq!(rows("pg_type", columns, "oid", "23"), ["int4|4|N|0|1007|42|0|,|-1"]);
    assert_eq!(rows("pg_type", columns, "oid", "1009"), ["_text|-1|A|25|0|750|100|,|-1"]);
    let names: HashSet<String> = rows("pg_type", "oid", "", "").into_iter().collect();
    for table in tables() {
        for column in &table.columns {
            assert!(names.contains(&column.ty.oid().to_string()), "{:?} is not in pg_type", column.ty);
        }
    }
    assert_eq!(
        rows("pg_proc", "oid prorettype proargtypes provolatile", "proname", "lower"),
        ["870|25|[25]|i"]
    );
    assert_eq!(rows("pg_operator", "oprname oprresult", "oid", "551"), ["+|23"]);
}

#[test]
fn sessions_settings_and_jobs() {
    assert_eq!(
        rows("pg_stat_activity", "pid usename state datname wait_event", "", ""),
        ["7|weir|active|weir|NULL"]
    );
    assert_eq!(rows("pg_prepared_statements", "name parameter_types", "", ""), ["p|[23, 25]"]);
    assert_eq!(
        rows("pg_settings", "setting boot_val reset_val source context", "name", "TimeZone"),
        ["CET|UTC|UTC|session|user"]
    );
    assert_eq!(rows("pg_settings", "setting", "name", "max_index_keys"), ["32"]);
    assert_eq!(
        rows("sys.jobs", "id name kind state sqlstate error epoch rows_out state_bytes started_at", "", ""),
        [format!(
            "16387|mv|materialized view|failed|{}|division by zero|9|2|64|NULL",
            SqlState::DIVISION_BY_ZERO.0
        )]
    );
    assert_eq!(rows("sys.sources", "id name rows error", "", ""), ["16388|bids|4|NULL"]);
    assert_eq!(rows("sys.relations", "name kind rows bytes", "name", "t"), ["t|table|3|9000"]);
    assert_eq!(rows("sys.dependencies", "name depends_on_name", "kind", "sink"), ["out|mv"]);
    assert_eq!(rows("pg_roles", "rolname rolsuper oid", "", ""), ["weir|true|10"]);
    assert_eq!(rows("pg_database", "oid datname encoding", "", ""), ["5|weir|6"]);
}
