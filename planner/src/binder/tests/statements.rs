//! Commands: what they are bound to.

use weir_common::SqlType;
use weir_exec::expr::Literal;

use super::fixture::{bind_one, context, run};
use crate::bound::{BoundStatement, DropKind, ExplainStage};
use crate::context::{BindContext, ParamTypes, ParamValues};

fn bind(sql: &str) -> BoundStatement {
    bind_one(sql, &context()).unwrap_or_else(|e| panic!("{sql}: {e:?}"))
}

#[test]
fn create_table_keeps_types_key_and_defaults() {
    let sql = "create table t (a int, b varchar(5) not null default 'x', c numeric(6,2), primary key (c, a))";
    let BoundStatement::CreateTable(table) = bind(sql) else { panic!("not CREATE TABLE") };
    let types: Vec<String> = table.columns.iter().map(|c| c.column.ty.to_string()).collect();
    assert_eq!(types, ["integer", "character varying(5)", "numeric(6,2)"]);
    let nullable: Vec<bool> = table.columns.iter().map(|c| c.column.nullable).collect();
    assert_eq!(nullable, [false, false, false]);
    assert_eq!(table.columns[1].default_sql.as_deref(), Some("'x'"));
    assert_eq!((table.primary_key, table.key_constraint_name.as_deref()), (vec![3, 1], Some("t_pkey")));
}

#[test]
fn insert_fills_defaults_and_casts() {
    let BoundStatement::Insert(insert) =
        bind("insert into orders (amount, id) values ('1.5', 7), (default, 8)")
    else {
        panic!("not INSERT")
    };
    assert_eq!(run(&insert.query).unwrap(), ["7|∅|1.50|new|∅", "8|∅|∅|new|∅"]);
    let BoundStatement::Insert(insert) =
        bind("insert into customers select id, 'n', null from orders where id < 3")
    else {
        panic!("not INSERT")
    };
    assert_eq!(run(&insert.query).unwrap(), ["1|n|∅", "2|n|∅"]);
}

#[test]
fn update_yields_old_and_new_rows() {
    let BoundStatement::Update(update) =
        bind("update customers c set name = upper(name), tags = default where c.id = 1")
    else {
        panic!("not UPDATE")
    };
    assert_eq!(run(&update.query).unwrap(), ["1|ann|{x,y}|1|ANN|∅"]);
    let BoundStatement::Delete(delete) = bind(
        "delete from customers where id not in (select customer from orders where customer is not null)",
    ) else {
        panic!("not DELETE")
    };
    assert_eq!(run(&delete.query).unwrap(), ["3|cid|∅"]);
}

#[test]
fn views_remember_what_they_read() {
    let BoundStatement::CreateMaterializedView(view) =
        bind("create materialized view m (x, y) as select b.id, t.n from big b, totals t")
    else {
        panic!("not a view")
    };
    let names: Vec<&str> = view.query.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["x", "y"]);
    let depends: Vec<u32> = view.depends_on.iter().map(|id| id.0).collect();
    assert_eq!(depends, [16387, 16388]);
    let reads: Vec<u32> = view.query.relations.iter().map(|id| id.0).collect();
    assert_eq!(reads, [16384, 16388]);
}

#[test]
fn parameters_take_their_types_from_context() {
    let mut cx = BindContext { params: ParamTypes::declared(vec![None, Some(SqlType::Text)]), ..context() };
    bind_one("select id from orders where id = $1 and note = $2 and amount < $3", &cx).unwrap();
    let types: Vec<String> = cx.params.resolved().unwrap().iter().map(SqlType::name).collect();
    assert_eq!(types, ["bigint", "text", "numeric"]);
    cx.params = ParamTypes::declared(vec![Some(SqlType::Int4)]);
    cx.param_values = ParamValues::Given(vec![Literal::Int(41)]);
    let BoundStatement::Query(query) = bind_one("select $1 + 1", &cx).unwrap() else { panic!("not a query") };
    assert_eq!(run(&query).unwrap(), ["42"]);
    assert_eq!(bind_one("select $1", &context()).unwrap_err().state().0, "42P02");
}

#[test]
fn drop_forgives_what_is_missing() {
    let BoundStatement::Drop(drop) = bind("drop table if exists orders, nope cascade") else {
        panic!("not DROP")
    };
    assert_eq!(
        (drop.kind, drop.objects.len(), drop.missing, drop.cascade),
        (DropKind::Table, 1, vec!["nope".into()], true)
    );
}

#[test]
fn show_lists_objects() {
    let BoundStatement::Query(query) = bind("show tables") else { panic!("not a query") };
    assert_eq!(run(&query).unwrap(), ["public|customers", "public|orders"]);
    let BoundStatement::Query(query) = bind("describe customers") else { panic!("not a query") };
    assert_eq!(run(&query).unwrap(), ["id|integer|NO", "name|text|YES", "tags|text[]|YES"]);
    let BoundStatement::Query(query) = bind("show columns from totals") else { panic!("not a query") };
    assert_eq!(run(&query).unwrap(), ["n|bigint|NO"]);
}

#[test]
fn explain_and_session_statements() {
    let BoundStatement::Explain { options, statement } = bind("explain (stage stream, format json) select 1")
    else {
        panic!("not EXPLAIN")
    };
    assert_eq!(options.stage, ExplainStage::Stream);
    assert!(matches!(*statement, BoundStatement::Query(_)));
    assert!(
        matches!(bind("start transaction read only"), BoundStatement::Begin(modes) if modes.read_only == Some(true))
    );
    assert!(matches!(bind("deallocate all"), BoundStatement::Deallocate { name: None }));
    let BoundStatement::Execute { args: Some(args), .. } = bind("execute p (1, 'x')") else {
        panic!("not EXECUTE")
    };
    assert_eq!(run(&args).unwrap(), ["1|x"]);
}
