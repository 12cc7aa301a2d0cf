//! `RocksBackend`: the state backend on RocksDB, one column family a keyspace.
//!
//! Every batch is one RocksDB write batch with a synced write-ahead log, so it is atomic over all keyspaces
//! and survives power loss. Writers give keys in order where they can (RocksDB takes those ten times faster).
//! Memory is bounded by the write buffers (64 MiB at most) and the block cache, which also holds indexes and filters;
//! a batch larger than the buffers takes its size until it is flushed.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBPinnableSlice,
    DBRecoveryMode, ErrorKind, LogLevel, Options, ReadOptions, Snapshot, WriteOptions,
};
use self_cell::self_cell;
use weir_common::{Error, Result, SqlState};

use crate::backend::{Keyspace, StateBackend, StateSnapshot, Write, WriteBatch};

/// All write buffers together, at least and at most.
const WRITE_BUFFERS_BYTES: std::ops::RangeInclusive<usize> = 4 << 20..=64 << 20;
/// RocksDB's own log files in the folder are kept down to this many.
const INFO_LOG_FILES: usize = 2;
/// A read of at least this many entries is a scan and leaves the block cache alone.
const SCAN_ENTRIES: usize = 1024;

fn family_name(space: Keyspace) -> &'static str {
    match space {
        Keyspace::Meta => "meta",
        Keyspace::State => "state",
        Keyspace::Relation => "relation",
        Keyspace::Changelog => "changelog",
    }
}

/// State on disk. Clones of its snapshots keep the database open.
pub struct RocksBackend {
    database: Arc<Database>,
}

struct Database {
    rocks: DB,
    path: PathBuf,
}

impl RocksBackend {
    /// Opens or creates the database in folder `path`; buffers and cache together take `memory_bytes`.
    ///
    /// Errors: 58030 (also when another process has it open), XX001 when its files are damaged.
    pub fn open(path: impl AsRef<Path>, memory_bytes: usize) -> Result<RocksBackend> {
        let path = path.as_ref().to_owned();
        crate::rocks_files::check_manifest(&path)?;
        let buffers = (memory_bytes / 2).clamp(*WRITE_BUFFERS_BYTES.start(), *WRITE_BUFFERS_BYTES.end());
        let tables = table_options(&Cache::new_lru_cache(memory_bytes.saturating_sub(buffers)));
        let families = Keyspace::ALL
            .map(|space| ColumnFamilyDescriptor::new(family_name(space), family_options(&tables, buffers)));
        let failed = |error| translate(&path, "open", error);
        let options = database_options(buffers).map_err(failed)?;
        let rocks = DB::open_cf_descriptors(&options, &path, families).map_err(failed)?;
        Ok(RocksBackend { database: Arc::new(Database { rocks, path }) })
    }
}

fn database_options(write_buffers: usize) -> std::result::Result<Options, rocksdb::Error> {
    // Files grow as they are written: one that takes the room of a write buffer ahead fills a small disk for a moment,
    // in which commits find none.
    let mut options = Options::default().get_options_from_string("allow_fallocate=false")?;
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    // A torn last record is a write that nobody was told of; damage before it must be an error.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_db_write_buffer_size(write_buffers);
    options.set_max_total_wal_size(2 * write_buffers as u64);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(1 << 20);
    options.set_keep_log_file_num(INFO_LOG_FILES);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    Ok(options)
}

fn table_options(cache: &Cache) -> BlockBasedOptions {
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(cache);
    tables.set_block_size(16 << 10);
    tables.set_bloom_filter(10.0, false);
    tables.set_cache_index_and_filter_blocks(true);
    tables.set_pin_l0_filter_and_index_blocks_in_cache(true);
    tables
}

fn family_options(tables: &BlockBasedOptions, write_buffers: usize) -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(write_buffers / 2);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_block_based_table_factory(tables);
    options
}

/// RocksDB's error in our words; its message names the file where one is to blame.
fn translate(path: &Path, action: &str, error: rocksdb::Error) -> Error {
    let path = path.display();
    let message = error.to_string();
    match error.kind() {
        ErrorKind::Corruption => Error::corrupted(format!("{path}: {message}")),
        ErrorKind::IOError if message.contains("No space left") => {
            Error::new(SqlState::DISK_FULL, format!("could not {action} {path}: {message}"))
        }
        ErrorKind::IOError | ErrorKind::Busy | ErrorKind::TimedOut | ErrorKind::Incomplete => {
            Error::new(SqlState::IO_ERROR, format!("could not {action} {path}: {message}"))
        }
        _ => Error::internal(format!("could not {action} {path}: {message}")),
    }
}

impl Database {
    fn family(&self, space: Keyspace) -> &ColumnFamily {
        self.rocks.cf_handle(family_name(space)).expect("open creates every keyspace")
    }

    fn read_error(&self, error: rocksdb::Error) -> Error {
        translate(&self.path, "read", error)
    }

    fn point(&self, space: Keyspace, key: &[u8], options: &ReadOptions) -> Result<Option<Bytes>> {
        let value = self.rocks.get_pinned_cf_opt(self.family(space), key, options);
        Ok(value.map_err(|error| self.read_error(error))?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn points(&self, space: Keyspace, keys: &[&[u8]], options: &ReadOptions) -> Result<Vec<Option<Bytes>>> {
        let sorted = keys.is_sorted();
        let values =
            self.rocks.batched_multi_get_cf_opt(self.family(space), keys.iter().copied(), sorted, options);
        let copied = |value: Option<DBPinnableSlice<'_>>| value.map(|value| Bytes::copy_from_slice(&value));
        values.into_iter().map(|value| value.map(copied).map_err(|error| self.read_error(error))).collect()
    }
}

impl StateBackend for RocksBackend {
    fn write(&self, batch: WriteBatch) -> Result<()> {
        let database = &self.database;
        let families = Keyspace::ALL.map(|space| database.family(space));
        let mut writes = rocksdb::WriteBatch::with_capacity_bytes(batch.size_bytes());
        batch.drain(|write| match write {
            Write::Put(space, key, value) => writes.put_cf(families[space as usize], key, value),
            Write::Delete(space, key) => writes.delete_cf(families[space as usize], key),
            Write::DeleteRange(space, start, end) => {
                writes.delete_range_cf(families[space as usize], start, end);
            }
        });
        let mut options = WriteOptions::default();
        options.set_sync(true);
        database
            .rocks
            .write_opt(writes, &options)
            .map_err(|error| translate(&database.path, "write to", error))
    }

    fn point(&self, space: Keyspace, key: &[u8]) -> Result<Option<Bytes>> {
        self.database.point(space, key, &ReadOptions::default())
    }

    fn points(&self, space: Keyspace, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        self.database.points(space, keys, &ReadOptions::default())
    }

    fn snapshot(&self) -> Arc<dyn StateSnapshot> {
        Arc::new(RocksSnapshot::new(self.database.clone(), |database| database.rocks.snapshot()))
    }

    fn version(&self) -> u64 {
        self.database.rocks.latest_sequence_number()
    }

    fn size_bytes(&self) -> u64 {
        let database = &self.database;
        let properties = ["rocksdb.total-sst-files-size", "rocksdb.cur-size-all-mem-tables"];
        let sizes = Keyspace::ALL.iter().flat_map(|space| {
            properties.iter().map(|name| database.rocks.property_int_value_cf(database.family(*space), *name))
        });
        sizes.filter_map(|size| size.ok().flatten()).sum()
    }
}

self_cell!(
    /// A snapshot together with the database it borrows from.
    struct RocksSnapshot {
        owner: Arc<Database>,
        #[covariant]
        dependent: Snapshot,
    }
);

impl RocksSnapshot {
    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_snapshot(self.borrow_dependent());
        options
    }
}

impl StateSnapshot for RocksSnapshot {
    fn point(&self, space: Keyspace, key: &[u8]) -> Result<Option<Bytes>> {
        self.borrow_owner().point(space, key, &self.options())
    }

    fn points(&self, space: Keyspace, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        self.borrow_owner().points(space, keys, &self.options())
    }

    fn range(
        &self,
        space: Keyspace,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>> {
        let database = self.borrow_owner();
        let mut options = self.options();
        options.fill_cache(limit < SCAN_ENTRIES);
        match end {
            Bound::Excluded(end) => options.set_iterate_upper_bound(end),
            Bound::Included(end) => options.set_iterate_upper_bound(successor(end)),
            Bound::Unbounded => {}
        }
        let mut entries = self.borrow_dependent().raw_iterator_cf_opt(database.family(space), options);
        match start {
            Bound::Included(start) => entries.seek(start),
            Bound::Excluded(start) => entries.seek(successor(start)),
            Bound::Unbounded => entries.seek_to_first(),
        }
        let mut packed = PackedEntries::default();
        while packed.ends.len() < limit {
            let Some((key, value)) = entries.item() else { break };
            packed.push(key, value);
            entries.next();
        }
        entries.status().map_err(|error| database.read_error(error))?;
        Ok(packed.into_entries())
    }

    /// One iterator for all of them: making one costs more than a seek.
    fn prefixes(&self, space: Keyspace, prefixes: &[&[u8]]) -> Result<Vec<Vec<(Bytes, Bytes)>>> {
        let database = self.borrow_owner();
        let mut entries = self.borrow_dependent().raw_iterator_cf_opt(database.family(space), self.options());
        let mut found = Vec::with_capacity(prefixes.len());
        for prefix in prefixes {
            let mut packed = PackedEntries::default();
            entries.seek(prefix);
            while let Some((key, value)) = entries.item().filter(|(key, _)| key.starts_with(prefix)) {
                packed.push(key, value);
                entries.next();
            }
            found.push(packed.into_entries());
        }
        entries.status().map_err(|error| database.read_error(error))?;
        Ok(found)
    }
}

/// The smallest byte string greater than this one.
fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

/// Entries in one allocation, which the slices handed out share.
#[derive(Default)]
struct PackedEntries {
    bytes: Vec<u8>,
    /// Ends of key and value of each entry.
    ends: Vec<(usize, usize)>,
}

impl PackedEntries {
    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }

    fn into_entries(self) -> Vec<(Bytes, Bytes)> {
        let bytes = Bytes::from(self.bytes);
        let mut start = 0;
        let entry = |(key_end, end): (usize, usize)| {
            let entry = (bytes.slice(start..key_end), bytes.slice(key_end..end));
            start = end;
            entry
        };
        self.ends.into_iter().map(entry).collect()
    }
}
