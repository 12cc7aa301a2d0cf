//! PostgreSQL 15 as the reference: a cluster of its own on a socket in a temporary folder, ended on drop.
//!
//! Place in the flow: whoever needs a second opinion starts one and connects to its [`Postgres::address`].

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::Result;
use crate::wire::Address;

/// A running PostgreSQL.
pub struct Postgres {
    folder: TempDir,
}

impl Postgres {
    /// Initialises and starts a cluster. PostgreSQL refuses to run as root, so root runs it as `nobody`.
    pub fn start() -> Result<Postgres> {
        let folder = TempDir::new().map_err(|e| format!("could not create a folder: {e}"))?;
        let postgres = Postgres { folder };
        if is_root() {
            succeed(Command::new("chown").arg("nobody").arg(postgres.folder.path()))?;
        }
        let data = postgres.data();
        let locale = ["--no-sync", "-E", "UTF8", "--locale", "C"];
        postgres.run("initdb", &[&["-D", &data, "-A", "trust", "-U", "postgres"], &locale[..]].concat())?;
        let folder = postgres.folder.path().display().to_string();
        let options = format!("-k {folder} -c listen_addresses= -c fsync=off -c timezone=UTC");
        let log = format!("{folder}/log");
        postgres.run("pg_ctl", &["-D", &data, "-l", &log, "-o", &options, "-w", "start"])?;
        Ok(postgres)
    }

    /// How to connect to it.
    pub fn address(&self) -> Address {
        let host = self.folder.path().display().to_string();
        Address { host, port: 5432, user: "postgres".into(), database: "postgres".into() }
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let program = binary(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "nobody", "--"]).arg(&program);
            command
        } else {
            Command::new(&program)
        };
        succeed(command.args(arguments).current_dir("/"))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // What cannot be stopped has ended already.
        let _ = self.run("pg_ctl", &["-D", &self.data(), "-m", "immediate", "-w", "stop"]);
    }
}

/// Runs a command; what it said is the error. The output is a file: a server that is started keeps it open, and
/// nobody shall wait for its end.
fn succeed(command: &mut Command) -> Result<()> {
    let said = tempfile::NamedTempFile::new().map_err(|e| format!("could not create a file: {e}"))?;
    let output = || said.reopen().map_or(Stdio::null(), Stdio::from);
    let status = command.stdout(output()).stderr(output()).status();
    let name = command.get_program().to_string_lossy().into_owned();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("{name}: {}", std::fs::read_to_string(said.path()).unwrap_or_default())),
        Err(e) => Err(format!("{name}: {e}; .ci/setup --tests installs PostgreSQL 15")),
    }
}

/// Debian keeps the server's programs of each version in a folder of their own.
fn binary(name: &str) -> PathBuf {
    let debian = Path::new("/usr/lib/postgresql/15/bin").join(name);
    if debian.exists() { debian } else { PathBuf::from(name) }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
