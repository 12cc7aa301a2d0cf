//! Python's drivers against a real server: what they send to introspect, prepare, cancel and convert must work.

#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;

use support::Server;

/// Runs a script of `tests/drivers` with Debian's Python, whose driver packages the test setup installs.
fn python(script: &str) {
    let server = Server::start();
    let path = format!("{}/tests/drivers/{script}", env!("CARGO_MANIFEST_DIR"));
    let run = Command::new("/usr/bin/python3").args([&path, &server.port.to_string()]).output().unwrap();
    assert!(
        run.status.success(),
        "{script}:\n{}{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
}

#[test]
fn psycopg_3() {
    python("with_psycopg3.py");
}

#[test]
fn psycopg_2() {
    python("with_psycopg2.py");
}
