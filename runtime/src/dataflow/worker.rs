//! The loop of one worker thread: commands, feeding inputs, a timely step, and looking at the probes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use weir_common::JobId;

use super::Command;
use super::install::{Installed, Left, install};
use crate::engine::Engine;

/// Batches that one input takes in one round, so that jobs take turns.
const BATCHES_A_ROUND: usize = 8;

/// How long a worker rests that waits for memory to come back, or for other workers.
const REST: Duration = Duration::from_millis(1);

/// One worker thread.
pub struct Worker {
    engine: Arc<Engine>,
    inbox: Receiver<Command>,
    index: usize,
    peers: usize,
    jobs: BTreeMap<JobId, Installed>,
    /// Jobs with something to read, or with epochs under way.
    active: BTreeSet<JobId>,
}

impl Worker {
    /// Worker `index` of `peers`.
    pub fn new(engine: Arc<Engine>, inbox: Receiver<Command>, index: usize, peers: usize) -> Worker {
        Worker { engine, inbox, index, peers, jobs: BTreeMap::new(), active: BTreeSet::new() }
    }

    /// Runs until told to stop.
    pub fn run(mut self, timely: &mut timely::worker::Worker) {
        loop {
            while let Ok(command) = self.inbox.try_recv() {
                match command {
                    Command::Install(job) => {
                        let id = job.id;
                        let installed = install(&self.engine, job, timely, self.index, self.peers);
                        self.jobs.insert(id, installed);
                        self.active.insert(id);
                    }
                    Command::Drop(id, _gone) => self.drop_job(id, timely),
                    Command::Pump(ids) => {
                        self.active.extend(ids.iter().filter(|id| self.jobs.contains_key(id)))
                    }
                    Command::Stop => {
                        self.jobs
                            .keys()
                            .copied()
                            .collect::<Vec<_>>()
                            .into_iter()
                            .for_each(|id| self.drop_job(id, timely));
                        return;
                    }
                }
            }
            if self.engine.must_rest() {
                std::thread::sleep(REST);
                continue;
            }
            let pause = match self.feed() {
                Left::More => Some(Duration::ZERO),
                Left::Waiting => Some(REST),
                Left::Nothing => None,
            };
            timely.step_or_park(pause);
            self.look();
        }
    }

    fn drop_job(&mut self, id: JobId, timely: &mut timely::worker::Worker) {
        self.active.remove(&id);
        if let Some(installed) = self.jobs.remove(&id) {
            timely.drop_dataflow(installed.dataflow);
        }
    }

    /// Feeds each active job a little; what is left of the one that has most.
    fn feed(&mut self) -> Left {
        let mut most = Left::Nothing;
        for id in &self.active {
            let Some(installed) = self.jobs.get_mut(id) else { continue };
            let uppers = self.engine.state.lock().input_uppers(*id);
            match installed.feed(&self.engine, &uppers, BATCHES_A_ROUND) {
                Ok(left) => {
                    most = most.max(left);
                    if installed.has_completed_backfill() {
                        let (name, rows) = installed.backfilled();
                        tracing::info!(job = %name, rows, "has read the rows of its inputs");
                        self.engine.workers.pump(&[*id]);
                    }
                }
                Err(error) => self.engine.fail_job(*id, error),
            }
        }
        most
    }

    /// Reports frontiers that moved, and lets jobs rest whose output is complete up to all that they were fed.
    fn look(&mut self) {
        let (jobs, index, engine) = (&mut self.jobs, self.index, &self.engine);
        self.active.retain(|id| {
            let Some(installed) = jobs.get_mut(id) else { return false };
            let frontier = installed.frontier();
            if index == 0 && frontier > installed.reported {
                installed.reported = frontier;
                engine.frontier_passed(*id, frontier);
            }
            installed.is_busy()
        });
    }
}
