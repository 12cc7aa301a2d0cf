//! The server under measurement: its process, its connection, and what the kernel says of it.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tokio_postgres::{Client, NoTls};

/// A fresh server on a temporary folder, ended and removed on drop.
pub struct Server {
    child: Child,
    binary: PathBuf,
    folder: PathBuf,
    workers: Option<usize>,
    pub client: Client,
    /// How to connect to it.
    pub connect: String,
}

/// What the process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub cpu_seconds: f64,
    pub peak_rss_mib: f64,
    pub rss_mib: f64,
}

impl Server {
    /// Starts the `weir` binary that lies beside this one.
    pub async fn start(workers: Option<usize>) -> Result<Server, Box<dyn Error>> {
        let binary = std::env::current_exe()?.with_file_name("weir");
        let folder = std::env::temp_dir().join(format!("weir-bench-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let (child, client, connect) = spawn(&binary, &folder, workers).await?;
        Ok(Server { child, binary, folder, workers, client, connect })
    }

    /// Ends the process without warning and starts another on the same folder.
    pub async fn kill_and_restart(&mut self) -> Result<(), Box<dyn Error>> {
        self.child.kill()?;
        self.child.wait()?;
        (self.child, self.client, self.connect) = spawn(&self.binary, &self.folder, self.workers).await?;
        Ok(())
    }

    /// CPU time and the highest resident set so far.
    pub fn usage(&self) -> Usage {
        let file = |name: &str| {
            std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap_or_default()
        };
        let stat = file("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks: f64 = [11, 12].iter().filter_map(|i| fields.get(*i)?.parse::<f64>().ok()).sum();
        let status = file("status");
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
            line.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
        };
        // The kernel's clock tick for user space is 100 a second on Linux.
        Usage { cpu_seconds: ticks / 100.0, peak_rss_mib: mib("VmHWM:"), rss_mib: mib("VmRSS:") }
    }
}

/// Starts the process and connects to it.
async fn spawn(
    binary: &Path,
    folder: &Path,
    workers: Option<usize>,
) -> Result<(Child, Client, String), Box<dyn Error>> {
    let mut command = Command::new(binary);
    command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(folder).stdout(Stdio::piped());
    if let Some(workers) = workers {
        command.args(["--workers", &workers.to_string()]);
    }
    let mut child =
        command.spawn().map_err(|e| format!("could not start {}: {e}; build it first", binary.display()))?;
    let stdout = child.stdout.take().ok_or("the server has no output")?;
    let mut lines = BufReader::new(stdout).lines();
    let port = loop {
        let line = lines.next().ok_or("the server ended before it was ready")??;
        if let Some(rest) = line.strip_prefix("Weir is ready:") {
            let port = rest.split_whitespace().skip_while(|w| *w != "-p").nth(1);
            break port.ok_or("the server names no port")?.to_owned();
        }
    };
    std::thread::spawn(move || lines.for_each(drop));
    let url = format!("host=127.0.0.1 port={port} user=weir dbname=weir");
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    Ok((child, client, url))
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
