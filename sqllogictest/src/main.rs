//! `weir-sqllogictest`: runs suites on a `weir` binary under all circumstances, or once on a PostgreSQL.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use weir_sqllogictest::order::{Crash, Views};
use weir_sqllogictest::run::{Circumstances, Target, run};
use weir_sqllogictest::script::Script;
use weir_sqllogictest::server::{self, Server, binary};
use weir_sqllogictest::wire::{Address, Protocol};
use weir_sqllogictest::{Result, all_circumstances};

/// Runs sqllogictest suites.
#[derive(Parser)]
struct Options {
    /// Run once on this PostgreSQL instead, whose schema public is emptied: postgresql://user@host:port/database
    #[arg(long)]
    url: Option<String>,

    /// Run only once: views created after the data, no crash, two workers
    #[arg(long)]
    quick: bool,

    /// Suite files
    #[arg(required = true)]
    suites: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut failed = 0;
    for suite in &options.suites {
        let lines = match suite_failures(&options, suite) {
            Ok(failures) => failures,
            Err(error) => vec![error],
        };
        failed += usize::from(!lines.is_empty());
        let verdict = if lines.is_empty() { "ok" } else { "FAILED" };
        let mut stdout = std::io::stdout().lock();
        // A closed stdout loses the report, not the exit code.
        let _ = writeln!(stdout, "{verdict:<7}{}", suite.display());
        for line in lines {
            let _ = writeln!(stdout, "{line}");
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn suite_failures(options: &Options, suite: &Path) -> Result<Vec<String>> {
    let script = Script::read(suite)?;
    let once = Circumstances { views: Views::After, crash: Crash::No, statements: Protocol::Simple };
    if let Some(url) = &options.url {
        return run(&script, Target::Postgres(Address::parse(url)?), once);
    }
    let binary = binary()?;
    if options.quick {
        return run(&script, Target::Weir(Server::start(&binary, server::Options::of_workers(2))?), once);
    }
    for (workers, circumstances) in all_circumstances(&script) {
        let server = Server::start(&binary, server::Options::of_workers(workers))?;
        let failures = run(&script, Target::Weir(server), circumstances)?;
        if !failures.is_empty() {
            let heading = format!("with {workers} workers and {circumstances:?}:");
            return Ok(std::iter::once(heading).chain(failures).collect());
        }
    }
    Ok(Vec::new())
}
