//! The `weir` binary: command line, logging, the engine, the PostgreSQL port, and a clean end.
//!
//! ```text
//! options ─► listen ─► open the engine ─► accept clients ─► signal ─► say goodbye ─► close the engine
//! ```
//! Place in the flow: above everything; it plans and runs nothing itself. Invariant: a bad address, password
//! setting or data folder ends the process with one line on stderr and exit code 1, before a client is served.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cli;
mod demo;
mod pgwire;
mod shutdown;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use weir_common::{Error, Result};
use weir_table::Environment;

use crate::cli::Options;
use crate::pgwire::{AuthPolicy, Server};
use crate::shutdown::{Signals, Switch, Watch};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Stack of an I/O thread: statements are parsed and bound on it, deep ones recursively.
const STACK_BYTES: usize = 16 << 20;
/// How long clients have to take their goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
/// How long the engine has to close; what is acknowledged is durable already.
const CLOSE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let options = Options::parse();
    start_logging();
    #[cfg(feature = "failpoints")]
    let _armed = arm_failpoints();
    match start(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report_fatal(&error);
            ExitCode::FAILURE
        }
    }
}

/// Arms what FAILPOINTS names. A panic at a failpoint ends the process as a kill would.
#[cfg(feature = "failpoints")]
fn arm_failpoints() -> fail::FailScenario<'static> {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    fail::FailScenario::setup()
}

/// INFO and above of Weir itself, WARN of everyone else; RUST_LOG overrides.
fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,weir=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}

fn start(options: Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .thread_name("weir-io")
        .build()
        .map_err(|e| Error::io("start the I/O threads", &e))?;
    let result = runtime.block_on(run(options));
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

/// The whole life of a server.
async fn run(options: Options) -> Result<()> {
    let mut signals = Signals::listen()?;
    let address = options.address()?;
    let auth = AuthPolicy::for_address(address, options.password()?)?;
    let listener = pgwire::listen(address)?;
    let address = listener.local_addr().map_err(|e| Error::io("read the listening address", &e))?;

    let Some(env) = open_engine(&options, &mut signals).await? else { return Ok(()) };
    let (switch, watch) = Switch::new();
    let server = Server::new(Arc::clone(&env), auth, watch.clone());
    let serving = tokio::spawn(server.serve(listener));
    say(&format!("Weir is ready: psql -h {} -p {} -U weir weir\n", address.ip(), address.port()));
    if options.demo {
        tokio::spawn(run_demo(Arc::clone(&env), watch));
    }

    let signal = signals.next().await;
    tracing::info!("shutting down on {signal}");
    switch.turn();
    if tokio::time::timeout(GOODBYE, serving).await.is_err() {
        tracing::warn!("some clients did not take their goodbye in time");
    }
    close_engine(env, &mut signals).await;
    Ok(())
}

/// Opens the engine off the I/O threads; `None` when a signal came first.
async fn open_engine(options: &Options, signals: &mut Signals) -> Result<Option<Arc<Environment>>> {
    let config = options.engine_config();
    let opening = tokio::task::spawn_blocking(move || Environment::open(config));
    tokio::select! {
        opened = opening => opened.map_err(|e| Error::internal(format_args!("opening the engine: {e}")))?.map(Some),
        signal = signals.next() => {
            tracing::info!("{signal} before the engine was open");
            Ok(None)
        }
    }
}

/// Closes the engine; a second signal or a long wait leaves it as a crash would, from which it recovers.
async fn close_engine(env: Arc<Environment>, signals: &mut Signals) {
    let closing = tokio::task::spawn_blocking(move || env.shutdown());
    tokio::select! {
        _ = closing => tracing::info!("shut down"),
        signal = signals.next() => tracing::warn!("{signal} again: leaving without closing the engine"),
        () = tokio::time::sleep(CLOSE) => tracing::warn!("the engine took too long to close; leaving"),
    }
}

async fn run_demo(env: Arc<Environment>, mut watch: Watch) {
    tokio::select! {
        created = demo::create(&env) => match created {
            Ok(text) => say(&text),
            Err(error) => tracing::error!("the demo could not be created: {error:?}"),
        },
        () = watch.ended() => {}
    }
}

/// Tells the user on stdout; a closed stdout is no reason to stop.
fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// One line, and the hint on a second.
fn report_fatal(error: &Error) {
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "weir: {}", error.message());
    for (label, text) in [("detail", error.detail()), ("hint", error.hint())] {
        if let Some(text) = text {
            let _ = writeln!(stderr, "  {label}: {text}");
        }
    }
}
