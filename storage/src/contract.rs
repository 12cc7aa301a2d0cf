//! What every state backend must do, as one suite that runs on each of them.

use std::ops::Bound;

use bytes::Bytes;
use weir_common::Result;

use crate::backend::{Keyspace, StateBackend, Write, WriteBatch};
use crate::memory::MemoryBackend;
use crate::rocks::RocksBackend;

const CACHE_BYTES: usize = 8 << 20;

#[test]
fn memory_backend_keeps_the_contract() -> Result<()> {
    check_contract(&|| Ok(Box::new(MemoryBackend::default())))
}

#[test]
fn rocks_backend_keeps_the_contract() -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut count = 0;
    let count = std::cell::RefCell::new(&mut count);
    check_contract(&|| {
        **count.borrow_mut() += 1;
        let path = dir.path().join(count.borrow().to_string());
        Ok(Box::new(RocksBackend::open(path, CACHE_BYTES)?))
    })
}

type Open<'a> = &'a dyn Fn() -> Result<Box<dyn StateBackend>>;

fn check_contract(open: Open<'_>) -> Result<()> {
    points_answer_in_the_order_asked(&*open()?)?;
    later_writes_of_a_batch_win(&*open()?)?;
    keyspaces_are_apart(&*open()?)?;
    snapshots_do_not_change(&*open()?)?;
    ranges_respect_bounds_and_limit(&*open()?)?;
    prefixes_give_their_keys_and_no_others(&*open()?)?;
    range_deletes_exclude_their_end(&*open()?)
}

fn put<'b>(key: &'b str, value: &'b str) -> Write<'b> {
    Write::Put(Keyspace::State, key.as_bytes(), value.as_bytes())
}

fn write(backend: &dyn StateBackend, writes: Vec<Write<'_>>) -> Result<()> {
    let mut batch = WriteBatch::default();
    for write in writes {
        match write {
            Write::Put(space, key, value) => batch.put(space, key, value),
            Write::Delete(space, key) => batch.delete(space, key),
            Write::DeleteRange(space, start, end) => batch.delete_range(space, start, end),
        }
    }
    backend.write(batch)
}

fn keys(backend: &dyn StateBackend, start: Bound<&[u8]>, end: Bound<&[u8]>, limit: usize) -> Result<String> {
    let entries = backend.snapshot().range(Keyspace::State, start, end, limit)?;
    let keys: Vec<_> = entries.iter().map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect();
    Ok(keys.join(" "))
}

fn points_answer_in_the_order_asked(backend: &dyn StateBackend) -> Result<()> {
    write(backend, vec![put("b", "2"), put("a", "1"), put("empty", "")])?;
    let expected = [Some(&b"2"[..]), None, Some(b""), Some(b"1")];
    let asked: [&[u8]; 4] = [b"b", b"x", b"empty", b"a"];
    let found = backend.points(Keyspace::State, &asked)?;
    assert_eq!(found.iter().map(|value| value.as_deref()).collect::<Vec<_>>(), expected);
    let found = backend.snapshot().points(Keyspace::State, &asked)?;
    assert_eq!(found.iter().map(|value| value.as_deref()).collect::<Vec<_>>(), expected);
    assert_eq!(backend.point(Keyspace::State, b"a")?.as_deref(), Some(&b"1"[..]));
    assert_eq!(backend.point(Keyspace::State, b"x")?, None);
    assert!(backend.size_bytes() > 0);
    Ok(())
}

fn later_writes_of_a_batch_win(backend: &dyn StateBackend) -> Result<()> {
    let delete = |key: &'static str| Write::Delete(Keyspace::State, key.as_bytes());
    let wipe = Write::DeleteRange(Keyspace::State, b"m", b"n");
    write(
        backend,
        vec![put("a", "1"), put("a", "2"), put("b", "1"), delete("b"), put("m1", "1"), wipe, put("m2", "2")],
    )?;
    assert_eq!(keys(backend, Bound::Unbounded, Bound::Unbounded, 9)?, "a m2");
    assert_eq!(backend.point(Keyspace::State, b"a")?.as_deref(), Some(&b"2"[..]));
    Ok(())
}

fn keyspaces_are_apart(backend: &dyn StateBackend) -> Result<()> {
    write(backend, vec![put("k", "state"), Write::Put(Keyspace::Meta, b"k", b"meta")])?;
    assert_eq!(backend.point(Keyspace::Meta, b"k")?.as_deref(), Some(&b"meta"[..]));
    assert_eq!(backend.point(Keyspace::Relation, b"k")?, None);
    write(backend, vec![Write::Delete(Keyspace::Meta, b"k")])?;
    assert_eq!(backend.point(Keyspace::State, b"k")?.as_deref(), Some(&b"state"[..]));
    Ok(())
}

fn snapshots_do_not_change(backend: &dyn StateBackend) -> Result<()> {
    write(backend, vec![put("a", "1"), put("b", "1")])?;
    let before = backend.snapshot();
    write(backend, vec![put("a", "2"), Write::Delete(Keyspace::State, b"b"), put("c", "3")])?;
    assert_eq!(before.point(Keyspace::State, b"a")?.as_deref(), Some(&b"1"[..]));
    let entries = before.range(Keyspace::State, Bound::Unbounded, Bound::Unbounded, 9)?;
    assert_eq!(entries.len(), 2);
    assert_eq!(backend.snapshot().point(Keyspace::State, b"a")?.as_deref(), Some(&b"2"[..]));
    Ok(())
}

fn ranges_respect_bounds_and_limit(backend: &dyn StateBackend) -> Result<()> {
    write(backend, ["a", "b", "ba", "c", "d"].map(|key| put(key, "v")).to_vec())?;
    let (b, c) = (&b"b"[..], &b"c"[..]);
    assert_eq!(keys(backend, Bound::Included(b), Bound::Excluded(c), 9)?, "b ba");
    assert_eq!(keys(backend, Bound::Excluded(b), Bound::Included(c), 9)?, "ba c");
    assert_eq!(keys(backend, Bound::Unbounded, Bound::Unbounded, 3)?, "a b ba");
    assert_eq!(keys(backend, Bound::Excluded(c), Bound::Excluded(b), 9)?, "");
    assert_eq!(keys(backend, Bound::Excluded(b), Bound::Excluded(b), 9)?, "");
    Ok(())
}

fn prefixes_give_their_keys_and_no_others(backend: &dyn StateBackend) -> Result<()> {
    write(backend, ["a", "b", "ba", "bb", "c", "d"].map(|key| put(key, key)).to_vec())?;
    let asked: [&[u8]; 5] = [b"", b"aa", b"b", b"bb", b"e"];
    let found = backend.snapshot().prefixes(Keyspace::State, &asked)?;
    let values = |entries: &Vec<(Bytes, Bytes)>| {
        let values: Vec<_> = entries.iter().map(|(_, value)| String::from_utf8_lossy(value)).collect();
        values.join(" ")
    };
    assert_eq!(found.iter().map(values).collect::<Vec<_>>(), ["a b ba bb c d", "", "b ba bb", "bb", ""]);
    Ok(())
}

fn range_deletes_exclude_their_end(backend: &dyn StateBackend) -> Result<()> {
    write(backend, ["a", "b", "c", "d"].map(|key| put(key, "v")).to_vec())?;
    write(backend, vec![Write::DeleteRange(Keyspace::State, b"b", b"d")])?;
    assert_eq!(keys(backend, Bound::Unbounded, Bound::Unbounded, 9)?, "a d");
    Ok(())
}

#[test]
fn rocks_backend_survives_reopening_and_its_snapshots_outlive_it() -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let backend = RocksBackend::open(dir.path(), CACHE_BYTES)?;
    write(&backend, vec![put("a", "1")])?;
    let snapshot = backend.snapshot();
    drop(backend);
    assert_eq!(snapshot.point(Keyspace::State, b"a")?.as_deref(), Some(&b"1"[..]));
    drop(snapshot);
    let backend = RocksBackend::open(dir.path(), CACHE_BYTES)?;
    assert_eq!(backend.point(Keyspace::State, b"a")?.as_deref(), Some(&b"1"[..]));
    Ok(())
}

#[test]
fn rocks_backend_takes_no_room_ahead_of_what_it_writes() -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let backend = RocksBackend::open(dir.path(), CACHE_BYTES)?;
    write(&backend, vec![put("a", "1")])?;
    let files = std::fs::read_dir(dir.path()).expect("its folder");
    let taken: u64 =
        files.map(|file| file.and_then(|file| file.metadata()).expect("a file").blocks() * 512).sum();
    assert!(taken < 1 << 20, "{taken} bytes");
    Ok(())
}

#[test]
fn a_damaged_rocks_file_is_corruption_that_names_it() -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let backend = RocksBackend::open(dir.path(), CACHE_BYTES)?;
    write(&backend, vec![put("a", "1")])?;
    drop(backend);
    let current = dir.path().join("CURRENT");
    std::fs::write(&current, "MANIFEST-nonsense").expect("a file to damage");
    let error = RocksBackend::open(dir.path(), CACHE_BYTES).err().expect("a damaged database does not open");
    assert_eq!(error.state(), weir_common::SqlState::DATA_CORRUPTED, "{error}");
    assert!(error.message().contains("CURRENT"), "{error}");
    Ok(())
}
