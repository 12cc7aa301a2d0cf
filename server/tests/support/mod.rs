//! A real `weir` process for tests: started on a free port in a folder of its own, ended and checked on drop.
//!
//! Invariants: a test waits for what it needs with a deadline, never for luck; a WARN, an ERROR or a panic in
//! the server's log fails the test that caused it, unless the test has said that it expects one.

// Each test binary uses its part of this module.
#![allow(dead_code)]

pub mod cases;
pub mod csv;
pub mod disk;
pub mod ledger;
pub mod life;
pub mod postgres;
pub mod raw;
#[path = "../../../bench/src/tpch/data.rs"]
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

/// How a server is started.
#[derive(Clone, Default)]
pub struct Launch {
    pub options: Vec<String>,
    /// Its data folder; one of its own if there is none.
    pub data_dir: Option<PathBuf>,
    /// Where it ends in a panic: `name=actions` of the `fail` crate.
    pub failpoint: Option<String>,
    /// The program that starts it, such as a tracer, with its arguments.
    pub wrapper: Vec<String>,
}

impl Launch {
    /// With these options.
    pub fn with(options: &[&str]) -> Launch {
        Launch { options: options.iter().map(|option| option.to_string()).collect(), ..Launch::default() }
    }

    /// With its data in this folder.
    pub fn in_dir(mut self, data_dir: PathBuf) -> Launch {
        self.data_dir = Some(data_dir);
        self
    }

    /// Ended at a failpoint that is passed over some times before.
    pub fn failing(mut self, failpoint: &str, passed: u32) -> Launch {
        self.failpoint = Some(format!("{failpoint}={passed}*off->panic"));
        self
    }
}

/// Whether fault tests are to take their time: `WEIR_FAULTS=long`.
pub fn is_long() -> bool {
    std::env::var("WEIR_FAULTS").is_ok_and(|faults| faults == "long")
}

/// A running server.
pub struct Server {
    child: Child,
    folder: TempDir,
    /// How it is started again: without what made it fail.
    launch: Launch,
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
        Server::launch(Launch { failpoint: failpoint.map(str::to_owned), ..Launch::with(options) })
    }

    /// A server that is started like this.
    pub fn launch(launch: Launch) -> Server {
        let (mut server, is_ready) = Server::try_launch(launch);
        assert!(is_ready, "the server is not ready; log:\n{}", server.log());
        server.log_may_complain = false;
        server
    }

    /// A server that may end before it is ready, and whether it is; its log may say why.
    pub fn try_launch(launch: Launch) -> (Server, bool) {
        let folder = TempDir::new().unwrap();
        let (child, port) = spawn_in(folder.path(), &launch);
        let launch = Launch { failpoint: None, wrapper: Vec::new(), ..launch };
        let server = Server { child, folder, launch, port: port.unwrap_or(0), log_may_complain: true };
        (server, port.is_some())
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts it again, with the same options on the same data, after it has ended.
    pub fn restart(&mut self) {
        assert!(self.try_restart(), "the server is not ready; log:\n{}", self.log());
    }

    /// The same when it may end before it is ready; whether it is.
    pub fn try_restart(&mut self) -> bool {
        let (child, port) = spawn_in(self.folder.path(), &self.launch);
        (self.child, self.port) = (child, port.unwrap_or(0));
        port.is_some()
    }

    /// Starts it again with other options, after it has ended, and a failpoint that may end it; whether it gets ready.
    pub fn restart_with(&mut self, options: &[&str], failpoint: Option<&str>) -> bool {
        self.launch.options = Launch::with(options).options;
        let launch = Launch { failpoint: failpoint.map(str::to_owned), ..self.launch.clone() };
        let (child, port) = spawn_in(self.folder.path(), &launch);
        (self.child, self.port) = (child, port.unwrap_or(0));
        port.is_some()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Kills it and starts it with a failpoint that ends it before it is ready; whether that happened.
    pub fn crash_and_fail_to_start(&mut self, failpoint: &str) -> bool {
        self.kill();
        self.fail_to_start(failpoint)
    }

    /// The same when it has ended.
    pub fn fail_to_start(&mut self, failpoint: &str) -> bool {
        let launch = Launch { failpoint: Some(failpoint.to_owned()), ..self.launch.clone() };
        let (child, port) = spawn_in(self.folder.path(), &launch);
        self.child = child;
        port.is_none()
    }

    /// The folder its data is in.
    pub fn data_dir(&self) -> PathBuf {
        data_dir(self.folder.path(), &self.launch)
    }

    /// Moves its data elsewhere, while it does not run.
    pub fn move_data(&mut self, to: PathBuf) {
        self.launch.data_dir = Some(to);
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
        self.kill();
        self.restart();
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

fn data_dir(folder: &Path, launch: &Launch) -> PathBuf {
    launch.data_dir.clone().unwrap_or_else(|| folder.join("data"))
}

fn command(folder: &Path, launch: &Launch) -> Command {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = match launch.wrapper.split_first() {
        None => weir(),
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(env!("CARGO_BIN_EXE_weir"));
            command
        }
    };
    command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir(folder, launch));
    if !launch.options.iter().any(|option| option == "--workers") {
        command.args(["--workers", "2"]);
    }
    if launch.failpoint.is_some() {
        // A server that looks up the names of its functions before it ends lives on for a second.
        command.env("RUST_BACKTRACE", "0");
    }
    command.args(&launch.options).envs(launch.failpoint.as_ref().map(|f| ("FAILPOINTS", f))).stderr(log);
    command
}

/// Starts a server in a folder and reads the port from what it says when it is ready; `None` when it ends before.
fn spawn_in(folder: &Path, launch: &Launch) -> (Child, Option<u16>) {
    let mut child = command(folder, launch).stdout(Stdio::piped()).spawn().unwrap();
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
        Ok(port) => (child, Some(port)),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            child.wait().unwrap();
            (child, None)
        }
        Err(mpsc::RecvTimeoutError::Timeout) => {
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

/// The same, sorted as text.
pub async fn sorted(client: &Client, query: &str) -> Vec<String> {
    let mut rows = rows(client, query).await;
    rows.sort();
    rows
}

/// The SQLSTATE a statement fails with.
pub async fn sqlstate(client: &Client, sql: &str) -> String {
    match client.batch_execute(sql).await {
        Ok(()) => "00000".to_string(),
        Err(error) => error.code().map_or_else(|| format!("{error:?}"), |code| code.code().to_string()),
    }
}
