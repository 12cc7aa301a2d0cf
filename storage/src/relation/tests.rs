//! The relation store against a naive multi-version model, on both backends.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use weir_common::key::{KeyEncoder, KeyRange};
use weir_common::{Column, RelationKey, SqlType};

use super::*;
use crate::backend::Write;
use crate::memory::MemoryBackend;
use crate::rocks::RocksBackend;

const ID: ObjectId = ObjectId(20_000);
const INDEX: ObjectId = ObjectId(20_001);
type Rows = BTreeMap<(i64, Option<String>), i64>;

fn schema(key: RelationKey) -> RelationSchema {
    let column = |id, name: &str, ty| Column { id, name: name.into(), ty, nullable: true };
    RelationSchema { columns: vec![column(1, "k", SqlType::Int8), column(2, "v", SqlType::Text)], key }
}

fn keyed() -> RelationSchema {
    schema(RelationKey::Columns(vec![0]))
}

fn batch(changes: &[(i64, Option<&str>, i8)]) -> ChangeBatch {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(changes.iter().map(|change| change.0)));
    let values: ArrayRef = Arc::new(StringArray::from_iter(changes.iter().map(|change| change.1)));
    let rows = RecordBatch::try_from_iter_with_nullable([("k", keys, true), ("v", values, true)])
        .expect("two columns");
    ChangeBatch::new(rows, changes.iter().map(|change| change.2).collect())
}

fn collect(snapshot: &RelationSnapshot, batch_rows: usize) -> Result<Rows> {
    let mut rows = Rows::new();
    for batch in snapshot.scan(&[1, 0], batch_rows) {
        let batch = batch?;
        assert!(batch.num_rows() > 0 && batch.num_rows() <= batch_rows);
        let values = batch.column(0).as_string::<i32>();
        let keys = batch.column(1).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let value = values.is_valid(row).then(|| values.value(row).to_owned());
            *rows.entry((keys.value(row), value)).or_default() += 1;
        }
    }
    Ok(rows)
}

fn checkpoint(store: &RelationStore, backend: &dyn StateBackend, upto: u64) -> Result<()> {
    let mut batch = WriteBatch::default();
    store.flush(Epoch(upto), &mut batch)?;
    let mut keys = Vec::new();
    batch.for_each(|write| keys.extend(relation_key(write).map(<[u8]>::to_vec)));
    assert!(keys.is_sorted(), "a checkpoint writes in key order");
    backend.write(batch)?;
    store.flushed(Epoch(upto));
    Ok(())
}

fn relation_key(write: Write<'_>) -> Option<&[u8]> {
    match write {
        Write::Put(Keyspace::Relation, key, _) | Write::Delete(Keyspace::Relation, key) => Some(key),
        _ => None,
    }
}

/// What a test does with a store: sets keys (or changes weights) in the open epoch, or something at its end.
#[derive(Clone, Debug)]
enum Step {
    Change {
        key: i64,
        value: Option<u8>,
    },
    EndEpoch,
    Pin,
    Flush {
        back: u64,
    },
    Reopen,
    /// Attaches an index, or completes the one that was attached.
    Index,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change =
        (0i64..12, proptest::option::of(0u8..4)).prop_map(|(key, value)| Step::Change { key, value });
    let rare = prop_oneof![
        Just(Step::EndEpoch),
        Just(Step::Pin),
        (0u64..3).prop_map(|back| Step::Flush { back }),
        Just(Step::Reopen),
        Just(Step::Index),
    ];
    vec(prop_oneof![6 => change, 4 => rare], 1..120)
}

/// The store and the model beside it.
struct World {
    schema: RelationSchema,
    backend: Arc<dyn StateBackend>,
    store: Arc<RelationStore>,
    now: Rows,
    /// Contents after each epoch.
    history: Vec<Rows>,
    flushed: u64,
    /// Changes of the open epoch, applied in reverse, in two batches.
    open: Vec<(i64, Option<String>, i8)>,
    pins: Vec<(RelationPin, u64)>,
    index: Index,
}

/// What there is of the index over `v`.
enum Index {
    Nothing,
    Attached(IndexBuild),
    Complete,
}

fn index() -> IndexSpec {
    IndexSpec { id: INDEX, columns: Arc::new(PlainColumns(vec![(1, SqlType::Text)])) }
}

impl World {
    fn new(schema: RelationSchema, backend: Arc<dyn StateBackend>) -> Result<World> {
        let store = RelationStore::open(ID, schema.clone(), backend.clone())?;
        let history = vec![Rows::new()];
        let (now, open, pins) = (Rows::new(), Vec::new(), Vec::new());
        let index = Index::Nothing;
        Ok(World { schema, backend, store, now, history, flushed: 0, open, pins, index })
    }

    fn last(&self) -> u64 {
        self.history.len() as u64 - 1
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Change { key, value } => {
                self.change(*key, value.map(|value| "x".repeat(usize::from(value))))
            }
            Step::EndEpoch => self.end_epoch()?,
            Step::Pin => self.pins.push((self.store.pin(), self.flushed)),
            Step::Flush { back } => {
                self.flushed = self.flushed.max(self.last().saturating_sub(*back));
                checkpoint(&self.store, &*self.backend, self.flushed)?;
            }
            Step::Reopen => {
                self.end_epoch()?;
                self.flushed = self.last();
                checkpoint(&self.store, &*self.backend, self.flushed)?;
                self.store = RelationStore::open(ID, self.schema.clone(), self.backend.clone())?;
                self.pins.clear();
                self.reopen_index()?;
            }
            Step::Index => match std::mem::replace(&mut self.index, Index::Complete) {
                Index::Nothing => self.index = Index::Attached(self.store.attach_index(index())?),
                Index::Attached(build) => {
                    build.run(|| Ok(()))?;
                    self.store.complete_index(INDEX)?;
                }
                Index::Complete => {}
            },
        }
        Ok(())
    }

    /// A complete index is there again; of one that was not, what is left goes.
    fn reopen_index(&mut self) -> Result<()> {
        if matches!(self.index, Index::Complete) {
            return self.store.adopt_index(index());
        }
        self.index = Index::Nothing;
        let mut batch = WriteBatch::default();
        drop_rows(INDEX, &mut batch);
        self.backend.write(batch)
    }

    fn change(&mut self, key: i64, value: Option<String>) {
        let is_bag = self.schema.key == RelationKey::Bag;
        let doomed: Vec<_> = self.now.keys().filter(|row| row.0 == key).take(1).cloned().collect();
        let mut changes = Vec::new();
        if !is_bag || value.is_none() {
            changes.extend(doomed.into_iter().map(|(key, value)| (key, value, -1)));
        }
        if value.is_some() || is_bag {
            changes.push((key, value, 1));
        }
        for (key, value, op) in &changes {
            let weight = self.now.entry((*key, value.clone())).or_default();
            *weight += i64::from(*op);
            if *weight == 0 {
                self.now.remove(&(*key, value.clone()));
            }
        }
        self.open.extend(changes);
    }

    fn end_epoch(&mut self) -> Result<()> {
        let epoch = Epoch(self.history.len() as u64);
        self.open.reverse();
        let changes: Vec<_> =
            self.open.iter().map(|(key, value, op)| (*key, value.as_deref(), *op)).collect();
        let (first, second) = changes.split_at(changes.len() / 2);
        self.store.apply(epoch, &batch(first))?;
        self.store.apply(epoch, &batch(second))?;
        self.open.clear();
        self.history.push(self.now.clone());
        Ok(())
    }

    fn check(&self) -> Result<()> {
        for epoch in self.flushed..=self.last() {
            self.check_snapshot(&self.store.pin().at(Epoch(epoch)), epoch)?;
        }
        for (pin, since) in &self.pins {
            for epoch in *since..=self.last() {
                self.check_snapshot(&pin.clone().at(Epoch(epoch)), epoch)?;
            }
        }
        let rows: i64 = self.history[self.last() as usize].values().sum();
        assert_eq!(self.store.row_count_estimate(), rows as u64);
        Ok(())
    }

    fn check_snapshot(&self, snapshot: &RelationSnapshot, epoch: u64) -> Result<()> {
        let expected = &self.history[epoch as usize];
        for batch_rows in [1, 3, 1000] {
            assert_eq!(&collect(snapshot, batch_rows)?, expected, "epoch {epoch} by {batch_rows} rows");
        }
        check_index(snapshot, expected)?;
        for (low, high) in [(0, 12), (3, 7), (5, 6), (8, 8)] {
            check_range(snapshot, expected, low, high)?;
        }
        if self.schema.key != RelationKey::Bag {
            let keys = KeyEncoder::new(&[SqlType::Int8.arrow()])?
                .encode(&[Arc::new(Int64Array::from_iter_values((-1..13).rev()))])?;
            let found = snapshot.points(&keys.iter().collect::<Vec<_>>())?;
            let expected: Vec<i64> = expected.keys().rev().map(|row| row.0).collect();
            assert_eq!(found.column(0).as_primitive::<Int64Type>().values(), &expected[..]);
        }
        Ok(())
    }
}

/// The rows of each value, found through the index, when the snapshot has it.
fn check_index(snapshot: &RelationSnapshot, all: &Rows) -> Result<()> {
    let Some(index) = snapshot.index(INDEX) else { return Ok(()) };
    let values = [None, Some(""), Some("x"), Some("xx"), Some("xxx"), Some("y")];
    let array: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
    let prefixes = KeyEncoder::new(&[SqlType::Text.arrow()])?.encode(&[array])?;
    // In order of their encodings: NULL comes last.
    let order = [1, 2, 3, 4, 5, 0];
    let sorted: Vec<&[u8]> = order.iter().map(|at| prefixes.row(*at)).collect();
    let counts = index.0.count_prefixes(&sorted)?;
    for (at, count) in order.iter().zip(counts) {
        let with_value = all.iter().filter(|((_, v), _)| v.as_deref() == values[*at]);
        assert_eq!(count as i64, with_value.map(|(_, weight)| weight).sum::<i64>(), "v = {:?}", values[*at]);
    }
    for (value, prefix) in values.iter().zip(prefixes.iter()) {
        let ranges = [KeyRange::of_prefix(prefix)];
        let keys = index.row_keys(&ranges, usize::MAX)?.unwrap_or_default();
        let found = snapshot.points_of(&keys.iter().map(Vec::as_slice).collect::<Vec<_>>(), &[0])?;
        let with_value = all.iter().filter(|((_, v), _)| v.as_deref() == *value);
        let expected: Vec<i64> =
            with_value.flat_map(|((key, _), weight)| std::iter::repeat_n(*key, *weight as usize)).collect();
        assert_eq!(found.column(0).as_primitive::<Int64Type>().values(), &expected[..], "v = {value:?}");
        assert!(keys.len() < 2 || index.row_keys(&ranges, 1)?.is_none());
    }
    Ok(())
}

/// The rows with `low <= k < high`, read as a range of keys.
fn check_range(snapshot: &RelationSnapshot, all: &Rows, low: i64, high: i64) -> Result<()> {
    let ends: ArrayRef = Arc::new(Int64Array::from(vec![low, high]));
    let ends = KeyEncoder::new(&[SqlType::Int8.arrow()])?.encode(&[ends])?;
    let range = KeyRange { start: ends.row(0).to_vec(), end: Some(ends.row(1).to_vec()) };
    for batch_rows in [1, 3, 1000] {
        let mut keys = Vec::new();
        for batch in snapshot.scan_range(&range, &[0], batch_rows) {
            keys.extend_from_slice(batch?.column(0).as_primitive::<Int64Type>().values());
        }
        let within = all.iter().filter(|((key, _), _)| (low..high).contains(key));
        let expected: Vec<i64> =
            within.flat_map(|((key, _), weight)| std::iter::repeat_n(*key, *weight as usize)).collect();
        assert_eq!(keys, expected, "{low} <= k < {high} by {batch_rows} rows");
    }
    Ok(())
}

fn run(schema: RelationSchema, backend: Arc<dyn StateBackend>, steps: &[Step]) -> Result<()> {
    let mut world = World::new(schema, backend)?;
    for step in steps {
        world.step(step)?;
    }
    world.end_epoch()?;
    world.check()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn keyed_relations_follow_the_model(steps in steps()) {
        run(keyed(), Arc::new(MemoryBackend::default()), &steps).expect("a sound run");
    }

    #[test]
    fn bags_follow_the_model(steps in steps()) {
        run(schema(RelationKey::Bag), Arc::new(MemoryBackend::default()), &steps).expect("a sound run");
    }
}

#[test]
fn rocks_follows_the_model_too() -> Result<()> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for key in [RelationKey::Columns(vec![0]), RelationKey::Bag] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let backend = Arc::new(RocksBackend::open(dir.path(), 8 << 20)?);
        let steps = vec(steps(), 1..2).new_tree(&mut runner).expect("steps").current().concat();
        run(schema(key), backend, &steps)?;
    }
    Ok(())
}

#[test]
fn the_order_of_changes_in_an_epoch_does_not_matter() -> Result<()> {
    let orders: [&[(i64, Option<&str>, i8)]; 3] = [
        &[(1, Some("old"), -1), (1, Some("tmp"), 1), (1, Some("tmp"), -1), (1, Some("new"), 1)],
        &[(1, Some("new"), 1), (1, Some("tmp"), -1), (1, Some("old"), -1), (1, Some("tmp"), 1)],
        &[(1, Some("tmp"), -1), (1, Some("tmp"), 1), (1, Some("new"), 1), (1, Some("old"), -1)],
    ];
    for order in orders {
        let store = RelationStore::open(ID, keyed(), Arc::new(MemoryBackend::default()))?;
        store.apply(Epoch(1), &batch(&[(1, Some("old"), 1)]))?;
        for change in order {
            store.apply(Epoch(2), &batch(&[*change]))?;
        }
        let rows = collect(&store.pin().at(Epoch(2)), 10)?;
        assert_eq!(rows, Rows::from([((1, Some("new".into())), 1)]));
    }
    Ok(())
}

#[test]
fn many_small_batches_are_merged_and_found() -> Result<()> {
    let store = RelationStore::open(ID, keyed(), Arc::new(MemoryBackend::default()))?;
    for key in 0..2000i64 {
        store.apply(Epoch(1 + key as u64 / 100), &batch(&[((key * 7919) % 2000, Some("v"), 1)]))?;
    }
    let snapshot = store.pin().at(Epoch(20));
    assert!(snapshot.runs.len() < 48, "{} runs", snapshot.runs.len());
    assert_eq!(collect(&snapshot, 64)?.len(), 2000);
    let keys = KeyEncoder::new(&[SqlType::Int8.arrow()])?
        .encode(&[Arc::new(Int64Array::from(vec![1999, -5, 0]))])?;
    let found = store.latest_many(&keys.iter().collect::<Vec<_>>())?;
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(store.latest(keys.row(1))?, None);
    assert!(store.memory_bytes() > 2000 * 20);
    Ok(())
}

#[test]
fn concurrent_appliers_lose_nothing() -> Result<()> {
    let backend: Arc<dyn StateBackend> = Arc::new(MemoryBackend::default());
    let store = RelationStore::open(ID, keyed(), backend.clone())?;
    std::thread::scope(|scope| {
        for worker in 0..4i64 {
            let store = &store;
            scope.spawn(move || {
                for key in 0..200 {
                    store.apply(Epoch(5), &batch(&[(worker * 1000 + key, Some("v"), 1)])).expect("applied");
                }
            });
        }
        for upto in 1..5 {
            checkpoint(&store, &*backend, upto).expect("a checkpoint of epochs already complete");
        }
    });
    assert_eq!(collect(&store.pin().at(Epoch(5)), 100)?.len(), 800);
    checkpoint(&store, &*backend, 5)?;
    assert_eq!(store.memory_bytes(), 0);
    assert_eq!(collect(&store.pin().at(Epoch(5)), 100)?.len(), 800);
    Ok(())
}

#[test]
fn an_index_is_built_while_others_apply() -> Result<()> {
    let backend: Arc<dyn StateBackend> = Arc::new(MemoryBackend::default());
    let store = RelationStore::open(ID, keyed(), backend.clone())?;
    for key in 0..500 {
        store.apply(Epoch(1), &batch(&[(-1 - key, Some("x"), 1)]))?;
    }
    checkpoint(&store, &*backend, 1)?;
    std::thread::scope(|scope| {
        for worker in 0..3i64 {
            let store = &store;
            scope.spawn(move || {
                for key in 0..300 {
                    let value = if key % 2 == 0 { "x" } else { "xx" };
                    let row = (worker * 1000 + key, Some(value), 1);
                    store.apply(Epoch(3), &batch(&[row])).expect("applied");
                }
            });
        }
        let build = store.attach_index(index()).expect("attached");
        checkpoint(&store, &*backend, 2).expect("a checkpoint under way");
        build.run(|| Ok(())).expect("built");
        store.complete_index(INDEX).expect("completed");
    });
    let all = collect(&store.pin().at(Epoch(3)), 1000)?;
    assert_eq!(all.len(), 1400);
    check_index(&store.pin().at(Epoch(3)), &all)?;
    checkpoint(&store, &*backend, 3)?;
    check_index(&store.pin().at(Epoch(3)), &all)?;
    let reopened = RelationStore::open(ID, keyed(), backend)?;
    reopened.adopt_index(index())?;
    let snapshot = reopened.pin().at(Epoch(3));
    assert!(snapshot.index(INDEX).is_some());
    check_index(&snapshot, &all)
}

#[test]
fn a_failed_checkpoint_is_made_up_for_by_the_next() -> Result<()> {
    let backend: Arc<dyn StateBackend> = Arc::new(MemoryBackend::default());
    let store = RelationStore::open(ID, keyed(), backend.clone())?;
    store.apply(Epoch(1), &batch(&[(1, Some("a"), 1), (2, None, 1)]))?;
    store.flush(Epoch(1), &mut WriteBatch::default())?;
    store.apply(Epoch(2), &batch(&[(1, Some("a"), -1)]))?;
    checkpoint(&store, &*backend, 2)?;
    let store = RelationStore::open(ID, keyed(), backend)?;
    assert_eq!(collect(&store.pin().at(Epoch(2)), 10)?, Rows::from([((2, None), 1)]));
    assert_eq!(store.row_count_estimate(), 1);
    Ok(())
}

#[test]
fn dropped_rows_leave_the_backend_and_neighbours_stay() -> Result<()> {
    let backend: Arc<dyn StateBackend> = Arc::new(MemoryBackend::default());
    let open = |id| RelationStore::open(ObjectId(id), keyed(), backend.clone());
    for id in [7, 8, 9] {
        let store = open(id)?;
        store.apply(Epoch(1), &batch(&[(1, Some("a"), 1)]))?;
        checkpoint(&store, &*backend, 1)?;
    }
    let mut batch = WriteBatch::default();
    drop_rows(ObjectId(8), &mut batch);
    backend.write(batch)?;
    for (id, rows) in [(7, 1), (8, 0), (9, 1)] {
        let store = open(id)?;
        assert_eq!(
            (collect(&store.pin().at(Epoch(1)), 10)?.len(), store.row_count_estimate()),
            (rows, rows as u64)
        );
    }
    Ok(())
}

#[test]
fn a_bag_repeats_rows_across_batches_and_counts_without_columns() -> Result<()> {
    let backend: Arc<dyn StateBackend> = Arc::new(MemoryBackend::default());
    let store = RelationStore::open(ID, schema(RelationKey::Bag), backend.clone())?;
    store.apply(Epoch(1), &batch(&[(1, Some("a"), 1); 700]))?;
    checkpoint(&store, &*backend, 1)?;
    store.apply(Epoch(2), &batch(&[(1, Some("a"), 1), (2, None, 1)]))?;
    let snapshot = store.pin().at(Epoch(2));
    let sizes: Vec<usize> =
        snapshot.scan(&[], 300).map(|batch| batch.map(|batch| batch.num_rows())).collect::<Result<_>>()?;
    assert_eq!(sizes.iter().sum::<usize>(), 702);
    assert!(sizes.iter().all(|size| *size <= 300), "{sizes:?}");
    Ok(())
}

#[test]
fn a_scan_goes_on_from_a_position() -> Result<()> {
    let backend = Arc::new(MemoryBackend::default());
    for key in [RelationKey::Columns(vec![0]), RelationKey::Bag] {
        let store = RelationStore::open(ID, schema(key.clone()), backend.clone())?;
        let is_bag = matches!(key, RelationKey::Bag);
        let all: Vec<(i64, Option<&str>, i8)> = (0..90).map(|k| (k % 60, Some("v"), 1)).collect();
        let distinct = if is_bag { &all[..] } else { &all[..60] };
        store.apply(Epoch(1), &batch(&distinct[..20]))?;
        checkpoint(&store, &*backend, 1)?;
        distinct[20..].chunks(7).try_for_each(|part| store.apply(Epoch(2), &batch(part)))?;
        let snapshot = store.pin().at(Epoch(2));
        let (mut scan, mut before, mut positions) = (snapshot.scan(&[0], 8), 0, 0);
        while let Some(rows) = scan.next().transpose()? {
            before += rows.num_rows();
            let Some(position) = scan.position().map(<[u8]>::to_vec) else { continue };
            positions += 1;
            let behind = snapshot.scan_range(&KeyRange::after(&position), &[0], 8);
            let behind: usize = behind.map(|rows| Ok(rows?.num_rows())).sum::<Result<_>>()?;
            assert_eq!(before + behind, distinct.len());
            assert_eq!(snapshot.changes_upto(&position, &batch(distinct))?.len(), before);
        }
        assert!(positions > 1 && scan.position().is_none());
        let mut erasure = WriteBatch::default();
        drop_rows(ID, &mut erasure);
        backend.write(erasure)?;
    }
    Ok(())
}
