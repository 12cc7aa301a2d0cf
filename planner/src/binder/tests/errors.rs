//! Mistakes, and what is said about them: SQLSTATE, message, position, hint.

use super::fixture::{bind_one, context};

#[track_caller]
fn check(sql: &str, state: &str, message: &str, position: Option<usize>) {
    let error = match bind_one(sql, &context()) {
        Err(error) => error,
        Ok(bound) => panic!("{sql} was bound: {bound:?}"),
    };
    assert_eq!((error.state().0, error.message()), (state, message), "{sql}");
    assert_eq!(error.position(), position, "{sql}");
}

#[test]
fn names() {
    check("select * from nope", "42P01", "relation \"nope\" does not exist", Some(15));
    check("select * from s.nope", "42P01", "relation \"s.nope\" does not exist", Some(15));
    check("select nope from orders", "42703", "column \"nope\" does not exist", Some(8));
    check("select o.nope from orders o", "42703", "column o.nope does not exist", Some(8));
    check("select x.id from orders", "42P01", "missing FROM-clause entry for table \"x\"", Some(8));
    check("select id from orders, customers", "42702", "column reference \"id\" is ambiguous", Some(8));
    check("select 1 from orders o, customers o", "42712", "table name \"o\" specified more than once", None);
    check("select 1 order by 2", "42P10", "ORDER BY position 2 is not in select list", Some(19));
}

#[test]
fn a_near_name_is_suggested() {
    let error = bind_one("select amout from orders", &context()).unwrap_err();
    assert_eq!(error.hint(), Some("Perhaps you meant to reference the column \"orders.amount\"."));
}

#[test]
fn types() {
    check(
        "select 1 + note from orders",
        "42883",
        "operator does not exist: integer + character varying",
        Some(10),
    );
    check("select nope(1)", "42883", "function nope(integer) does not exist", Some(8));
    check("select 1 where 5", "42804", "argument of WHERE must be type boolean, not type integer", Some(16));
    check("select 'x'::int", "22P02", "invalid input syntax for type integer: \"x\"", Some(8));
    check("select 1 = 'x'", "22P02", "invalid input syntax for type integer: \"x\"", Some(12));
    check("select 1::nope", "42704", "type \"nope\" does not exist", Some(8));
    check("select true::date", "42846", "cannot cast type boolean to date", Some(8));
    check("select 1 union select 'x'::text", "42804", "UNION types integer and text cannot be matched", None);
    check(
        "select 1, 2 union select 1",
        "42601",
        "each UNION query must have the same number of columns",
        None,
    );
}

#[test]
fn grouping() {
    let must = "must appear in the GROUP BY clause or be used in an aggregate function";
    check("select note, count(*) from orders", "42803", &format!("column \"orders.note\" {must}"), Some(8));
    check("select 1 from orders having id > 1", "42803", &format!("column \"orders.id\" {must}"), Some(29));
    check(
        "select 1 from orders where count(*) > 1",
        "42803",
        "aggregate functions are not allowed in WHERE",
        Some(28),
    );
    check("select sum(count(*)) from orders", "42803", "aggregate function calls cannot be nested", Some(8));
    check(
        "select 1 where row_number() over () = 1",
        "42P20",
        "window functions are not allowed in WHERE",
        Some(16),
    );
}

#[test]
fn insert_update_delete() {
    check("insert into nope values (1)", "42P01", "relation \"nope\" does not exist", Some(13));
    check(
        "insert into orders (nope) values (1)",
        "42703",
        "column \"nope\" of relation \"orders\" does not exist",
        Some(21),
    );
    check(
        "insert into orders (id, id) values (1, 2)",
        "42701",
        "column \"id\" specified more than once",
        Some(25),
    );
    check(
        "insert into orders (id) values (1, 2)",
        "42601",
        "INSERT has more expressions than target columns",
        None,
    );
    check(
        "insert into orders (id, note) values (1)",
        "42601",
        "INSERT has more target columns than expressions",
        None,
    );
    check(
        "insert into orders (id) values (true)",
        "42804",
        "column \"id\" is of type bigint but expression is of type boolean",
        Some(33),
    );
    check("update totals set n = 1", "42809", "cannot update materialized view \"totals\"", Some(8));
    check("update orders set id = 1, id = 2", "42601", "multiple assignments to same column \"id\"", None);
    check("delete from orders returning nope", "42703", "column \"nope\" does not exist", Some(30));
}

#[test]
fn definitions() {
    check("create table orders (a int)", "42P07", "relation \"orders\" already exists", None);
    check("create table t (a int, a int)", "42701", "column \"a\" specified more than once", Some(24));
    check("create table t (a nope)", "42704", "type \"nope\" does not exist", Some(17));
    check(
        "create table t (a int primary key, b int, primary key (b))",
        "42P16",
        "multiple primary keys for table \"t\" are not allowed",
        None,
    );
    check(
        "create table t (a int default 'x')",
        "22P02",
        "invalid input syntax for type integer: \"x\"",
        Some(31),
    );
    check("create index on t (a) where a > 1", "0A000", "a partial index is not supported", None);
    check("create table nope.t (a int)", "3F000", "schema \"nope\" does not exist", Some(14));
    check("create view v as select 1 as a, 2 as a", "42701", "column \"a\" specified more than once", None);
    check(
        "create materialized view v as select current_date",
        "0A000",
        "current_date in a materialized view is not supported",
        Some(38),
    );
    check("drop table nope", "42P01", "table \"nope\" does not exist", None);
    check("drop table totals", "42809", "\"totals\" is not a table", None);
    check(
        "alter table orders add column id int",
        "42701",
        "column \"id\" of relation \"orders\" already exists",
        Some(31),
    );
    check(
        "alter table orders rename column nope to x",
        "42703",
        "column \"nope\" of relation \"orders\" does not exist",
        Some(34),
    );
    check("alter view orders rename to x", "42809", "\"orders\" is not a view", Some(12));
    check("alter index x rename to y", "0A000", "this kind of ALTER is not supported", None);
}

#[test]
fn limits_and_depth() {
    check("select 1 limit -1", "2201W", "LIMIT must not be negative", None);
    check(
        "select id from orders limit id",
        "42P10",
        "argument of LIMIT must not contain variables",
        Some(29),
    );
    let deep = format!("select {}1{}", "abs(".repeat(240), ")".repeat(240));
    check(&deep, "54001", "stack depth limit exceeded", None);
    let long = format!("select 1 where {} true", "1 = 1 or ".repeat(4000));
    let bind = move || assert!(bind_one(&long, &context()).is_ok());
    // Statements are bound on threads with a stack of this size.
    std::thread::Builder::new().stack_size(16 << 20).spawn(bind).unwrap().join().unwrap();
}

#[test]
fn what_repeats_itself_too_often() {
    let refused = |sql: &str| {
        let error = bind_one(sql, &context()).unwrap_err();
        assert_eq!((error.state().0, error.message()), ("54001", "statement is too complex"), "{sql}");
    };
    let mut test = "id = 1".to_owned();
    let mut every = "id = 1".to_owned();
    let mut queries = "c0 as (select id from orders)".to_owned();
    let mut derived = "(select id from orders)".to_owned();
    for i in 0..20 {
        test = format!("(id in (select id from orders where {test})) is not true");
        every = format!("id > all (select id from orders where {every})");
        queries = format!("{queries}, c{} as (select a.id from c{i} a, c{i} b)", i + 1);
        derived = format!(
            "(select id, (select count(*) from orders o where o.id < d{i}.id) from {derived} d{i} where id > all (select id from orders where id < d{i}.id))"
        );
    }
    refused(&format!("select id from orders where {test}"));
    refused(&format!("select id from orders where {every}"));
    refused(&format!("with {queries} select count(*) from c20"));
    refused(&format!("select id from {derived} d"));
}
