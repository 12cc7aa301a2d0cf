//! `Deliveries`: the rows of sinks into tables on their way into the tables.
//!
//! Each such sink has a thread that takes what its job has made, epoch by epoch, and writes it as a statement would: with
//! the table's lock, defaults, generated columns and constraints. A row with a key replaces the sink's columns of the row
//! that has the key, or is inserted; a delete removes that row. The commit says with the rows how far the sink has come,
//! so each row is delivered exactly once. A row that the table refuses fails the sink, never the table.
//!
//! One thread more does the same for the rows that jobs left out under ON ERROR.

mod letters;

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::Schema;
use futures::FutureExt;
use parking_lot::Mutex;
use weir_catalog::{ColumnDef, Object, ObjectKind, SinkTable, TableDef, quote_identifier};
use weir_common::change::record_batch;
use weir_common::key::{EncodedKeys, KeyEncoder};
use weir_common::{ChangeBatch, Error, JobId, ObjectId, Result, SqlState};
use weir_planner::BoundStatement;
use weir_planner::copy::BoundCopyFrom;
use weir_runtime::{Channel, Delivered, Delivery, Runtime, TableWrite};

use crate::dml::{Existing, RowExpr, Rules, UniqueKey, take};
use crate::environment::Environment;
use crate::session::{Session, SessionOptions};

/// How often a write is tried that somebody else's commit came before.
const ATTEMPTS: usize = 10;
/// How long a sink that is being dropped is left alone.
const DROP_PAUSE: Duration = Duration::from_millis(10);
/// Time between two tries to write on a full disk.
const DISK_PAUSE: Duration = Duration::from_millis(500);

/// The threads of the sinks into tables.
#[derive(Default)]
pub(crate) struct Deliveries(Mutex<Vec<JoinHandle<()>>>);

impl Deliveries {
    /// Starts the thread of each sink into a table that there is.
    pub fn start_all(&self, env: &Environment) -> Result<()> {
        let catalog = env.catalog.snapshot();
        let sinks = catalog.user_objects().filter(|object| match &object.kind {
            ObjectKind::Sink(sink) => sink.into_table().is_some(),
            _ => false,
        });
        sinks.map(|object| JobId(object.id.0)).try_for_each(|sink| self.start(env, sink))?;
        let (env, runtime) = (env.me.clone(), Arc::clone(&env.runtime));
        self.spawn("dead letters".to_owned(), async move { letters::deliver_all(&env, &runtime).await })
    }

    /// Starts the thread of a sink; it ends with its job, or with the runtime.
    pub fn start(&self, env: &Environment, sink: JobId) -> Result<()> {
        let (env, runtime) = (env.me.clone(), Arc::clone(&env.runtime));
        self.spawn(format!("sink {sink}"), async move { deliver_all(&env, &runtime, sink).await })
    }

    fn spawn(&self, name: String, work: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let failed = |e: std::io::Error| Error::io("start the thread of a sink", &e);
        let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(failed)?;
        let thread =
            std::thread::Builder::new().name(name).spawn(move || tokio.block_on(work)).map_err(failed)?;
        let mut threads = self.0.lock();
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }

    /// Waits for all threads, after the runtime has stopped.
    pub fn join(&self) {
        let threads = std::mem::take(&mut *self.0.lock());
        for thread in threads {
            // One of them may be the last to let go of the environment.
            let is_own = thread.thread().id() == std::thread::current().id();
            if !is_own && thread.join().is_err() {
                tracing::error!("the thread of a sink into a table ended in a panic");
            }
        }
    }
}

/// Delivers until the sink is gone or has failed, or the server stops.
async fn deliver_all(env: &Weak<Environment>, runtime: &Runtime, sink: JobId) {
    while let Ok(Some(delivery)) = runtime.next_delivery(sink, Channel::Output).await {
        let Some(env) = env.upgrade() else { return };
        let work = AssertUnwindSafe(deliver(env, sink, &delivery)).catch_unwind();
        let delivered = tokio::select! {
            delivered = work => delivered.unwrap_or_else(|_| Err(Error::internal("a delivery panicked"))),
            // Whoever holds the table's lock may hold it for long.
            () = runtime.stopped() => return,
        };
        match delivered {
            Ok(()) => {}
            Err(error) if error.state() == SqlState::ADMIN_SHUTDOWN => return,
            Err(error) => runtime.fail_delivery(sink, error),
        }
    }
}

async fn deliver(env: Arc<Environment>, sink: JobId, delivery: &Delivery) -> Result<()> {
    let catalog = env.catalog.snapshot();
    let Some((object, into)) = catalog.object(ObjectId(sink.0)).and_then(sink_table) else {
        // It is being dropped: its job goes next.
        tokio::time::sleep(DROP_PAUSE).await;
        return Ok(());
    };
    let parameters = vec![("application_name".to_owned(), format!("sink {}", object.name))];
    let mut session = env.session(SessionOptions { parameters, ..SessionOptions::default() })?;
    let delivered = Delivered { job: sink, channel: Channel::Output, upto: delivery.upto };
    let mut attempt = 0;
    loop {
        attempt += 1;
        match session.deliver(&into, delivery, delivered).await {
            // A plain INSERT came first with a key, or the table was altered.
            Err(error)
                if attempt < ATTEMPTS
                    && matches!(
                        error.state(),
                        SqlState::UNIQUE_VIOLATION | SqlState::SERIALIZATION_FAILURE
                    ) => {}
            // The rows wait until there is room.
            Err(error) if error.state() == SqlState::DISK_FULL => tokio::time::sleep(DISK_PAUSE).await,
            done => return done,
        }
    }
}

fn sink_table(object: &Arc<Object>) -> Option<(&Arc<Object>, SinkTable)> {
    match &object.kind {
        ObjectKind::Sink(sink) => Some((object, sink.into_table()?)),
        _ => None,
    }
}

/// What the net of a delivery does to one key.
enum Fate {
    /// It gets the row at this place of the delivery.
    Written(u32),
    Removed,
}

impl Session {
    /// Writes a delivery in one commit.
    async fn deliver(&mut self, into: &SinkTable, delivery: &Delivery, delivered: Delivered) -> Result<()> {
        let (object, table) = self.target(into.table)?;
        let _lock = self.lock(&object).await?;
        let target = SinkTarget::bind(self, &object, &table, into)?;
        let changes = match &target.key {
            // The changes of its epochs cancel each other.
            _ if delivery.epochs.iter().all(Vec::is_empty) => Vec::new(),
            None => target.inserts(delivery)?,
            Some(_) => {
                let rows = all_rows(delivery)?;
                let fates = target.fates(delivery, &rows)?;
                let (key, keys) = (UniqueKey::primary(&table)?, fates.keys().map(Vec::as_slice));
                let existing = self.existing_rows(object.id, &table, &key, keys).await?;
                target.upserts(fates, &rows, &existing)?
            }
        };
        let changes: Vec<ChangeBatch> = changes.into_iter().filter(|batch| !batch.is_empty()).collect();
        let writes = match changes.is_empty() {
            true => Vec::new(),
            false => vec![TableWrite { table: object.id, changes }],
        };
        fail::fail_point!(weir_common::failpoint::DELIVERY_BEFORE_COMMIT);
        self.env.runtime.deliver(writes, delivered).await
    }
}

/// A table as a sink writes it.
struct SinkTarget<'t> {
    object: &'t Object,
    table: &'t TableDef,
    /// Positions of the sink's columns in the table.
    columns: Vec<usize>,
    /// Values of the others in a new row.
    defaults: Vec<(usize, RowExpr)>,
    rules: Rules,
    /// The sink's columns that are the table's primary key.
    key: Option<Vec<usize>>,
}

impl<'t> SinkTarget<'t> {
    fn bind(
        session: &Session,
        object: &'t Object,
        table: &'t TableDef,
        into: &SinkTable,
    ) -> Result<SinkTarget<'t>> {
        let position = |id: &u16| {
            let is_it = |column: &ColumnDef| column.column.id == *id && !column.is_dropped();
            let found = table.columns.iter().position(is_it);
            let message = || format!("a column that the sink writes is gone from table \"{}\"", object.name);
            found.ok_or_else(|| Error::new(SqlState::UNDEFINED_COLUMN, message()))
        };
        let columns: Vec<usize> = into.columns.iter().map(position).collect::<Result<_>>()?;
        let names = columns.iter().map(|i| quote_identifier(&table.columns[*i].column.name));
        let names: Vec<String> = names.collect();
        let name = session.qualified(object, &object.name);
        // The columns that are not given have the values that COPY gives them.
        let bound = session.bind_text(&format!("COPY {name} ({}) FROM STDIN", names.join(", ")))?;
        let BoundStatement::CopyFrom(copy) = bound else { return Err(Error::internal("COPY is COPY")) };
        let BoundCopyFrom { rules, defaults, .. } = copy;
        let compiled = |(position, expr)| Ok((position, RowExpr::constant(&expr)?));
        let key =
            table.key_positions().iter().map(|i| columns.iter().position(|column| column == i)).collect();
        Ok(SinkTarget {
            defaults: defaults.into_iter().map(compiled).collect::<Result<_>>()?,
            rules: Rules::new(&rules, table)?,
            key: Option::<Vec<usize>>::filter(key, |key| !key.is_empty()),
            object,
            table,
            columns,
        })
    }

    /// The rows of a sink without a key, which are only inserted.
    fn inserts(&self, delivery: &Delivery) -> Result<Vec<ChangeBatch>> {
        let batches = delivery.epochs.iter().flatten();
        let insert = |batch: &ChangeBatch| {
            if batch.ops.is_some() && (0..batch.len()).any(|row| batch.op(row) < 0) {
                return Err(Error::internal("a sink that only inserts takes a row back"));
            }
            self.new_rows(&batch.rows).map(ChangeBatch::inserts)
        };
        batches.map(insert).collect()
    }

    /// What becomes of each key, the last epoch deciding. Of several rows of a key in one epoch the greatest stays,
    /// whatever order they came in.
    fn fates(&self, delivery: &Delivery, rows: &RecordBatch) -> Result<BTreeMap<Vec<u8>, Fate>> {
        let key_columns: Vec<ArrayRef> =
            self.key.iter().flatten().map(|i| Arc::clone(rows.column(*i))).collect();
        let (keys, whole) = (encoded(&key_columns)?, encoded(rows.columns())?);
        let mut fates = BTreeMap::new();
        let mut place = 0;
        for batches in &delivery.epochs {
            let mut written: BTreeMap<&[u8], u32> = BTreeMap::new();
            for batch in batches {
                for row in 0..batch.len() {
                    let at = place as usize;
                    let key = keys.row(at);
                    if batch.op(row) < 0 {
                        fates.insert(key.to_vec(), Fate::Removed);
                    } else if written
                        .get(key)
                        .is_none_or(|before| whole.row(*before as usize) < whole.row(at))
                    {
                        written.insert(key, place);
                    }
                    place += 1;
                }
            }
            fates.extend(written.into_iter().map(|(key, place)| (key.to_vec(), Fate::Written(place))));
        }
        Ok(fates)
    }

    /// The rows that are there go; those that stay come again with the sink's columns changed.
    fn upserts(
        &self,
        fates: BTreeMap<Vec<u8>, Fate>,
        rows: &RecordBatch,
        existing: &Existing,
    ) -> Result<Vec<ChangeBatch>> {
        let (mut replaced, mut replacing, mut removed, mut new) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (key, fate) in fates {
            match (existing.places.get(&key), fate) {
                (Some(there), Fate::Written(place)) => {
                    replaced.push(*there);
                    replacing.push(place);
                }
                (Some(there), Fate::Removed) => removed.push(*there),
                (None, Fate::Written(place)) => new.push(place),
                (None, Fate::Removed) => {}
            }
        }
        let before = take(&existing.rows, replaced)?;
        let after = self.changed(&before, &take(rows, replacing)?)?;
        Ok(vec![
            ChangeBatch::deletes(take(&existing.rows, removed)?),
            ChangeBatch::deletes(before),
            ChangeBatch::inserts(self.rules.complete(self.object, self.table, after)?),
            ChangeBatch::inserts(self.new_rows(&take(rows, new)?)?),
        ])
    }

    /// New rows of the table.
    fn new_rows(&self, given: &RecordBatch) -> Result<RecordBatch> {
        let schema = self.table.relation_schema().arrow();
        let rows = given.num_rows();
        let mut columns: Vec<ArrayRef> =
            schema.fields().iter().map(|field| new_null_array(field.data_type(), rows)).collect();
        for (position, default) in &self.defaults {
            columns[*position] = default.values(rows)?;
        }
        for (position, column) in self.columns.iter().zip(given.columns()) {
            columns[*position] = Arc::clone(column);
        }
        Ok(self.rules.complete(self.object, self.table, record_batch(schema, columns, rows)?)?)
    }

    /// The rows with the sink's columns as given.
    fn changed(&self, rows: &RecordBatch, given: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = rows.columns().to_vec();
        for (position, column) in self.columns.iter().zip(given.columns()) {
            columns[*position] = Arc::clone(column);
        }
        record_batch(rows.schema(), columns, rows.num_rows())
    }
}

/// The rows of all epochs, inserted and deleted ones, as they stand in the delivery.
fn all_rows(delivery: &Delivery) -> Result<RecordBatch> {
    let batches: Vec<&RecordBatch> = delivery.epochs.iter().flatten().map(|batch| &batch.rows).collect();
    let schema = batches.first().map_or_else(|| Arc::new(Schema::empty()), |batch| batch.schema());
    concat_batches(&schema, batches).map_err(Error::internal)
}

fn encoded(columns: &[ArrayRef]) -> Result<EncodedKeys> {
    let types: Vec<_> = columns.iter().map(|column| column.data_type().clone()).collect();
    KeyEncoder::new(&types)?.encode(columns)
}
