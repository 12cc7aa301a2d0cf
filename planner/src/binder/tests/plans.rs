//! A few plans in full: casts are explicit, names unique.

use super::fixture::bind_query;

fn plan(sql: &str) -> String {
    bind_query(sql).plan.display_indent().to_string()
}

#[test]
fn join_and_group() {
    insta::assert_snapshot!(plan(
        "select c.name, sum(o.amount) as total from orders o join customers c on c.id = o.customer \
         where o.id < 10 group by c.name having count(*) > 1 order by total desc limit 3"
    ));
}

#[test]
fn self_join_has_distinct_scans() {
    insta::assert_snapshot!(plan(
        "select a.id, b.id from orders a, orders b, orders where a.id = b.customer"
    ));
}
