//! The SQL of the README and of the recipes runs, and the examples give the rows that they show.

#![allow(clippy::unwrap_used)]

mod support;

use support::{Server, rows};

const README: &str = include_str!("../../README.md");
const RECIPES: &str = include_str!("../../docs/recipes.md");

#[tokio::test]
async fn the_examples_give_the_rows_they_show() {
    for example in README.split("```sql\n").skip(1) {
        check(example.split("```").next().unwrap()).await;
    }
}

#[tokio::test]
async fn the_recipes_give_the_rows_they_show() {
    for example in RECIPES.split("```sql\n").skip(1) {
        check(example.split("```").next().unwrap()).await;
    }
}

async fn check(example: &str) {
    let server = Server::start();
    let client = server.connect().await;
    for statement in example.split(';').map(str::trim).filter(|s| !s.is_empty() && !s.starts_with("--")) {
        if !statement.starts_with("SELECT") {
            client.batch_execute(statement).await.unwrap();
            continue;
        }
        let shown: Vec<String> = example
            .lines()
            .filter_map(|l| l.strip_prefix("--  "))
            .skip(1)
            .map(|l| l.split('|').map(str::trim).collect::<Vec<_>>().join("|"))
            .collect();
        assert_eq!(rows(&client, statement).await, shown);
    }
}

#[tokio::test]
async fn the_folder_example_runs() {
    let example = README.split("<<'SQL'\n").nth(1).unwrap().split("\nSQL").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), "carrier,origin,dep_delay\nUA,EWR,4\nUA,EWR,NA\nUA,JFK,6\n")
        .unwrap();
    let sql = example.replace("/data/flights", &folder.path().display().to_string());
    let server = Server::start();
    let client = server.connect().await;
    for statement in sql.split(';').filter(|s| !s.trim().is_empty()) {
        client.batch_execute(statement).await.unwrap();
    }
    assert_eq!(rows(&client, "SELECT * FROM delays").await, ["UA|5.0000000000000000"]);
}
