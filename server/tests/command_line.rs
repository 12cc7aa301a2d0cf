//! The command line: clear words and exit codes, and a clean end.

#![allow(clippy::unwrap_used)]

mod support;

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use support::raw::Raw;
use support::{Server, eventually, weir};
use tempfile::TempDir;

fn run(options: &[&str]) -> Output {
    weir().args(options).stdin(Stdio::null()).output().unwrap()
}

/// Runs a server that cannot start; its exit code is 1 and its first line says why.
fn refused(options: &[&str]) -> String {
    let output = run(options);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text.lines().next().unwrap_or_default().to_string()
}

#[test]
fn an_unknown_option_names_the_nearest() {
    let output = run(&["--data-dri", "x"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("unexpected argument '--data-dri'") && text.contains("'--data-dir'"), "{text}");
}

#[test]
fn help_and_version() {
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    for option in ["--data-dir", "--listen", "--workers", "--memory-limit", "--password-file", "--demo"] {
        assert!(help.contains(option), "{help}");
    }
    assert!(String::from_utf8(run(&["--version"]).stdout).unwrap().starts_with("weir 0."));
}

#[test]
fn bad_addresses_and_folders_are_named() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let line = refused(&["--data-dir", data, "--listen", "nowhere"]);
    assert!(line.contains("invalid address \"nowhere\""), "{line}");
    let line = refused(&["--data-dir", data, "--listen", "203.0.113.7:5454"]);
    assert!(line.contains("demands a password"), "{line}");
    assert!(!folder.path().join("data").exists(), "nothing is created for a bad address");

    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let below = file.join("data");
    let line = refused(&["--listen", "127.0.0.1:0", "--data-dir", below.to_str().unwrap()]);
    assert!(line.contains(below.to_str().unwrap()), "{line}");
}

#[test]
fn a_second_server_on_the_folder_or_the_port_is_refused() {
    let server = Server::start();
    let data = server.data_dir();
    let line = refused(&["--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]);
    assert!(line.contains(data.to_str().unwrap()), "{line}");
    let other = TempDir::new().unwrap();
    let address = format!("127.0.0.1:{}", server.port);
    let line = refused(&["--listen", &address, "--data-dir", other.path().to_str().unwrap()]);
    assert!(line.contains(&address) && line.contains("in use"), "{line}");
}

#[tokio::test]
async fn a_password_is_demanded_and_checked() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "s3cret\n").unwrap();
    let server = Server::start_with(&["--password-file", file.to_str().unwrap()]);
    let mut right = server.config();
    right.password("s3cret");
    let (client, connection) = right.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(client.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    let mut wrong = server.config();
    wrong.password("secret");
    let error = wrong.connect(tokio_postgres::NoTls).await.err().unwrap();
    assert_eq!(error.code().unwrap().code(), "28P01");
}

#[test]
fn sigterm_says_goodbye_and_ends_with_zero() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start();
        let mut idle = Raw::session(server.port);
        let begin = Instant::now();
        server.signal(signal);
        let goodbye = idle.reply().unwrap();
        assert_eq!((goodbye.kind, goodbye.field('C').as_deref()), ('E', Some("57P01")));
        assert!(idle.reply().is_none());
        assert_eq!(server.wait().code(), Some(0), "{}", server.log());
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn the_demo_fills_its_views() {
    let server = Server::start_with(&["--demo"]);
    let client = server.connect().await;
    eventually(&client, "SELECT count(*) FROM sys.jobs", |n| n == "3").await;
    for view in ["bids_per_channel", "price_per_category", "hot_sellers"] {
        eventually(&client, &format!("SELECT count(*) > 0 FROM {view}"), |some| some == "t").await;
    }
}
