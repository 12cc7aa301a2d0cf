//! The log against crashes, torn writes, damage and failing disks, on files in memory.

use std::io::ErrorKind;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use weir_common::seam::{FailingFileSystem, MemoryFileSystem};
use weir_common::{ChangeBatch, ObjectId, SqlState};

use super::*;

const DIR: &str = "/data/log";

fn open(fs: &(impl FileSystem + Clone + 'static)) -> Result<Log> {
    Log::open(Arc::new(fs.clone()), PathBuf::from(DIR))
}

fn record(epoch: u64) -> LogRecord {
    let values: ArrayRef = Arc::new(Int64Array::from(vec![epoch as i64, 7]));
    let rows = RecordBatch::try_from_iter([("v", values)]).expect("one column");
    let batch = ChangeBatch::new(rows, vec![1, -1].into());
    LogRecord {
        epoch: Epoch(epoch),
        tables: vec![(ObjectId(1), vec![batch.clone(), batch]), (ObjectId(2), vec![])],
        sources: vec![(ObjectId(3), epoch.to_string().into_bytes())],
        catalog: epoch.is_multiple_of(2).then_some(epoch as u32),
        delivered: vec![DeliveredUpto { job: ObjectId(9), channel: 1, upto: Epoch(epoch / 2) }],
        closed_micros: epoch as i64 * 1_000,
        idle: vec![(ObjectId(3), format!("split {epoch}")), (ObjectId(1), String::new())],
    }
}

fn commit(log: &mut Log, epoch: u64) -> Result<()> {
    log.commit(&record(epoch))
}

fn epochs(log: &Log, after: u64) -> Result<Vec<u64>> {
    let mut epochs = Vec::new();
    log.replay(Epoch(after), &mut |found| {
        let expected = record(found.epoch.0);
        assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        epochs.push(found.epoch.0);
        Ok(())
    })?;
    Ok(epochs)
}

fn first_segment() -> PathBuf {
    segment_path(Path::new(DIR), 1)
}

#[test]
fn records_come_back_after_reopening() -> Result<()> {
    let fs = MemoryFileSystem::default();
    let mut log = open(&fs)?;
    commit(&mut log, 1)?;
    log.append(&record(2))?;
    commit(&mut log, 3)?;
    assert_eq!(epochs(&log, 0)?, [1, 2, 3]);
    drop(log);
    let mut log = open(&fs)?;
    commit(&mut log, 4)?;
    assert_eq!(epochs(&log, 0)?, [1, 2, 3, 4]);
    assert_eq!(epochs(&log, 2)?, [3, 4]);
    Ok(())
}

#[test]
fn what_was_not_synced_is_lost_and_nothing_else() -> Result<()> {
    let fs = MemoryFileSystem::default();
    let mut log = open(&fs)?;
    commit(&mut log, 1)?;
    log.append(&record(2))?;
    drop(log);
    fs.lose_unsynced();
    assert_eq!(epochs(&open(&fs)?, 0)?, [1]);
    Ok(())
}

#[test]
fn a_tail_torn_anywhere_is_cut_off() -> Result<()> {
    let fs = MemoryFileSystem::default();
    let mut log = open(&fs)?;
    commit(&mut log, 1)?;
    let durable = log.synced as usize;
    commit(&mut log, 2)?;
    drop(log);
    let whole = fs.read(&first_segment()).expect("the segment");
    for len in durable..whole.len() {
        fs.overwrite(&first_segment(), whole[..len].to_vec());
        let mut log = open(&fs)?;
        assert_eq!(epochs(&log, 0)?, [1], "cut to {len} bytes");
        commit(&mut log, 3)?;
        assert_eq!(epochs(&open(&fs)?, 0)?, [1, 3]);
    }
    Ok(())
}

#[test]
fn a_tail_of_which_sectors_are_missing_is_cut_off() -> Result<()> {
    let fs = MemoryFileSystem::default();
    let mut log = open(&fs)?;
    commit(&mut log, 1)?;
    let durable = log.synced as usize;
    commit(&mut log, 2)?;
    drop(log);
    let whole = fs.read(&first_segment()).expect("the segment");
    assert!(whole.len() / 512 > durable / 512 + 1, "a whole sector is written");
    for start in (0..whole.len()).step_by(512) {
        let (start, end) = (start.max(durable), (start + 512).min(whole.len()));
        if start >= end {
            continue;
        }
        let mut bytes = whole.clone();
        bytes[start..end].fill(0);
        fs.overwrite(&first_segment(), bytes);
        assert_eq!(epochs(&open(&fs)?, 0)?, [1], "without bytes {start} to {end}");
    }
    Ok(())
}

#[test]
fn a_segment_cut_while_it_was_created_begins_anew() -> Result<()> {
    for len in 0..HEADER_BYTES {
        let fs = MemoryFileSystem::default();
        fs.create_dir_all(Path::new(DIR)).expect("a folder");
        fs.overwrite(&first_segment(), segment::header(0)[..len].to_vec());
        commit(&mut open(&fs)?, 1)?;
        assert_eq!(epochs(&open(&fs)?, 0)?, [1]);
    }
    Ok(())
}

#[test]
fn damage_to_an_acknowledged_record_is_an_error_that_names_the_file() -> Result<()> {
    let fs = MemoryFileSystem::default();
    let mut log = open(&fs)?;
    commit(&mut log, 1)?;
    commit(&mut log, 2)?;
    drop(log);
    let whole = fs.read(&first_segment()).expect("the segment");
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs.overwrite(&first_segment(), bytes);
        let error = open(&fs).err().unwrap_or_else(|| panic!("byte {at} is damaged"));
        assert!(error.message().contains("00000001.log"), "byte {at}: {error}");
        assert_eq!(error.state(), SqlState::DATA_CORRUPTED, "byte {at}: {error}");
    }
    Ok(())
}

#[test]
fn a_newer_log_format_is_refused() -> Result<()> {
    let fs = MemoryFileSystem::default();
    commit(&mut open(&fs)?, 1)?;
    let mut bytes = fs.read(&first_segment()).expect("the segment");
    bytes[8] = 9;
    let crc = crc32fast::hash(&bytes[..12]).to_le_bytes();
    bytes[12..16].copy_from_slice(&crc);
    fs.overwrite(&first_segment(), bytes);
    let error = open(&fs).err().expect("a newer format");
    assert!(error.message().contains("log format 9"), "{error}");
    Ok(())
}

#[test]
fn trimming_removes_whole_segments_only() -> Result<()> {
    let fs = MemoryFileSystem::default();
    let mut log = open(&fs)?;
    commit(&mut log, 1)?;
    commit(&mut log, 2)?;
    log.trim(Epoch(1), 5)?;
    assert_eq!(epochs(&log, 0)?, [1, 2]);
    log.trim(Epoch(2), 6)?;
    assert_eq!(epochs(&log, 0)?, [0; 0]);
    assert!(!fs.exists(&first_segment()));
    commit(&mut log, 3)?;
    drop(log);
    let log = open(&fs)?;
    assert_eq!(epochs(&log, 0)?, [3]);
    assert_eq!(log.state_version(), 6, "that of the trim which removed something");
    Ok(())
}

#[test]
fn a_missing_or_short_older_segment_is_corruption() -> Result<()> {
    let fs = MemoryFileSystem::default();
    let mut log = open(&fs)?;
    for epoch in 1..4 {
        commit(&mut log, epoch)?;
        log.roll()?;
    }
    drop(log);
    let second = segment_path(Path::new(DIR), 2);
    let whole = fs.read(&second).expect("the segment");
    fs.overwrite(&second, whole[..whole.len() - 1].to_vec());
    let error = open(&fs).err().expect("a short segment");
    assert_eq!(error.state(), SqlState::DATA_CORRUPTED);
    assert!(error.message().contains("00000002.log"), "{error}");
    fs.remove(&second).expect("the segment");
    let error = open(&fs).err().expect("a missing segment");
    assert_eq!(error.state(), SqlState::DATA_CORRUPTED);
    assert!(error.message().contains("00000002.log"), "{error}");
    Ok(())
}

/// Runs commits and a trim with each operation failing in turn, then loses power: what was acknowledged is there.
#[test]
fn acknowledged_commits_survive_every_single_fault() -> Result<()> {
    let mut faults = 0;
    for nth in 1.. {
        let disk = MemoryFileSystem::default();
        let fs = FailingFileSystem::new(Arc::new(disk.clone()), nth, ErrorKind::StorageFull);
        let mut acknowledged = Vec::new();
        if let Ok(mut log) = open(&fs) {
            for epoch in 1..6 {
                if commit(&mut log, epoch).is_ok() {
                    acknowledged.push(epoch);
                }
                if epoch == 3 && log.trim(Epoch(2), 6).is_err() {
                    continue;
                }
            }
        }
        disk.lose_unsynced();
        let found = epochs(&open(&disk)?, 0)?;
        let kept = |epoch: &u64| *epoch <= 2 || found.contains(epoch);
        assert!(acknowledged.iter().all(kept), "fault {nth}: {found:?} of {acknowledged:?}, trimmed up to 2");
        if !fs.has_failed() {
            assert_eq!(acknowledged, [1, 2, 3, 4, 5]);
            break;
        }
        faults += 1;
    }
    assert!(faults > 10, "only {faults} operations could fail");
    Ok(())
}

#[test]
fn a_full_disk_fails_one_commit_and_the_next_goes_on() -> Result<()> {
    let disk = MemoryFileSystem::default();
    commit(&mut open(&disk)?, 1)?;
    // Opening does five operations; the sixth is the append of the commit.
    let opening = FailingFileSystem::new(Arc::new(disk.clone()), 0, ErrorKind::StorageFull);
    drop(open(&opening)?);
    let fs = FailingFileSystem::new(Arc::new(disk), opening.operations() + 1, ErrorKind::StorageFull);
    let mut log = open(&fs)?;
    log.append(&record(2))?;
    assert_eq!(commit(&mut log, 3).expect_err("the disk is full").state(), SqlState::DISK_FULL);
    assert!(log.is_usable());
    commit(&mut log, 4)?;
    assert_eq!(epochs(&log, 0)?, [1, 2, 4], "what waited for a sync still does");
    Ok(())
}

#[test]
fn after_a_failed_sync_the_log_takes_nothing() -> Result<()> {
    let disk = MemoryFileSystem::default();
    let opening = FailingFileSystem::new(Arc::new(disk.clone()), 0, ErrorKind::Other);
    drop(open(&opening)?);
    let disk = MemoryFileSystem::default();
    let fs = FailingFileSystem::new(Arc::new(disk), opening.operations() + 2, ErrorKind::Other);
    let mut log = open(&fs)?;
    assert_eq!(commit(&mut log, 1).expect_err("the sync fails").state(), SqlState::IO_ERROR);
    let error = commit(&mut log, 2).expect_err("the log is closed");
    assert!(error.hint().is_some_and(|hint| hint.contains("restart")), "{error:?}");
    Ok(())
}
