//! `weir-oracle`: random scenarios on a `weir` binary and on PostgreSQL 15, and what differs, made small.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use weir_sqllogictest::Result;
use weir_sqllogictest::oracle::outcome::Failure;
use weir_sqllogictest::oracle::play::Stage;
use weir_sqllogictest::oracle::scenario::Scenario;
use weir_sqllogictest::oracle::{repro, shrink};
use weir_sqllogictest::server::binary;

/// Compares maintained views with their queries, and both with PostgreSQL 15.
#[derive(Parser)]
struct Options {
    /// Run this seed only
    #[arg(long)]
    seed: Option<u64>,

    /// The first seed
    #[arg(long, default_value_t = 1)]
    from: u64,

    /// How many seeds
    #[arg(long, default_value_t = 100)]
    seeds: u64,

    /// Give up after so many failing seeds
    #[arg(long, default_value_t = 20)]
    failures: usize,

    /// The longest a failure is shrunk, in seconds; 0 is not at all
    #[arg(long, default_value_t = 120)]
    shrink: u64,

    /// Print the scenario of each seed instead of running it
    #[arg(long)]
    print: bool,

    /// Where the suites that fail are written
    #[arg(long, default_value = ".")]
    out: PathBuf,
}

/// A line says how far the run is whenever so many seeds are done.
const PROGRESS: u64 = 100;

/// What all seeds together came to.
#[derive(Default)]
struct Total {
    failed: Vec<u64>,
    compared: usize,
    refused: Counts,
    ended: Counts,
    errors: Counts,
}

/// By what was said: how often, and by which seed first.
type Counts = BTreeMap<String, (usize, u64)>;

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(total) => {
            say(&total.summary());
            if total.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            say(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<Total> {
    let seeds = match options.seed {
        Some(seed) => seed..seed + 1,
        None => options.from..options.from + options.seeds,
    };
    let mut total = Total::default();
    if options.print {
        seeds.for_each(|seed| say(&repro::script(&Scenario::generate(seed))));
        return Ok(total);
    }
    let mut stage = Stage::set(&binary()?)?;
    for seed in seeds {
        if seed % PROGRESS == 0 {
            say(&format!("-- seed {seed}: {} answers compared so far", total.compared));
        }
        let scenario = Scenario::generate(seed);
        let report = stage.play(&scenario).map_err(|e| format!("seed {seed}: {e}"))?;
        total.compared += report.compared;
        let counted = [(report.refused, &mut total.refused), (report.errors, &mut total.errors)].into_iter();
        for (all, counts) in counted.chain([(Vec::from_iter(report.ended), &mut total.ended)]) {
            all.into_iter().for_each(|what| counts.entry(what).or_insert((0, seed)).0 += 1);
        }
        if let Some(failure) = report.failure {
            total.failed.push(seed);
            tell(options, &mut stage, seed, &scenario, &failure)?;
            if total.failed.len() >= options.failures {
                break;
            }
        }
    }
    Ok(total)
}

/// Shrinks what failed, prints it and writes it as a suite.
fn tell(
    options: &Options,
    stage: &mut Stage,
    seed: u64,
    scenario: &Scenario,
    failure: &Failure,
) -> Result<()> {
    say(&format!("== seed {seed} FAILED, {:?}\n{}", failure.class, failure.detail));
    if options.shrink == 0 {
        return Ok(());
    }
    let longest = Duration::from_secs(options.shrink);
    let (small, failure) = shrink::shrink(stage, scenario, failure, longest)?;
    let path = options.out.join(format!("oracle-{seed}.slt"));
    let suite = repro::suite(stage, &small, &failure, seed)?;
    std::fs::write(&path, suite).map_err(|e| format!("{}: {e}", path.display()))?;
    say(&format!("-- shrunk to {}\n{}{}\n", path.display(), repro::script(&small), failure.detail));
    Ok(())
}

impl Total {
    fn summary(&self) -> String {
        let mut text = format!("{} answers compared, failed seeds: {:?}", self.compared, self.failed);
        for (name, counts) in [
            ("refused by Weir (0A000)", &self.refused),
            ("ended by a change that PostgreSQL refused", &self.ended),
            ("failed on both", &self.errors),
        ] {
            let mut counts: Vec<(&String, &(usize, u64))> = counts.iter().collect();
            counts.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
            text.push_str(&format!("\n{name}: {}", counts.iter().map(|(_, (n, _))| n).sum::<usize>()));
            for (what, (n, seed)) in counts.into_iter().take(25) {
                text.push_str(&format!("\n  {n:>5}  {what} (seed {seed})"));
            }
        }
        text
    }
}

fn say(text: &str) {
    // A closed stdout loses the report, not the exit code.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
