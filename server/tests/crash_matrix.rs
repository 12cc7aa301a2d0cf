//! The server killed at each failpoint there is, and the power lost at each: what was acknowledged is there, once, and
//! nothing half done shows.
//!
//! One list, [`ALL`], says which steps there are; a kill that did not happen fails the test. `WEIR_FAULTS=long` kills
//! at later and later visits of each failpoint too, until one is not reached any more.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::path::Path;

use support::cases::{block_on, run_all};
use support::disk::Disk;
use support::life::{self, Life, Progress};
use support::{Server, is_long};
use weir_common::failpoint::ALL;

const DISK_MIB: u64 = 128;

/// When a failpoint is met.
#[derive(Clone, Copy, Debug)]
enum When {
    /// At the start on an empty folder.
    FirstStart,
    /// At a start after a kill at this failpoint, which was passed so many times.
    StartAfter(&'static str, u32),
    /// At work, after it was passed so many times.
    Work(u32),
}

fn when(failpoint: &str) -> When {
    use weir_common::failpoint as at;
    match failpoint {
        at::DATA_DIR_BEFORE_FORMAT => When::FirstStart,
        at::RECOVERY_BEFORE_RESUME | at::RECOVERY_AFTER_BACKFILL_REMOVED => {
            When::StartAfter(at::BACKFILL_AFTER_STEP, 0)
        }
        // What is dropped then was in a checkpoint.
        at::RECOVERY_BEFORE_ERASE => When::StartAfter(at::DDL_BEFORE_STOP, 2),
        at::CATALOG_BEFORE_CUT
        | at::CATALOG_BEFORE_RENAME
        | at::CATALOG_AFTER_RENAME
        | at::LOG_BEFORE_CUT
        | at::RECOVERY_BEFORE_STATE
        | at::RECOVERY_BEFORE_INSTALL => When::StartAfter(at::DDL_BEFORE_CATALOG_COMMIT, 0),
        // No checkpoint can hold the record that was just written, however slow the machine is.
        at::RECOVERY_REPLAY => When::StartAfter(at::LOG_AFTER_SYNC, 6),
        at::COMMIT_BEFORE_LOG | at::LOG_BEFORE_SYNC | at::LOG_AFTER_SYNC => When::Work(6),
        at::EPOCH_BEFORE_PUBLISH | at::EPOCH_BEFORE_REPLY => When::Work(10),
        at::JOB_RUN => When::Work(150),
        at::CATALOG_BEFORE_SYNC => When::Work(9),
        at::CATALOG_AFTER_SYNC => When::Work(12),
        at::CHECKPOINT_BEFORE_WRITE | at::CHECKPOINT_AFTER_WRITE | at::CHECKPOINT_AFTER_PART => When::Work(2),
        at::DDL_BEFORE_START | at::DDL_BEFORE_STOP => When::Work(1),
        _ => When::Work(0),
    }
}

/// What happens to a server at a failpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    PowerLoss,
}

/// One kill, and what came of it.
struct Case<'a> {
    life: &'a Life,
    fault: Fault,
    failpoint: &'static str,
    when: When,
}

impl Case<'_> {
    /// Whether the failpoint was met. `None` where no disk can be mounted.
    async fn run(&self) -> Option<bool> {
        let mut disk = match self.fault {
            Fault::Kill => None,
            Fault::PowerLoss => Some(Disk::ext4(DISK_MIB)?),
        };
        let launch = match &disk {
            None => life::launch(),
            Some(disk) => life::launch().in_dir(disk.path().join("data")),
        };
        let met = match self.when {
            When::FirstStart => {
                let (server, is_ready) = Server::try_launch(launch.failing(self.failpoint, 0));
                Some((server, Progress { done: 0, in_flight: false })).filter(|_| !is_ready)
            }
            When::StartAfter(first, passed) => {
                let killed = self.killed_at_work(launch, first, passed).await;
                let Some((mut server, progress)) = killed else { return Some(false) };
                self.lose_power(disk.as_mut());
                tear_logs(&server.data_dir());
                let met = server.fail_to_start(&self.at_start());
                Some((server, progress)).filter(|_| met)
            }
            When::Work(passed) => self.killed_at_work(launch, self.failpoint, passed).await,
        };
        let Some((mut server, progress)) = met else { return Some(false) };
        self.lose_power(disk.as_mut());
        server.restart();
        let client = server.connect().await;
        let files = life::files_of(&server.data_dir());
        let next = self.life.check(&client, progress).await;
        self.life.complete(&client, &files, next).await;
        Some(true)
    }

    /// What ends a server when it starts, and what makes it come there.
    fn at_start(&self) -> String {
        use weir_common::failpoint as at;
        let before = match self.failpoint {
            at::RECOVERY_AFTER_BACKFILL_REMOVED => format!("{}=return;", at::RECOVERY_BEFORE_RESUME),
            _ => String::new(),
        };
        format!("{before}{}=panic", self.failpoint)
    }

    /// A server that died at a failpoint; `None` when it did not.
    async fn killed_at_work(
        &self,
        launch: support::Launch,
        failpoint: &str,
        passed: u32,
    ) -> Option<(Server, Progress)> {
        let mut server = Server::launch(launch.failing(failpoint, passed));
        server.expect_complaints();
        let client = server.connect().await;
        let files = life::files_of(&server.data_dir());
        let progress = self.life.live_on(&client, &files, 0).await;
        if progress.done + 1 == self.life.states.len() {
            return None;
        }
        assert!(!server.wait().success() && server.log().contains(failpoint), "{failpoint}: another end");
        Some((server, progress))
    }

    fn lose_power(&self, disk: Option<&mut Disk>) {
        if let Some(disk) = disk {
            disk.lose_power();
        }
    }
}

/// What a crash in the middle of a write leaves at the ends of both logs.
fn tear_logs(data_dir: &Path) {
    let mut segments: Vec<_> =
        std::fs::read_dir(data_dir.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    for file in [segments.pop().unwrap(), data_dir.join("catalog.log")] {
        std::fs::OpenOptions::new().append(true).open(file).unwrap().write_all(b"WREC\x07\x01\0").unwrap();
    }
}

/// The fault at every failpoint.
fn at_all(fault: Fault) {
    let life = block_on(Life::observe());
    run_all(ALL, |failpoint| {
        let run = |when| block_on(Case { life: &life, fault, failpoint, when }.run());
        if run(when(failpoint)) == Some(false) {
            return Err("it was not met".to_owned());
        }
        if let (true, When::Work(first)) = (is_long(), when(failpoint)) {
            let mut passed = first + 1;
            while run(When::Work(passed)) == Some(true) {
                passed += passed / 4 + 1;
            }
        }
        Ok(())
    });
}

#[test]
fn a_kill_at_each_step_leaves_what_was_acknowledged() {
    at_all(Fault::Kill);
}

#[test]
fn a_power_loss_at_each_step_leaves_what_was_acknowledged() {
    at_all(Fault::PowerLoss);
}
