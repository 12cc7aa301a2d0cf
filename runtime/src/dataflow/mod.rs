//! The one module that names timely: workers, exchange and progress of all jobs.
//!
//! One timely instance runs all jobs; a job is one dataflow whose timestamps are epochs. The frontier is the
//! aligned barrier: when it has passed an epoch at an operator, the operator has seen all of the epoch from
//! every worker on every path.
//!
//! ```text
//!   Feed ─► timely input ─► exchange ─► FragmentHost (fused operators) ─► … ─► OutputNode ─► probe
//! ```

mod container;
mod hosted;
mod install;
mod worker;

use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use crossbeam_channel::Sender;
use parking_lot::Mutex;
use timely::CommunicationConfig;
use timely::execute::execute_from;
use timely::{WorkerConfig, communication::WorkerGuards};
use weir_common::{Error, JobId, Result};

use crate::engine::Engine;
use crate::job::Job;

/// Held while a job is still on a worker.
pub type Gone = tokio::sync::mpsc::Sender<()>;

/// What a worker is told; each worker gets every command, in the same order.
#[derive(Clone)]
enum Command {
    Install(Arc<Job>),
    /// Take the job away; the sender is dropped when it is gone.
    Drop(JobId, Option<Gone>),
    /// These jobs may have something to read.
    Pump(Arc<[JobId]>),
    Stop,
}

/// The worker threads.
#[derive(Default)]
pub struct Workers {
    links: OnceLock<Vec<Link>>,
    /// One sender at a time, so that all workers see one order.
    order: Mutex<()>,
    guards: Mutex<Option<WorkerGuards<()>>>,
}

struct Link {
    commands: Sender<Command>,
    thread: Thread,
}

impl Workers {
    /// Starts the worker threads of `engine`; called once.
    pub fn start(engine: &Arc<Engine>) -> Result<()> {
        let count = engine.config.workers;
        let (ready, threads) = crossbeam_channel::unbounded();
        let (builders, others) = CommunicationConfig::Process(count).try_build().map_err(Error::internal)?;
        let engine_of_workers = engine.clone();
        let guards = execute_from(builders, others, WorkerConfig::default(), move |timely| {
            let (commands, inbox) = crossbeam_channel::unbounded();
            // Nobody receives any more only if starting has failed, and then the worker has nothing to do.
            let _ = ready.send((timely.index(), Link { commands, thread: std::thread::current() }));
            worker::Worker::new(engine_of_workers.clone(), inbox, timely.index(), timely.peers()).run(timely);
        })
        .map_err(Error::internal)?;
        let mut links: Vec<(usize, Link)> = threads.iter().take(count).collect();
        links.sort_by_key(|(index, _)| *index);
        let links = links.into_iter().map(|(_, link)| link).collect();
        engine.workers.links.set(links).map_err(|_| Error::internal("workers were started twice"))?;
        *engine.workers.guards.lock() = Some(guards);
        Ok(())
    }

    /// Builds the job's dataflow on every worker.
    pub fn install(&self, job: Arc<Job>) {
        self.send(Command::Install(job));
    }

    /// Takes a job away; every clone of `gone` is dropped once all workers have done so.
    pub fn drop_job(&self, job: JobId, gone: Option<Gone>) {
        self.send(Command::Drop(job, gone));
    }

    /// Tells the workers that these jobs may have something to read.
    pub fn pump(&self, jobs: &[JobId]) {
        if !jobs.is_empty() {
            self.send(Command::Pump(jobs.into()));
        }
    }

    /// Stops and joins the threads.
    pub fn stop(&self) {
        self.send(Command::Stop);
        if let Some(guards) = self.guards.lock().take() {
            drop(guards.join());
        }
    }

    fn send(&self, command: Command) {
        let _order = self.order.lock();
        for link in self.links.get().into_iter().flatten() {
            // A worker that has stopped takes no commands.
            let _ = link.commands.send(command.clone());
            link.thread.unpark();
        }
    }
}
