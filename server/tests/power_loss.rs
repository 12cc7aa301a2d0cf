//! Power losses at any moment while clients write: what was acknowledged before is on the disk.
//!
//! `kill -9` cannot find a missing fsync, of a file or of a folder: what was written stays in the page cache.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use support::disk::Disk;
use support::ledger::{Written, check, create, insert_entries, transfer};
use support::{DEADLINE, Launch, Server, is_long};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

const DISK_MIB: u64 = 128;

/// Waits until no thread of the process runs or is in a system call.
fn wait_until_stopped(pid: u32) {
    let is_stopped = |stat: String| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'));
    let end = Instant::now() + DEADLINE;
    loop {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let mut stats = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
        if stats.all(is_stopped) {
            return;
        }
        assert!(Instant::now() < end, "the process does not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Creates and drops tables and views until the connection breaks; returns the last table that was acknowledged.
fn change_catalog(client: Client, round: usize) -> JoinHandle<Option<String>> {
    tokio::spawn(async move {
        let mut last = None;
        for i in 0.. {
            let name = format!("made_{round}_{i}");
            let create = format!("CREATE TABLE {name} (k int PRIMARY KEY)");
            let fill = format!(
                "BEGIN; CREATE MATERIALIZED VIEW v_{name} AS SELECT count(*) AS n FROM {name}; \
                 INSERT INTO {name} VALUES (1), (2); COMMIT"
            );
            for sql in [create, fill] {
                if client.batch_execute(&sql).await.is_err() {
                    return last;
                }
            }
            let dropped = last.replace(name).map(|name| format!("DROP TABLE {name} CASCADE"));
            if let Some(sql) = dropped
                && client.batch_execute(&sql).await.is_err()
            {
                return last;
            }
        }
        last
    })
}

#[test]
fn a_power_loss_takes_what_is_not_synced_and_nothing_else() {
    let Some(mut disk) = Disk::ext4(16) else { return };
    let write = |name: &str| std::fs::File::create(disk.path().join(name)).unwrap();
    let (mut synced, mut not_synced) = (write("synced"), write("not synced"));
    synced.write_all(&[7; 5000]).unwrap();
    synced.sync_all().unwrap();
    not_synced.write_all(&[7; 5000]).unwrap();
    write("not even there");
    drop((synced, not_synced));
    disk.lose_power();
    let len = |name: &str| std::fs::metadata(disk.path().join(name)).map(|file| file.len()).ok();
    assert_eq!(len("synced"), Some(5000));
    assert_ne!(len("not synced"), Some(5000));
    assert_eq!(len("not even there"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_power_loss_at_any_moment() {
    let Some(mut disk) = Disk::ext4(DISK_MIB) else { return };
    let mut server = Server::launch(Launch::default().in_dir(disk.path().join("data")));
    create(&server.connect().await).await;
    let next = Arc::new(AtomicI64::new(0));
    let mut all: Vec<Written> = Vec::new();
    for round in 0..if is_long() { 100 } else { 5 } {
        let mut writers = Vec::new();
        for _ in 0..3 {
            writers.push(insert_entries(server.connect().await, next.clone()));
        }
        let transfers = transfer(server.connect().await);
        let catalog = change_catalog(server.connect().await, round);
        let target = next.load(Ordering::SeqCst) + 60 + 70 * (round as i64 % 7);
        let end = Instant::now() + DEADLINE;
        while next.load(Ordering::SeqCst) < target {
            assert!(Instant::now() < end, "the writers make no progress");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Stopped, so that the copy is of one moment. What comes to clients from here on was acknowledged before.
        server.signal("STOP");
        wait_until_stopped(server.pid());
        let copy = disk.copy();
        server.kill();
        disk.go_on_with(copy);
        let mut met = 0;
        for writer in writers {
            let written = writer.await.unwrap();
            met += usize::from(written.in_flight.is_some());
            all.push(written);
        }
        assert_eq!(met, 3, "the power loss met {met} statements in flight");
        transfers.await.unwrap();
        let made = catalog.await.unwrap();
        server.restart();
        let client = server.connect().await;
        check(&client, &all).await;
        if let Some(name) = made {
            let counts = format!("SELECT (SELECT count(*) FROM {name}), (SELECT n FROM v_{name})");
            assert_eq!(support::rows(&client, &counts).await, ["2|2"], "{name} was acknowledged");
        }
    }
}
