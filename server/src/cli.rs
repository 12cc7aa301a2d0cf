//! The command line of `weir`: five options with defaults a new user never needs to change.
//!
//! Place in the flow: `main` parses it first; it becomes an `EngineConfig` and a listening address. Nothing is
//! opened or started here. An unknown option names the nearest one (clap does that).

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::Parser;
use weir_common::config::EngineConfig;
use weir_common::{Error, Result, SqlState};

/// Weir, a streaming database that speaks PostgreSQL's protocol.
///
/// Start it, then connect with any PostgreSQL client: psql -h 127.0.0.1 -p 5454 -U weir weir
#[derive(Clone, Debug, Parser)]
#[command(name = "weir", version, max_term_width = 100)]
pub struct Options {
    /// Folder for everything durable; created when missing
    #[arg(long, value_name = "FOLDER", default_value = "./weir-data")]
    pub data_dir: PathBuf,

    /// Address and port to listen on; anything but the local machine demands a password
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5454")]
    pub listen: String,

    /// Worker threads for streaming jobs [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,

    /// Memory for state, queries and buffers together, such as 4GiB [default: half of the machine's]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub memory_limit: Option<usize>,

    /// State that an operator keeps in memory on a worker, such as 64MiB; it reads the rest from disk when it needs it
    /// [default: all, until the memory limit is near]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub state_memory: Option<usize>,

    /// Most rows that operators and queries take at once
    #[arg(long, value_name = "N", default_value = "8192", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub batch_rows: u32,

    /// File whose first line is the password of role weir (or set WEIR_PASSWORD)
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// Create three Nexmark sources with materialized views over them, to look around
    #[arg(long)]
    pub demo: bool,
}

impl Options {
    /// The engine's settings.
    pub fn engine_config(&self) -> EngineConfig {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut config = EngineConfig::new(&self.data_dir, self.workers.map_or(cores, usize::from));
        config.memory_limit_bytes = self.memory_limit.unwrap_or_else(default_memory_limit);
        config.state_memory_bytes = self.state_memory;
        config.batch_rows = self.batch_rows as usize;
        config
    }

    /// The address to listen on. A name such as `localhost` is resolved.
    pub fn address(&self) -> Result<SocketAddr> {
        let invalid = |why: &str| {
            Error::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("invalid address \"{}\" for --listen: {why}; expected HOST:PORT", self.listen),
            )
        };
        let mut addresses = self.listen.to_socket_addrs().map_err(|e| invalid(&e.to_string()))?;
        addresses.next().ok_or_else(|| invalid("the name has no address"))
    }

    /// The password that clients must know, from the file or the environment; `None` when neither is there.
    pub fn password(&self) -> Result<Option<String>> {
        let Some(path) = &self.password_file else {
            return Ok(std::env::var("WEIR_PASSWORD").ok().filter(|p| !p.is_empty()));
        };
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::io(format_args!("read password file \"{}\"", path.display()), &e))?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(Some(line.to_string())),
            _ => Err(Error::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("password file \"{}\" is empty", path.display()),
            )),
        }
    }
}

/// A memory limit: a size of at least 64 MiB.
fn parse_size(text: &str) -> Result<usize, String> {
    match parse_bytes(text)? {
        bytes if bytes < 64 << 20 => Err("the smallest memory limit is 64MiB".to_string()),
        bytes => Ok(bytes),
    }
}

/// Reads `512MiB`, `4GB`, `2g`, `1073741824`. Decimal and binary units are the same, as in PostgreSQL.
fn parse_bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim().trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = text.trim()[digits.len()..].trim().to_ascii_lowercase();
    let shift = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(format!("unknown unit \"{unit}\"; valid units are KiB, MiB, GiB and TiB")),
    };
    let number: f64 = digits.trim().parse().map_err(|_| "expected a size such as 4GiB".to_string())?;
    let bytes = number * (1u64 << shift) as f64;
    if !bytes.is_finite() {
        return Err("expected a size such as 4GiB".to_string());
    }
    Ok(bytes as usize)
}

/// Half of what the machine, or the control group the process lives in, has.
fn default_memory_limit() -> usize {
    const FALLBACK: usize = 4 << 30;
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_memory(&text));
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|t| t.trim().parse().ok());
    match (machine, group) {
        (Some(machine), Some(group)) => usize::min(machine, group) / 2,
        (Some(bytes), None) | (None, Some(bytes)) => bytes / 2,
        (None, None) => FALLBACK,
    }
}

/// `MemTotal` of /proc/meminfo, in bytes.
fn total_memory(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_and_without_units() {
        assert_eq!(parse_size("4GiB"), Ok(4 << 30));
        assert_eq!(parse_size("512mb"), Ok(512 << 20));
        assert_eq!(parse_size("1.5 g"), Ok(3 << 29));
        assert_eq!(parse_size("1073741824"), Ok(1 << 30));
        assert!(parse_size("4 parsecs").unwrap_err().contains("unknown unit"));
        assert!(parse_size("GiB").is_err());
        assert!(parse_size("1k").unwrap_err().contains("64MiB"));
    }

    #[test]
    fn machine_memory_is_read_in_bytes() {
        assert_eq!(total_memory("MemTotal:       16 kB\nMemFree: 1 kB\n"), Some(16 << 10));
        assert_eq!(total_memory("nothing"), None);
    }

    #[test]
    fn defaults_are_local() {
        let options = Options::parse_from(["weir"]);
        assert!(options.address().unwrap().ip().is_loopback());
        assert_eq!(options.engine_config().data_dir, PathBuf::from("./weir-data"));
        assert!(options.engine_config().workers >= 1);
    }

    #[test]
    fn a_bad_address_says_what_is_expected() {
        let options = Options::parse_from(["weir", "--listen", "5454"]);
        assert!(options.address().unwrap_err().message().contains("expected HOST:PORT"));
    }

    #[test]
    fn an_unknown_option_names_the_nearest() {
        let error = Options::try_parse_from(["weir", "--data-dri", "x"]).unwrap_err().to_string();
        assert!(error.contains("--data-dir"), "{error}");
    }
}
