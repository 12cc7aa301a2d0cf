//! The Nth fsync fails, at the start, or of one thread at work: from then on nothing is acknowledged that may be lost.
//!
//! `strace` makes the call fail instead of doing it. Then the power is lost too: what the call would have written is not
//! on the disk, and what was acknowledged must be. `WEIR_FAULTS=long` tries every N until none is left.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use support::cases::{block_on, run_all};
use support::disk::Disk;
use support::life::{self, Life, Progress};
use support::{DEADLINE, Server, is_long};

const DISK_MIB: u64 = 128;
const SEQUENCER: &str = "sequencer";
const CHECKPOINTER: &str = "checkpointer";

/// Whose Nth call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// The thread that opens the data folder, and any other one that gets so far.
    Start,
    /// A thread of the engine at work.
    Thread(&'static str),
    /// Each thread at work, each its own Nth.
    Everyone,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    victim: Victim,
    nth: u32,
}

impl Case {
    fn strace(&self, trace: &Path) -> Vec<String> {
        let inject = format!("inject=fsync,fdatasync:error=EIO:when={}", self.nth);
        let arguments = ["strace", "-qq", "-o", trace.to_str().unwrap(), "-e", "trace=fsync,fdatasync", "-e"];
        arguments.iter().map(|argument| argument.to_string()).chain([inject]).collect()
    }

    /// Whether a call failed.
    async fn run(&self, life: &Life) -> bool {
        let folder = tempfile::TempDir::new().unwrap();
        let trace = folder.path().join("trace");
        let mut disk = Disk::ext4(DISK_MIB);
        let mut launch = life::launch();
        launch.data_dir = disk.as_ref().map(|disk| disk.path().join("data"));
        let strace = self.strace(&trace);
        if self.victim == Victim::Start {
            // The tracer is beside the server, not above it: the child is the server.
            launch.wrapper =
                [strace.clone(), ["-D", "-f", "--seccomp-bpf"].map(str::to_owned).to_vec()].concat();
        }
        let (mut server, is_ready) = Server::try_launch(launch);
        let files = life::files_of(&server.data_dir());
        let (mut progress, mut is_told) = (Progress { done: 0, in_flight: false }, false);
        if is_ready {
            let tracer = attach(&server, self.victim, &strace);
            progress = life.live_on(&server.connect().await, &files, 0).await;
            let is_over = progress.done + 1 == life.states.len();
            if !is_over && matches!(self.victim, Victim::Thread(_)) {
                server.wait();
            }
            // One that lives has told the client.
            is_told |= !server.has_ended();
            if !server.has_ended() {
                server.kill();
            }
            tracer.into_iter().for_each(|mut tracer| drop(tracer.wait()));
        }
        let has_failed = std::fs::read_to_string(&trace).is_ok_and(|trace| trace.contains("INJECTED"));
        assert!(is_ready || has_failed, "the server does not start");
        is_told |= !has_failed || complains(&server.log());
        assert!(is_told, "nothing is said of the failure:\n{}", server.log());
        if let Some(disk) = &mut disk {
            disk.lose_power();
        }
        server.restart();
        let client = server.connect().await;
        let next = life.check(&client, progress).await;
        if self.nth == 1 {
            life.complete(&client, &files, next).await;
        }
        has_failed
    }
}

/// Whether the log says which call failed.
fn complains(log: &str) -> bool {
    log.lines().any(|line| line.contains("os error 5") || line.contains("Input/output error"))
}

/// Starts the tracer of a server that runs.
fn attach(server: &Server, victim: Victim, strace: &[String]) -> Option<Child> {
    let task = |name: &str| {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
        let is_it = |task: &std::path::PathBuf| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let task = tasks.map(|task| task.unwrap().path()).find(is_it).expect("a thread of this name");
        task.file_name().unwrap().to_str().unwrap().to_owned()
    };
    let (target, more): (String, &[&str]) = match victim {
        Victim::Start => return None,
        Victim::Thread(name) => (task(name), &[]),
        Victim::Everyone => (server.pid().to_string(), &["-f"]),
    };
    let tracer =
        Command::new(&strace[0]).args(&strace[1..]).args(more).args(["-p", &target]).spawn().unwrap();
    let end = Instant::now() + DEADLINE;
    let status = format!("/proc/{target}/status");
    while std::fs::read_to_string(&status).unwrap().contains("TracerPid:\t0\n") {
        assert!(Instant::now() < end, "strace does not attach");
        std::thread::sleep(Duration::from_millis(5));
    }
    Some(tracer)
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_that_is_lost() {
    let life = block_on(Life::observe());
    let sampled: [(Victim, &[u32]); 4] = [
        (Victim::Start, &[1, 2, 4, 7, 11, 16]),
        (Victim::Thread(SEQUENCER), &[1, 2, 3, 6, 12]),
        (Victim::Thread(CHECKPOINTER), &[1, 2, 4]),
        (Victim::Everyone, &[1, 2]),
    ];
    if is_long() {
        let victims = sampled.map(|(victim, _)| victim);
        return run_all(&victims, |victim| {
            let is_hit = |nth: &u32| block_on(Case { victim: *victim, nth: *nth }.run(&life));
            let hits = (1..).take_while(is_hit).count();
            eprintln!("{victim:?}: {hits} calls failed in turn");
            if hits > 2 { Ok(()) } else { Err(format!("only {hits} calls could fail")) }
        });
    }
    let of = |(victim, all): &(Victim, &[u32])| {
        let victim = *victim;
        all.iter().map(move |nth| Case { victim, nth: *nth }).collect::<Vec<_>>()
    };
    let cases: Vec<Case> = sampled.iter().flat_map(of).collect();
    run_all(&cases, |case| match block_on(case.run(&life)) {
        true => Ok(()),
        false => Err("no call failed".to_owned()),
    });
}
