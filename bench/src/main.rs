//! Benchmarks of a real server, through SQL over the wire: `weir-bench nexmark [options]`, `weir-bench lifecycle`,
//! `weir-bench tables --postgres …`, `weir-bench tpch --postgres …`.
//!
//! Run it in release: `cargo run --release -p weir-bench -- nexmark --events 10000000 --queries q0,q4`. The server
//! binary is the one built beside it. Nothing here is asserted by a test but that it runs.

#![allow(clippy::print_stdout)]

mod lifecycle;
mod nexmark;
mod server;
mod tables;
mod tpch;

use std::process::ExitCode;

const USAGE: &str =
    "usage: weir-bench nexmark [--events N] [--queries q0,q1,…] [--workers N] [--check-events N]
                          [--postgres \"host=… port=… user=… dbname=…\"]
       weir-bench lifecycle
       weir-bench tables --postgres \"host=… port=… user=… dbname=…\"
       weir-bench tpch --postgres \"host=… port=… user=… dbname=…\"";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let result = runtime.map_err(|e| e.to_string()).and_then(|runtime| match arguments.next().as_deref() {
        Some("nexmark") => {
            let options = nexmark::Options::parse(arguments)?;
            runtime.block_on(nexmark::run(options)).map_err(|e| described(e.as_ref()))
        }
        Some("lifecycle") => runtime.block_on(lifecycle::run()).map_err(|e| described(e.as_ref())),
        Some("tables") => runtime.block_on(tables::run(arguments)).map_err(|e| described(e.as_ref())),
        Some("tpch") => runtime.block_on(tpch::run(arguments)).map_err(|e| described(e.as_ref())),
        _ => Err(USAGE.to_owned()),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// An error with what caused it: a driver's own words say little.
fn described(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
