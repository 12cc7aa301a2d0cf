//! A `weir` process that a suite may kill and start again.
//!
//! Place in the flow: `run` owns one for each run, on a new data folder and a port of its own. The binary is
//! `WEIR_BIN`, or the one that lies beside the runner.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

use crate::Result;
use crate::wire::Address;

/// Longest wait until a server is ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a server is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    pub workers: usize,
    /// Rows that are taken at once.
    pub batch_rows: u32,
    /// State that an operator keeps in memory; `None` is all.
    pub state_memory_bytes: Option<usize>,
}

impl Options {
    /// For a suite. With several workers a server also takes few rows at once and keeps hardly any state in memory, so
    /// that every suite meets state that has to be read from disk, and backfills in many steps.
    pub fn of_workers(workers: usize) -> Options {
        match workers {
            1 => Options { workers, batch_rows: 8192, state_memory_bytes: None },
            _ => Options { workers, batch_rows: 7, state_memory_bytes: Some(64) },
        }
    }

    /// As the command line has them.
    fn arguments(self) -> Vec<String> {
        let always = [("--workers", self.workers), ("--batch-rows", self.batch_rows as usize)];
        let options =
            always.into_iter().chain(self.state_memory_bytes.map(|bytes| ("--state-memory", bytes)));
        options.flat_map(|(name, value)| [name.to_string(), value.to_string()]).collect()
    }
}

/// A running server; killed when dropped.
pub struct Server {
    binary: PathBuf,
    options: Options,
    folder: TempDir,
    child: Child,
    port: u16,
}

impl Server {
    /// Starts a server on an empty folder.
    pub fn start(binary: &Path, options: Options) -> Result<Server> {
        let folder = TempDir::new().map_err(|e| format!("could not create a folder: {e}"))?;
        let (child, port) = spawn(binary, options, folder.path())?;
        Ok(Server { binary: binary.to_path_buf(), options, folder, child, port })
    }

    /// How to connect to it.
    pub fn address(&self) -> Address {
        Address { host: "127.0.0.1".into(), port: self.port, user: "weir".into(), database: "weir".into() }
    }

    /// Ends it as a power switch would, and starts it on the same folder.
    pub fn crash(&mut self) -> Result<()> {
        self.kill();
        (self.child, self.port) = spawn(&self.binary, self.options, self.folder.path())?;
        Ok(())
    }

    /// The lines of its log that no suite should cause.
    pub fn complaints(&self) -> Vec<String> {
        let bad = |line: &&str| [" WARN ", " ERROR ", "panicked at"].iter().any(|word| line.contains(word));
        log(self.folder.path()).lines().filter(bad).map(str::to_string).collect()
    }

    fn kill(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The binary to test.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("WEIR_BIN") {
        return Ok(path.into());
    }
    let runner = std::env::current_exe().map_err(|e| format!("could not find the runner: {e}"))?;
    // The runner is in target/debug, its tests are in target/debug/deps.
    let found =
        runner.ancestors().skip(1).take(2).map(|folder| folder.join("weir")).find(|path| path.is_file());
    found.ok_or_else(|| "the binary weir is not built: cargo build -p weir-server, or set WEIR_BIN".into())
}

fn spawn(binary: &Path, options: Options, folder: &Path) -> Result<(Child, u16)> {
    let log_file = OpenOptions::new().create(true).append(true).open(folder.join("log"));
    let mut child = Command::new(binary)
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.join("data"))
        .args(options.arguments())
        .stdout(Stdio::piped())
        .stderr(log_file.map_err(|e| format!("could not open the log: {e}"))?)
        .spawn()
        .map_err(|e| format!("could not start {}: {e}", binary.display()))?;
    let stdout = child.stdout.take().ok_or("the server has no stdout")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(stdout).lines().map_while(|line| line.ok());
        lines.filter_map(|line| ready_port(&line)).for_each(|port| {
            // Nobody waits any more when it comes too late.
            let _ = sender.send(port);
        });
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(port) => Ok((child, port)),
        Err(_) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(format!("the server did not start:\n{}", log(folder)))
        }
    }
}

/// The port in `Weir is ready: psql -h 127.0.0.1 -p 5454 …`.
fn ready_port(line: &str) -> Option<u16> {
    let words = line.strip_prefix("Weir is ready: ")?.split_whitespace();
    words.skip_while(|word| *word != "-p").nth(1)?.parse().ok()
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_the_greeting() {
        assert_eq!(ready_port("Weir is ready: psql -h 127.0.0.1 -p 5454 -U weir weir"), Some(5454));
        assert_eq!(ready_port("something else -p 1"), None);
    }

    #[test]
    fn a_missing_binary_is_named() {
        let error = Server::start(Path::new("/nowhere/weir"), Options::of_workers(1)).err().unwrap();
        assert!(error.contains("/nowhere/weir"), "{error}");
    }
}
