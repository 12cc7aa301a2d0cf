//! A real `weir` process for tests: started on a free port in a folder of its own, ended and checked on drop.
//!
//! Invariants: a test waits for what it needs with a deadline, never for luck; a WARN, an ERROR or a panic in
//! the server's log fails the test that caused it, unless the test has said that it expects one.

// Each test binary uses its part of this module.
#![allow(dead_code)]

pub mod csv;
pub mod postgres;
pub mod raw;
pub mod tpch;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_postgres::{Client, Config, NoTls};

/// Longest wait for anything a test needs.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A running server.
pub struct Server {
    child: Child,
    folder: TempDir,
    options: Vec<String>,
    pub port: u16,
    log_may_complain: bool,
}

impl Server {
    /// A server with a new, empty data folder.
    pub fn start() -> Server {
        Server::start_with(&[])
    }

    /// The same with more options.
    pub fn start_with(options: &[&str]) -> Server {
        Server::spawn(options, None)
    }

    /// A new server that ends in a panic at a failpoint: `name=actions` of the `fail` crate.
    pub fn start_failing(failpoint: &str) -> Server {
        Server::spawn(&[], Some(failpoint))
    }

    /// The same with more options.
    pub fn start_failing_with(options: &[&str], failpoint: &str) -> Server {
        Server::spawn(options, Some(failpoint))
    }

    fn spawn(options: &[&str], failpoint: Option<&str>) -> Server {
        let folder = TempDir::new().unwrap();
        let options: Vec<String> = options.iter().map(|option| option.to_string()).collect();
        let (child, port) = spawn_in(folder.path(), &options, failpoint);
        Server { child, folder, options, port, log_may_complain: false }
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts it again, with the same options on the same data, after it has ended.
    pub fn restart(&mut self) {
        (self.child, self.port) = spawn_in(self.folder.path(), &self.options, None);
    }

    /// Kills it and starts it with a failpoint that ends it before it is ready; whether that happened.
    pub fn crash_and_fail_to_start(&mut self, failpoint: &str) -> bool {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut command = command(self.folder.path(), &self.options, Some(failpoint));
        self.child = command.stdout(Stdio::null()).spawn().unwrap();
        !self.wait().success()
    }

    /// The folder its data is in.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Declares that this test makes the server log a WARN or an ERROR.
    pub fn expect_complaints(&mut self) {
        self.log_may_complain = true;
    }

    /// A client's connection.
    pub async fn connect(&self) -> Client {
        let (client, connection) = self.config().connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// How to connect.
    pub fn config(&self) -> Config {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).user("weir").dbname("weir");
        config
    }

    /// Ends it without warning, and starts it again on the same data.
    pub fn crash_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (self.child, self.port) = spawn_in(self.folder.path(), &self.options, None);
    }

    /// Sends a signal such as `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Waits until the process has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the server did not end; log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("--- server log ---\n{log}");
        } else if !self.log_may_complain {
            let complaint =
                log.lines().find(|l| [" WARN ", " ERROR ", "panicked"].iter().any(|w| l.contains(w)));
            assert_eq!(complaint, None, "the server's log complains");
        }
    }
}

/// The command for the binary under test.
pub fn weir() -> Command {
    Command::new(env!("CARGO_BIN_EXE_weir"))
}

fn command(folder: &Path, options: &[String], failpoint: Option<&str>) -> Command {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = weir();
    command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(folder.join("data"));
    if !options.iter().any(|option| option == "--workers") {
        command.args(["--workers", "2"]);
    }
    command.args(options).envs(failpoint.map(|f| ("FAILPOINTS", f))).stderr(log);
    command
}

/// Starts a server in a folder and reads the port from what it says when it is ready.
fn spawn_in(folder: &Path, options: &[String], failpoint: Option<&str>) -> (Child, u16) {
    let mut child = command(folder, options, failpoint).stdout(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(port) = ready_port(&line) {
                let _ = sender.send(port);
            }
        }
    });
    match receiver.recv_timeout(DEADLINE) {
        Ok(port) => (child, port),
        Err(_) => {
            let _ = child.kill();
            panic!("the server is not ready; log:\n{}", std::fs::read_to_string(folder.join("log")).unwrap());
        }
    }
}

fn ready_port(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("Weir is ready: psql ")?;
    rest.split_whitespace().skip_while(|word| *word != "-p").nth(1)?.parse().ok()
}

/// Waits until the query gives this text in its first row's first column.
pub async fn eventually(client: &Client, query: &str, expected: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + DEADLINE;
    loop {
        let value = first_value(client, query).await;
        if expected(&value) {
            return value;
        }
        assert!(Instant::now() < end, "{query} stays {value}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The first column of the first row, as text; empty for none.
pub async fn first_value(client: &Client, query: &str) -> String {
    rows(client, query).await.into_iter().next().unwrap_or_default()
}

/// All rows as text, columns joined by `|`, NULL as `NULL`.
pub async fn rows(client: &Client, query: &str) -> Vec<String> {
    let messages = client.simple_query(query).await.unwrap_or_else(|e| panic!("{query}: {e:?}"));
    let row = |message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => {
            let values: Vec<&str> = (0..row.len()).map(|i| row.get(i).unwrap_or("NULL")).collect();
            Some(values.join("|"))
        }
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// The SQLSTATE a statement fails with.
pub async fn sqlstate(client: &Client, sql: &str) -> String {
    match client.batch_execute(sql).await {
        Ok(()) => "00000".to_string(),
        Err(error) => error.code().map_or_else(|| format!("{error:?}"), |code| code.code().to_string()),
    }
}
