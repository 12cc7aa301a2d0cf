//! A disk that gets full: writes are refused with 53100, everything else goes on, and nothing acknowledged is lost.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};

use support::disk::Disk;
use support::{Launch, Server, eventually, first_value, rows, sqlstate};
use tokio_postgres::Client;

const DISK_KIB: u64 = 16 << 10;
/// What commits leave to checkpoints: an eighth.
const KEPT_KIB: u64 = DISK_KIB / 8;
const FULL: &str = "53100";

/// Somebody else's file that leaves so much room on the disk.
struct Ballast(PathBuf);

impl Ballast {
    fn leave(disk: &Disk, kib: u64) -> Ballast {
        let path = disk.path().join("ballast");
        let mut file = std::fs::File::create(&path).unwrap();
        // The state backend may take room for a moment and give it back.
        for _ in 0..3 {
            while let more @ 4.. = free_kib(disk.path()).saturating_sub(kib)
                && file.write_all(&vec![1; (more as usize) << 10]).is_ok()
            {}
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        Ballast(path)
    }

    fn remove(self) {
        std::fs::remove_file(self.0).unwrap();
    }
}

fn free_kib(path: &Path) -> u64 {
    let output = std::process::Command::new("df").args(["--output=avail", "-k"]).arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().nth(1).unwrap().trim().parse().unwrap()
}

async fn create(client: &Client) {
    for sql in [
        "CREATE TABLE t (k int PRIMARY KEY, filler text)",
        "CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n, sum(k) AS s FROM t",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
}

/// Inserts a row whose text nothing can make shorter; its SQLSTATE.
async fn insert(client: &Client, k: usize, bytes: usize) -> String {
    let hashes = bytes.div_ceil(32);
    let hex = format!("string_agg(md5(i::text || '/' || {k}), '') FROM generate_series(1, {hashes}) AS i");
    sqlstate(client, &format!("INSERT INTO t SELECT {k}, {hex}")).await
}

/// All of these rows and no others are there, and the view says so.
async fn check(client: &Client, acknowledged: &[usize]) {
    let found = rows(client, "SELECT k FROM t ORDER BY k").await;
    assert_eq!(found, acknowledged.iter().map(usize::to_string).collect::<Vec<_>>());
    let of_view = format!("{}|{}", acknowledged.len(), acknowledged.iter().sum::<usize>());
    assert_eq!(rows(client, "SELECT n, s FROM counted").await, [of_view]);
}

fn start(disk: &Disk) -> Server {
    let mut server =
        Server::launch(Launch::with(&["--memory-limit", "256MiB"]).in_dir(disk.path().join("data")));
    server.expect_complaints();
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_fills_its_disk_lives_and_loses_nothing() {
    let Some(disk) = Disk::small(DISK_KIB) else { return };
    let mut server = start(&disk);
    let client = server.connect().await;
    create(&client).await;
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    for k in 0.. {
        match insert(&client, k, 64 << 10).await.as_str() {
            "00000" => acknowledged.push(k),
            code => {
                assert_eq!(code, FULL);
                refused += 1;
            }
        }
        if refused == 50 {
            break;
        }
        assert!(k < 2000, "the disk does not get full");
    }
    let error = client.batch_execute("INSERT INTO t VALUES (-1, 'x')").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), FULL);
    assert!(error.message().contains("disk"), "{error:?}");
    check(&client, &acknowledged).await;
    assert!(!server.has_ended(), "{}", server.log());
    // On a larger disk it goes on.
    server.kill();
    let larger = tempfile::TempDir::new().unwrap();
    let copied =
        std::process::Command::new("cp").arg("-a").arg(server.data_dir()).arg(larger.path()).status();
    assert!(copied.unwrap().success());
    server.move_data(larger.path().join("data"));
    server.restart();
    let client = server.connect().await;
    check(&client, &acknowledged).await;
    assert_eq!(insert(&client, 10_000, 64 << 10).await, "00000");
    acknowledged.push(10_000);
    check(&client, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_others_fill_stops_writes_until_there_is_room() {
    let Some(disk) = Disk::small(DISK_KIB) else { return };
    let mut server = start(&disk);
    let client = server.connect().await;
    create(&client).await;
    let mut acknowledged: Vec<usize> = (0..20).collect();
    for k in &acknowledged {
        assert_eq!(insert(&client, *k, 1000).await, "00000");
    }
    // There is room for a small commit, and not for a large one, which is found half-way.
    let ballast = Ballast::leave(&disk, KEPT_KIB + 200);
    assert_eq!(insert(&client, 50, 4 << 20).await, FULL);
    assert!(server.log().contains("commits are refused"), "{}", server.log());
    check(&client, &acknowledged).await;
    assert_eq!(insert(&client, 51, 100).await, "00000");
    acknowledged.push(51);
    ballast.remove();

    let ballast = Ballast::leave(&disk, 0);
    for k in 60..70 {
        assert_eq!(insert(&client, k, 100).await, FULL);
    }
    // More than the last block of the catalog's file has room for.
    let long = "long".repeat(10_000);
    let catalog_changes =
        [format!("CREATE VIEW other AS SELECT '{long}' AS v"), format!("COMMENT ON TABLE t IS '{long}'")];
    for sql in &catalog_changes {
        assert_eq!(sqlstate(&client, sql).await, FULL);
    }
    check(&client, &acknowledged).await;
    // Longer than checkpoints are apart: they wait.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert!(!server.has_ended(), "{}", server.log());
    assert!(server.log().contains("checkpoints wait until there is room"), "{}", server.log());
    ballast.remove();
    for k in 70..80 {
        assert_eq!(insert(&client, k, 100).await, "00000");
        acknowledged.push(k);
    }
    for sql in &catalog_changes {
        assert_eq!(sqlstate(&client, sql).await, "00000");
    }
    check(&client, &acknowledged).await;
    let in_memory = "SELECT coalesce(sum(bytes), 0) FROM sys.relations";
    eventually(&client, in_memory, |bytes| bytes == "0").await;

    // A start on a full disk is a start, or a clear error.
    let ballast = Ballast::leave(&disk, 0);
    server.kill();
    if server.try_restart() {
        check(&server.connect().await, &acknowledged).await;
        server.kill();
    } else {
        assert!(server.log().contains("No space left"), "{}", server.log());
    }
    ballast.remove();
    server.restart();
    let client = server.connect().await;
    check(&client, &acknowledged).await;
    assert_eq!(first_value(&client, "SELECT v FROM other").await, long);
}
