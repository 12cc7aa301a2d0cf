//! What operator tests are written with: change batches as text, net results, and a harness that runs an
//! operator on several workers, with checkpoints, and compares it with a naive model after every epoch.
//!
//! ```text
//!   + 1 4      insert (1, 4)
//!   - 7 .      delete (7, NULL)
//! ```
//! One row a line, values by blanks; `.` is NULL and `''` the empty string. Dates and timestamps are written
//! as the number that stores them. Nothing here runs in a server.

mod looked_up;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use arrow::array::{ArrayRef, StringArray, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use weir_common::change::record_batch;
use weir_common::key::KeyEncoder;
use weir_common::{ChangeBatch, Epoch, Error, KeyGroup, Result, WorkerId};

use self::looked_up::SharedChanges;
use crate::build::build;
use crate::operator::{
    Flow, OpenContext, Operator, Output, Port, StateLookup, StateReader, StateTable, StateWriter,
};
use crate::operators::positional_schema;
use crate::spec::NodeSpec;

/// How often each row is there, rows as text; rows that are not there are absent.
pub type Net = BTreeMap<Vec<String>, i64>;

/// A row of small integers, which [`line`] writes as values of any type.
pub type Row = Vec<Option<i64>>;

/// The batch that lines of text describe.
pub fn changes(text: &str, types: &[DataType]) -> Result<ChangeBatch> {
    let mut ops = Vec::new();
    let mut cells: Vec<Vec<Option<&str>>> = vec![Vec::new(); types.len()];
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        ops.push(match words.next() {
            Some("+") => 1i8,
            Some("-") => -1,
            other => return Err(Error::internal(format!("a line starts with + or -, not {other:?}"))),
        });
        for column in &mut cells {
            let word = words.next().ok_or_else(|| Error::internal(format!("too few values: {line}")))?;
            column.push((word != ".").then(|| word.trim_matches('\'')));
        }
    }
    let columns =
        cells.into_iter().zip(types).map(|(cells, ty)| column(cells, ty)).collect::<Result<Vec<_>>>()?;
    let rows = record_batch(positional_schema(types), columns, ops.len())?;
    Ok(ChangeBatch::new(rows, ScalarBuffer::from(ops)))
}

fn column(cells: Vec<Option<&str>>, ty: &DataType) -> Result<ArrayRef> {
    if let DataType::Interval(_) = ty {
        let cells: StringArray = cells.into_iter().map(|cell| cell.map(interval)).collect();
        return cast(&cells, ty).map_err(Error::internal);
    }
    let text: ArrayRef = Arc::new(StringArray::from(cells));
    let integers = match ty {
        DataType::Date32 => Some(DataType::Int32),
        DataType::Timestamp(..) | DataType::Time64(_) => Some(DataType::Int64),
        _ => None,
    };
    let text = integers.map_or(Ok(text.clone()), |integer| cast(&text, &integer)).map_err(Error::internal)?;
    cast(&text, ty).map_err(Error::internal)
}

/// Two numbers are equal intervals that differ: 2 is a month, 3 is 30 days. What is no number is an interval already.
fn interval(cell: &str) -> String {
    match cell.parse::<i64>() {
        Ok(number) if number % 2 == 0 => format!("{}mon", number / 2),
        Ok(number) => format!("{}days", number.div_euclid(2) * 30),
        Err(_) => cell.to_string(),
    }
}

/// The line of a row.
pub fn line(op: i8, row: &Row) -> String {
    let cells = row.iter().map(|cell| cell.map_or(".".to_string(), |value| value.to_string()));
    let cells: Vec<String> = cells.collect();
    format!("{} {}\n", if op > 0 { '+' } else { '-' }, cells.join(" "))
}

/// What all these changes together amount to.
pub fn net(batches: &[ChangeBatch]) -> Result<Net> {
    let mut net = Net::new();
    let options = FormatOptions::new().with_null(".");
    for batch in batches {
        let formatters = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let formatters = formatters.collect::<Result<Vec<_>, _>>().map_err(Error::internal)?;
        for row in 0..batch.len() {
            let cells = formatters.iter().map(|formatter| formatter.value(row).to_string()).collect();
            *net.entry(cells).or_default() += i64::from(batch.op(row));
        }
    }
    net.retain(|_, count| *count != 0);
    Ok(net)
}

/// State of an operator, kept from one start to the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryState {
    /// (table, key group, key) → value.
    pub entries: BTreeMap<(StateTable, KeyGroup, Vec<u8>), Vec<u8>>,
    /// Calls of `put` and `delete` so far.
    pub writes: usize,
    /// The epoch of the checkpoint that is written.
    epoch: Epoch,
    /// Whether the checkpoint before it becomes durable with it alone.
    is_last_held: bool,
}

impl StateWriter for MemoryState {
    fn put(&mut self, table: StateTable, group: KeyGroup, key: &[u8], value: &[u8]) {
        self.writes += 1;
        self.entries.insert((table, group, key.to_vec()), value.to_vec());
    }

    fn delete(&mut self, table: StateTable, group: KeyGroup, key: &[u8]) {
        self.writes += 1;
        let removed = self.entries.remove(&(table, group, key.to_vec()));
        assert!(removed.is_some(), "an operator deletes only entries it wrote");
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn is_last_durable(&self) -> bool {
        !self.is_last_held
    }
}

/// The entries of one worker's key groups.
struct OwnedState<'a> {
    state: &'a MemoryState,
    worker: WorkerId,
    workers: usize,
}

impl StateReader for OwnedState<'_> {
    fn scan(
        &self,
        table: StateTable,
        visit: &mut dyn FnMut(KeyGroup, &[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        for ((at, group, key), value) in &self.state.entries {
            if *at == table && group.owner(self.workers) == self.worker {
                visit(*group, key, value)?;
            }
        }
        Ok(())
    }
}

/// What operators read again of their durable state.
#[derive(Default)]
struct DurableState(Mutex<MemoryState>);

impl StateLookup for DurableState {
    fn points(
        &self,
        table: StateTable,
        keys: &[(KeyGroup, &[u8])],
        visit: &mut dyn FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let state = self.0.lock();
        for (at, (group, key)) in keys.iter().enumerate() {
            if let Some(value) = state.entries.get(&(table, *group, key.to_vec())) {
                visit(at, value)?;
            }
        }
        Ok(())
    }

    fn prefixed(
        &self,
        table: StateTable,
        prefixes: &[(KeyGroup, &[u8])],
        visit: &mut dyn FnMut(usize, &[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        let state = self.0.lock();
        for (at, (group, prefix)) in prefixes.iter().enumerate() {
            let from = state.entries.range((table, *group, prefix.to_vec())..);
            for ((t, g, key), value) in from {
                match key.strip_prefix(*prefix) {
                    Some(rest) if (t, g) == (&table, group) => visit(at, rest, value)?,
                    _ => break,
                }
            }
        }
        Ok(())
    }
}

/// An operator on several workers, with the exchange in front of it.
pub struct Harness {
    spec: NodeSpec,
    /// Of each port: the columns whose key group decides the worker.
    exchange: Vec<Vec<usize>>,
    operators: Vec<Box<dyn Operator>>,
    /// The last checkpoint.
    pub state: MemoryState,
    durable: Arc<DurableState>,
    restored: bool,
    epoch: Epoch,
    /// Output rows that an operator may make before it must yield.
    pub fuel: i64,
    /// Everything emitted so far.
    pub output: Vec<ChangeBatch>,
    /// What came at the port of a shared side.
    shared: SharedChanges,
    /// Whether the last checkpoint becomes durable with the next one.
    is_held: bool,
    watermark: Option<i64>,
}

impl Harness {
    /// A fresh job of this operator.
    pub fn new(spec: NodeSpec, exchange: Vec<Vec<usize>>, workers: usize) -> Result<Harness> {
        let mut harness = Harness {
            spec,
            exchange,
            operators: Vec::new(),
            state: MemoryState::default(),
            durable: Arc::default(),
            restored: false,
            epoch: Epoch(1),
            fuel: Output::FUEL,
            output: Vec::new(),
            shared: SharedChanges::default(),
            is_held: false,
            watermark: None,
        };
        harness.open(workers)?;
        Ok(harness)
    }

    /// Routes a batch and drives the operators until they are done with it.
    pub fn push(&mut self, port: usize, batch: &ChangeBatch) -> Result<()> {
        self.shared.take(&self.spec, port, self.epoch, batch);
        let columns: Vec<usize> = self.exchange[port].clone();
        let types: Vec<DataType> = columns.iter().map(|c| self.spec.inputs[port][*c].clone()).collect();
        let keys: Vec<ArrayRef> = columns.iter().map(|c| batch.columns()[*c].clone()).collect();
        let keys = KeyEncoder::new(&types)?.encode_rows(&keys, batch.len())?;
        for worker in 0..self.operators.len() {
            let owner = |row: &u32| KeyGroup::of(keys.row(*row as usize)).owner(self.operators.len());
            let rows: UInt32Array =
                (0..batch.len() as u32).filter(|row| owner(row) == WorkerId(worker)).collect();
            let part = batch.take(&rows)?;
            if !part.is_empty() {
                self.drive(worker, |operator, out| operator.on_batch(Port(port), part, out))?;
            }
        }
        Ok(())
    }

    /// Event time has come this far with the current epoch.
    pub fn advance(&mut self, watermark: i64) {
        self.watermark = Some(watermark);
        self.operators.iter_mut().for_each(|operator| operator.on_watermark(watermark));
    }

    /// Ends the epoch on every worker.
    pub fn end_epoch(&mut self) -> Result<()> {
        let epoch = self.epoch;
        for worker in 0..self.operators.len() {
            self.drive(worker, |operator, out| operator.on_epoch_end(epoch, out))?;
        }
        self.epoch = epoch.next();
        Ok(())
    }

    /// Writes a checkpoint.
    pub fn checkpoint(&mut self) -> Result<()> {
        self.state.is_last_held = std::mem::take(&mut self.is_held);
        if !self.state.is_last_held {
            self.durable.0.lock().clone_from(&self.state);
        }
        self.state.epoch = self.epoch.previous();
        self.operators.iter_mut().try_for_each(|operator| operator.checkpoint(&mut self.state))
    }

    /// Writes a checkpoint, after which operators shed state. What they read again is as of this checkpoint if it
    /// is durable already, else as of an earlier one; so are the rows of a shared side.
    pub fn shed(&mut self, durable: Durable) -> Result<()> {
        self.shared.stay(durable != Durable::AtOnce);
        self.checkpoint()?;
        self.shared.stay(false);
        self.is_held = durable == Durable::WithNext;
        if durable == Durable::AtOnce {
            self.durable.0.lock().clone_from(&self.state);
        }
        self.operators.iter_mut().try_for_each(|operator| operator.shed())
    }

    /// Writes a checkpoint and starts anew from it with this many workers.
    pub fn restart(&mut self, workers: usize) -> Result<()> {
        self.checkpoint()?;
        self.restored = true;
        self.open(workers)
    }

    /// Bytes of memory that the operators report.
    pub fn memory_bytes(&self) -> usize {
        self.operators.iter().map(|operator| operator.memory_bytes()).sum()
    }

    fn open(&mut self, workers: usize) -> Result<()> {
        self.operators.clear();
        for worker in (0..workers).map(WorkerId) {
            let mut operator = build(&self.spec)?;
            let state = OwnedState { state: &self.state, worker, workers };
            let durable: Arc<dyn StateLookup> = self.durable.clone();
            let restored = self.restored;
            let shared = self.shared.looked_up(&self.spec, self.epoch.previous());
            let watermark = self.watermark.filter(|_| restored);
            let state: &dyn StateReader = &state;
            operator.open(&OpenContext { worker, workers, state, restored, durable, watermark, shared })?;
            self.operators.push(operator);
        }
        Ok(())
    }

    fn drive(
        &mut self,
        worker: usize,
        call: impl FnOnce(&mut dyn Operator, &mut Output) -> Result<Flow>,
    ) -> Result<()> {
        let operator = self.operators[worker].as_mut();
        let mut out = Output { fuel: self.fuel, ..Output::new() };
        let mut flow = call(operator, &mut out)?;
        while flow == Flow::Yield {
            self.output.append(&mut out.batches);
            out.fuel = self.fuel;
            flow = operator.resume(&mut out)?;
        }
        self.output.append(&mut out.batches);
        Ok(())
    }
}

/// One step of a random run.
#[derive(Clone, Debug)]
pub enum Step {
    /// Inserts a row at a port.
    Insert(usize, Row),
    /// Deletes one of the rows present at a port: the one at this position, modulo how many there are.
    Delete(usize, usize),
    /// Ends the epoch.
    Epoch,
    /// Ends the epoch, writes a checkpoint and starts anew with this many workers.
    Restart(usize),
    /// Ends the epoch, writes a checkpoint and sheds state.
    Shed(Durable),
}

/// From when on a checkpoint can be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    AtOnce,
    /// From the next one on.
    BeforeNext,
    /// With the next one: a step of a backfill that not everybody has taken.
    WithNext,
}

impl Durable {
    /// All of them, to choose from.
    pub const ALL: [Durable; 3] = [Durable::AtOnce, Durable::BeforeNext, Durable::WithNext];
}

/// A run of an operator beside a naive model of it.
pub struct DeltaCheck<'a> {
    /// The operator.
    pub harness: Harness,
    /// The output that an operator owes for these input rows, by port.
    pub model: &'a dyn Fn(&[Vec<Row>]) -> Result<Net>,
    /// Rows of a batch.
    pub batch_rows: usize,
    /// Rearranges the changes within an epoch, so that deletes come before their inserts too.
    pub shuffle: u64,
}

impl DeltaCheck<'_> {
    /// Takes the steps; after every epoch Σ output deltas must be what the model says of all input rows.
    pub fn run(&mut self, steps: &[Step]) -> Result<()> {
        let mut present: Vec<Vec<Row>> = vec![Vec::new(); self.harness.exchange.len()];
        let mut pending: Vec<(usize, i8, Row)> = Vec::new();
        for step in steps.iter().chain([&Step::Epoch]) {
            match step {
                Step::Insert(port, row) => {
                    present[*port].push(row.clone());
                    pending.push((*port, 1, row.clone()));
                }
                Step::Delete(port, at) if !present[*port].is_empty() => {
                    let at = at % present[*port].len();
                    pending.push((*port, -1, present[*port].swap_remove(at)));
                }
                Step::Delete(..) => {}
                Step::Epoch | Step::Restart(_) | Step::Shed(_) => self.end_epoch(&mut pending, &present)?,
            }
            if let Step::Shed(durable) = step {
                self.harness.shed(*durable)?;
            }
            if let Step::Restart(workers) = step {
                self.harness.restart(*workers)?;
                let writes = self.harness.state.writes;
                self.harness.checkpoint()?;
                assert_eq!(writes, self.harness.state.writes, "nothing is dirty after a restore");
            }
        }
        Ok(())
    }

    fn end_epoch(&mut self, pending: &mut Vec<(usize, i8, Row)>, present: &[Vec<Row>]) -> Result<()> {
        self.rearrange(pending);
        let mut rest = pending.as_slice();
        while let Some((port, ..)) = rest.first() {
            let len = rest.iter().take_while(|change| change.0 == *port).count().min(self.batch_rows.max(1));
            let text: String = rest[..len].iter().map(|(_, op, row)| line(*op, row)).collect();
            let batch = changes(&text, &self.harness.spec.inputs[*port])?;
            self.harness.push(*port, &batch)?;
            rest = &rest[len..];
        }
        pending.clear();
        self.harness.end_epoch()?;
        let (actual, expected) = (net(&self.harness.output)?, (self.model)(present)?);
        if actual != expected {
            return Err(Error::internal(format!("the operator made {actual:#?}, its model {expected:#?}")));
        }
        Ok(())
    }

    fn rearrange(&mut self, pending: &mut [(usize, i8, Row)]) {
        for i in (1..pending.len()).rev() {
            self.shuffle =
                self.shuffle.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            if self.shuffle >> 62 != 0 {
                pending.swap(i, (self.shuffle >> 33) as usize % (i + 1));
            }
        }
    }
}
