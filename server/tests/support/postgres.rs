//! PostgreSQL 15 as the reference: a cluster of its own on a socket in a temporary folder, ended on drop.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// A running PostgreSQL.
pub struct Postgres {
    folder: TempDir,
}

impl Postgres {
    /// Initialises and starts a cluster. PostgreSQL refuses to run as root, so root runs it as `nobody`.
    pub fn start() -> Postgres {
        let postgres = Postgres { folder: TempDir::new().unwrap() };
        if is_root() {
            let chown = Command::new("chown").arg("nobody").arg(postgres.folder.path()).status().unwrap();
            assert!(chown.success());
        }
        let data = postgres.data();
        postgres.run(
            "initdb",
            &["-D", &data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale", "C"],
        );
        let folder = postgres.folder.path().display().to_string();
        let options = format!("-k {folder} -c listen_addresses= -c fsync=off -c timezone=UTC");
        let log = format!("{folder}/log");
        postgres.run("pg_ctl", &["-D", &data, "-l", &log, "-o", &options, "-w", "start"]);
        postgres
    }

    /// A connection.
    pub async fn connect(&self) -> Client {
        let url = format!("host={} user=postgres dbname=postgres", self.folder.path().display());
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.command(program, arguments);
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Output {
        let program = binary(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "nobody", "--"]).arg(&program);
            command
        } else {
            Command::new(&program)
        };
        // A server that is started keeps its output open: a file, not a pipe, so that nobody waits for its end.
        let said = tempfile::tempfile().unwrap();
        let status = command
            .args(arguments)
            .current_dir("/")
            .stdout(said.try_clone().unwrap())
            .stderr(said.try_clone().unwrap())
            .status()
            .unwrap_or_else(|e| panic!("{}: {e}; .ci/setup --tests installs it", program.display()));
        let mut text = Vec::new();
        let mut said = said;
        std::io::Seek::seek(&mut said, std::io::SeekFrom::Start(0)).unwrap();
        std::io::Read::read_to_end(&mut said, &mut text).unwrap();
        Output { status, stdout: Vec::new(), stderr: text }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.command("pg_ctl", &["-D", &self.data(), "-m", "immediate", "-w", "stop"]);
    }
}

/// Debian keeps the server's programs of each version in a folder of their own.
fn binary(name: &str) -> PathBuf {
    let debian = Path::new("/usr/lib/postgresql/15/bin").join(name);
    if debian.exists() { debian } else { PathBuf::from(name) }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout.trim_ascii() == b"0"
}
