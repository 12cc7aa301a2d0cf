//! What a session is told of jobs whose state grows.

use super::Db;

const GROWS: &str = "SELECT k, count(*) AS n FROM made GROUP BY k";
const HINT: &str = "Group by a window of a column with WATERMARK FOR, or leave old rows out below it: \
                    WHERE ts > now() - INTERVAL '1 day'.";

/// A database with an endless source.
async fn database() -> Db {
    let mut db = Db::open();
    db.setup(&["CREATE SOURCE made (k int) WITH (connector = 'datagen', events = '10', fields.k.max = '9')"])
        .await;
    db.session.take_notices();
    db
}

#[tokio::test(flavor = "multi_thread")]
async fn growing_state_is_a_notice_unless_that_is_switched_off() {
    let mut db = database().await;
    let growth = "state grows without bound: the aggregate keeps one row for each (k), and source \"made\" goes on \
                  without end";
    for (setting, expected) in [("warn", vec![(growth, Some(HINT))]), ("off", vec![])] {
        db.setup(&[&format!("SET require_bounded_state = {setting}")]).await;
        db.setup(&[&format!("CREATE MATERIALIZED VIEW {setting}_v AS {GROWS}")]).await;
        let notices = db.session.take_notices();
        let told: Vec<_> = notices.iter().map(|n| (n.message.as_str(), n.hint.as_deref())).collect();
        assert_eq!(told, expected, "{setting}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn growing_state_is_refused_with_what_grows_and_how_to_limit_it() {
    let mut db = database().await;
    db.setup(&["SET require_bounded_state = error"]).await;
    let refused = db.run(&format!("CREATE MATERIALIZED VIEW v AS {GROWS}")).await;
    assert!(refused.starts_with("ERROR 53400: the state of \"v\" would grow without bound"), "{refused}");
    assert!(db.run("SELECT * FROM v").await.starts_with("ERROR 42P01"), "nothing is left of it");
    let statements = db.session.parse(&format!("CREATE MATERIALIZED VIEW v AS {GROWS}")).unwrap();
    let prepared = db.session.prepare(&statements[0], &[]).unwrap();
    let error = db.session.execute(&prepared, Vec::new()).await.err().unwrap();
    assert_eq!(
        error.detail(),
        Some("the aggregate keeps one row for each (k), and source \"made\" goes on without end.")
    );
    assert_eq!(
        error.hint(),
        Some(format!("{HINT} SET require_bounded_state = warn lets it be made.").as_str())
    );
}
