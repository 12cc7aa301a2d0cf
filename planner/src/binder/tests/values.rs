//! Queries and what they give.

use super::fixture::{bind_query, rows};

#[track_caller]
fn check(sql: &str, expected: &[&str]) {
    assert_eq!(rows(sql), expected, "{sql}");
}

#[test]
fn literals_and_arithmetic() {
    check("select 1 + 1, 7 / 2, 7 % 2, -7 / 2, 2147483647 + 1::int8", &["2|3|1|-3|2147483648"]);
    check("select 1.50, 1.5 + 1, 0.1 * 3, 1 / 4.0", &["1.50|2.5|0.3|0.25000000000000000000"]);
    check("select 'a' || 'b', 'it''s', E'a\\nb' = 'a' || chr(10) || 'b'", &["ab|it's|t"]);
    check("select null, true, not true, null is null, 'x' is not null", &["∅|t|f|t|t"]);
    check("select 1 where 1 = '1'", &["1"]);
    check("select '5'::int + 1, cast('2.50' as numeric(5,1)), 2.5::int, 3.5::int", &["6|2.5|3|4"]);
}

#[test]
fn dates_and_intervals() {
    check(
        "select date '2024-01-31' + 1, timestamp '2024-01-01 10:00' + interval '90 minutes'",
        &["2024-02-01|2024-01-01 11:30:00"],
    );
    check("select interval '5' second, interval '1 day' * 2", &["00:00:05|2 days"]);
    check("select now(), current_date, current_timestamp = now()", &["2024-03-01 10:00:00+00|2024-03-01|t"]);
    check("select extract(year from date '2024-05-06')", &["2024"]);
}

#[test]
fn conditionals() {
    check("select case when 1 > 2 then 'a' when null then 'b' else 'c' end", &["c"]);
    check("select case 2 when 1 then 'one' when 2 then 'two' end, case 3 when 1 then 1 end", &["two|∅"]);
    check("select coalesce(null, 2, 3), coalesce(null, null), nullif(1, 1), nullif(2, 1)", &["2|∅|∅|2"]);
    check("select greatest(1, null, 3, 2), least(3, 1.5, null), greatest(null, null)", &["3|1.5|∅"]);
    check("select 1 between 0 and 2, 1 not between 0 and 2, 1 in (1, 2), 3 in (1, null)", &["t|f|t|∅"]);
    check("select null is distinct from 1, null is not distinct from null", &["t|t"]);
    check("select (1 = 1) is true, (null = 1) is unknown, (null = 1) is not true", &["t|t|t"]);
    check("select true or null, false and null, null::bool and true", &["t|f|∅"]);
}

#[test]
fn strings_and_patterns() {
    check(
        "select 'abc' like 'a%', 'abc' not like '_b_', 'ABC' ilike 'abc', 'a%c' like 'a/%c' escape '/'",
        &["t|f|t|t"],
    );
    check(
        "select 'abc' ~ '^a', 'abc' operator(pg_catalog.~) 'z' collate pg_catalog.default, 'abc' !~ 'b'",
        &["t|f|f"],
    );
    check(
        "select substring('hello' from 2 for 3), trim(both 'x' from 'xax'), position('l' in 'hello')",
        &["ell|a|3"],
    );
    check("select upper('a') || lower('B') || length('abc')", &["Ab3"]);
}

#[test]
fn arrays() {
    check("select array[1,2,3], array[]::int[], (array['a','b'])[2], (array[1])[5]", &["{1,2,3}|{}|b|∅"]);
    check("select 2 = any(array[1,2]), 3 = any('{1,2}'::int[]), 3 <> all(array[1,2])", &["t|f|t"]);
    check(
        "select array(select id from customers order by id desc), array(select 1 where false)",
        &["{3,2,1}|{}"],
    );
    check("select id, unnest(tags) from customers order by 1, 2", &["1|x", "1|y"]);
    check("select * from generate_series(1, 3) as g(n)", &["1", "2", "3"]);
    check("select name, t from customers, unnest(tags) t order by 2", &["ann|x", "ann|y"]);
}

#[test]
fn select_where_order_limit() {
    check(
        "select id, amount from orders where amount >= 5 order by amount desc",
        &["2|20.00", "1|10.50", "3|5.25"],
    );
    check("select id from orders order by customer, id desc", &["2", "1", "3", "4"]);
    check("select id from orders order by customer desc nulls last, 1 limit 2", &["3", "1"]);
    check("select id from orders order by id limit 2 offset 1", &["2", "3"]);
    check("select note as n, id from orders where note is not null order by n desc limit 1", &["d|4"]);
    check("select distinct customer from orders order by 1", &["1", "2", "∅"]);
    check(
        "select distinct on (customer) customer, id from orders order by customer, id desc",
        &["1|2", "2|3", "∅|4"],
    );
    check("select id from orders order by amount + 1 desc limit 1", &["2"]);
}

#[test]
fn grouping() {
    check("select count(*), sum(customer), min(note), max(amount) from orders", &["4|4|a|20.00"]);
    check(
        "select customer, count(*) n from orders group by customer order by n desc, 1",
        &["1|2", "2|1", "∅|1"],
    );
    check(
        "select customer % 2 as odd, sum(amount) from orders group by 1 order by 1",
        &["0|5.25", "1|30.50", "∅|1.00"],
    );
    check("select customer from orders group by customer having sum(amount) > 10", &["1"]);
    check(
        "select sum(amount) + 1 from orders group by customer % 2 order by customer % 2 limit 1",
        &["6.25"],
    );
    check("select count(distinct customer), count(customer) filter (where amount > 6) from orders", &["2|2"]);
    check("select id, amount, count(*) from orders group by id order by id limit 1", &["1|10.50|1"]);
    check("select avg(customer) from orders where customer = 1", &["1.00000000000000000000"]);
    check("select count(*) from orders where false", &["0"]);
    check("select string_agg(note, ',' order by id desc) from orders", &["d,b,a"]);
}

#[test]
fn joins() {
    check(
        "select o.id, c.name from orders o join customers c on c.id = o.customer order by 1",
        &["1|ann", "2|ann", "3|bob"],
    );
    check(
        "select o.id, c.name from orders o left join customers c on c.id = o.customer order by 1 desc limit 1",
        &["4|∅"],
    );
    check(
        "select c.id, o.id from orders o right join customers c on c.id = o.customer where o.id is null",
        &["3|∅"],
    );
    check("select count(*) from orders cross join customers", &["12"]);
    check("select count(*) from orders o full join customers c on o.customer = c.id", &["5"]);
    check("select id, c2.name from customers join customers c2 using (id) order by id limit 1", &["1|ann"]);
    check("select * from (values (1, 'a')) x(k, v) natural join (values (1, 'b')) y(k, w)", &["1|a|b"]);
    check(
        "select k, a, b from (values (1, 'a')) x(k, a) full join (values (2, 'b')) y(k, b) using (k) order by k",
        &["1|a|∅", "2|∅|b"],
    );
}

#[test]
fn subqueries() {
    check("select name from customers where id in (select customer from orders) order by 1", &["ann", "bob"]);
    check(
        "select name from customers c where not exists (select 1 from orders o where o.customer = c.id)",
        &["cid"],
    );
    check("select (select max(amount) from orders)", &["20.00"]);
    check(
        "select name, (select count(*) from orders o where o.customer = c.id) from customers c order by 1",
        &["ann|2", "bob|1", "cid|0"],
    );
    check(
        "select id, (select name from customers c where c.id = o.customer) from orders o order by 1",
        &["1|ann", "2|ann", "3|bob", "4|∅"],
    );
    check(
        "select c.name, l.id from customers c, lateral (select id from orders o where o.customer = c.id) l order by 2",
        &["ann|1", "ann|2", "bob|3"],
    );
    check("with x as (select 1 as a), y as (select a + 1 as b from x) select a, b from x, y", &["1|2"]);
}

#[test]
fn set_operations() {
    check("select 1 union select 2 union select 1 order by 1", &["1", "2"]);
    check("select 1.5 union all select 2 order by 1", &["1.5", "2.0"]);
    check("select 'a' union select null order by 1", &["a", "∅"]);
    check("values (1), (2) intersect values (2), (3)", &["2"]);
    check("values (1), (2), (2) except values (2)", &["1"]);
    check("select * from (values (2), (2), (2) except all values (2)) t", &["2", "2"]);
    check("select * from (values (1), (2), (2) intersect all values (2), (2), (2)) t", &["2", "2"]);
}

#[test]
fn windows() {
    check("select id, row_number() over (order by id desc) from orders order by id limit 2", &["1|4", "2|3"]);
    check(
        "select id, sum(id) over (partition by customer order by id) from orders order by id",
        &["1|1", "2|3", "3|3", "4|4"],
    );
    check(
        "select id, lag(id) over w from orders window w as (order by id) order by id limit 2",
        &["1|∅", "2|1"],
    );
    check(
        "select customer, sum(count(*)) over () from orders group by customer order by 1 limit 1",
        &["1|4"],
    );
}

#[test]
fn views_are_expanded() {
    check("select doubled from big order by id", &["21.00", "40.00"]);
    check("select b.id from big b join orders o on o.id = b.id order by 1", &["1", "2"]);
}

#[test]
fn names_follow_postgres() {
    let query = bind_query(
        "select 1, 'x', count(*), sum(id) s, note::text, 1::int8, case when true then 1 end, upper('a'), \
         coalesce(1, 2), array[1], (select max(id) from orders), exists(select 1), o.id from orders o group by o.id, note",
    );
    let names: Vec<&str> = query.columns.iter().map(|c| c.name.as_str()).collect();
    let expected = [
        "?column?", "?column?", "count", "s", "note", "int8", "case", "upper", "coalesce", "array", "max",
        "exists", "id",
    ];
    assert_eq!(names, expected);
}

#[test]
fn correlation_beyond_equality() {
    check(
        "select c.id, (select o.id from orders o where o.customer = c.id and o.amount > c.id * 6 and c.name <> 'x' \
         order by o.amount desc limit 1) from customers c order by 1",
        &["1|2", "2|∅", "3|∅"],
    );
    check(
        "select c.id, (select count(*) from orders o where o.id < c.id) from customers c order by 1",
        &["1|0", "2|1", "3|2"],
    );
    check(
        "select id, exists(select 1 from orders o where o.id > c.id + 2) from customers c order by 1",
        &["1|t", "2|f", "3|f"],
    );
    check(
        "select id, array(select upper(t) from unnest(c.tags) t order by 1) from customers c order by 1",
        &["1|{X,Y}", "2|{}", "3|{}"],
    );
    check(
        "select c.id, l.id from customers c left join lateral (select id from orders o where o.customer = c.id \
         order by id desc limit 1) l on true order by 1",
        &["1|2", "2|3", "3|∅"],
    );
    check(
        "select id from orders o where amount = (select max(amount) from orders i where i.id <= o.id) order by 1",
        &["1", "2"],
    );
}

#[test]
fn arrays_keep_a_hidden_order() {
    check("select array(select name from customers order by id desc)", &["{cid,bob,ann}"]);
    check("select c.tags[2], c.id from customers c order by c.tags[1] nulls last, id limit 1", &["y|1"]);
}
