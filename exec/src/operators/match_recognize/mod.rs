//! `MatchRecognize`: MATCH_RECOGNIZE over the ordered rows of each partition, over changing input.
//!
//! Rows lie in [`OrderedRows`]. At the end of an epoch the matches of each touched partition are found twice: in its rows as
//! they were before the epoch and as they are now ([`Matches`](matches::Matches)). What comes out of both is compared, and
//! the difference emitted. So nothing that was emitted is kept, a row that comes late or goes changes just those matches
//! that it should, and a query and a view over the same rows agree.
//!
//! ```text
//!   pattern ─► Program ─► Matcher, which asks Conditions (DEFINE) ─► Matches, one after the other (AFTER MATCH)
//!                                                                 ─► Measures: the output
//! ```
//! Matches are found from the front to the back, and each depends on those before it, so what comes before a change stays.
//! As matching goes, it leaves a *restart* every 64 rows or so: a row where an attempt began, how many matches came before
//! it, and the last row that had been looked at by then. If all changes of an epoch are behind that row, both runs begin
//! there. A partition that grows at its end costs an epoch the rows since the oldest attempt that is not decided yet, and
//! at most 64 more. After a restart of the job a partition's first change costs all its rows. If rows are ordered by a time
//! with a watermark, those go that nothing will change before the oldest attempt that is not final (`closing.rs`).

mod aggregate;
mod closing;
mod conditions;
mod difference;
mod matcher;
mod matches;
mod measures;
mod program;
mod rows;
#[cfg(test)]
mod tests;
mod tracks;

pub use self::program::check_pattern;

use arrow::array::Array;
use arrow::datatypes::{DataType, SchemaRef};
use weir_common::{ChangeBatch, Epoch, Error, Result};

use self::closing::Closing;
use self::conditions::Conditions;
use self::difference::{Outcome, emit_difference};
use self::matcher::{Matcher, Within};
use self::matches::{Begin, Finality, Restart, Search};
use self::measures::Measures;
use self::program::Program;
use self::rows::Rows;
use super::ordered_rows::OrderedRows;
use super::positional_schema;
use crate::operator::{Flow, OpenContext, Operator, Output, Port, StateWriter};
use crate::spec::{NodeSpec, OperatorSpec, RowPattern, RowsPerMatch};
use crate::state::native::int_values;

/// The streaming operator of MATCH_RECOGNIZE.
pub struct MatchRecognize {
    schema: SchemaRef,
    matcher: Matcher,
    search: Search,
    measures: Measures,
    /// Rows before a match that are read.
    margin: usize,
    /// The column of times, and how far apart the first and last row of a match may not be.
    within: Option<(usize, i64)>,
    /// The time that may have a watermark, and how long after its first row an attempt is over.
    time: Option<(usize, Option<i64>)>,
    rows: OrderedRows,
    /// Of each partition, in order; rows as slots.
    restarts: Vec<Vec<Restart<u32>>>,
    /// Rows that this epoch changed, by partition and in order; those before `done` have their partition emitted.
    changed: Option<Vec<u32>>,
    done: usize,
    closing: Closing,
}

/// Which rows of a partition are meant: of before the epoch, or of now.
#[derive(Clone, Copy)]
enum Moment {
    Before = 0,
    Now = 1,
}

impl MatchRecognize {
    /// The operator that a `MatchRecognize` specification describes.
    pub fn new(spec: &NodeSpec) -> Result<MatchRecognize> {
        let OperatorSpec::MatchRecognize(pattern) = &spec.operator else {
            return Err(Error::internal("a row pattern is built from its specification"));
        };
        let input = &spec.inputs[0];
        let (margin, margin_after) = pattern.margins();
        let search = Search {
            after_match: pattern.after_match,
            unmatched: matches!(pattern.rows, RowsPerMatch::All { unmatched: true, .. }),
            margin: margin_after,
        };
        let conditions = Conditions::new(&pattern.variables, input)?;
        Ok(MatchRecognize {
            schema: positional_schema(&spec.output),
            matcher: Matcher::new(Program::new(&pattern.pattern)?, conditions),
            search,
            measures: Measures::new(pattern, input)?,
            margin,
            within: within(pattern, input)?,
            time: pattern.time(input).map(|time| (time, pattern.over_after_micros())),
            rows: OrderedRows::new(&pattern.partition, &pattern.order, input)?,
            restarts: Vec::new(),
            changed: None,
            done: 0,
            closing: Closing::of(pattern),
        })
    }

    /// Emits what an epoch changes of a partition, of whose changed rows this is the first.
    fn emit(&mut self, first: u32, out: &mut Output) -> Result<()> {
        let partition = self.rows.partition(first);
        let mut restarts = self.keep_restarts(partition, Vec::new());
        let holds =
            |restart: &Restart<u32>| restart.reach.is_some_and(|reach| self.rows.order(reach, first).is_lt());
        restarts.truncate(restarts.partition_point(holds));
        let from = restarts.last().copied();
        let (before, _) = self.outcome(partition, from, Moment::Before)?;
        let (now, left) = self.outcome(partition, from, Moment::Now)?;
        restarts.extend(left);
        self.keep_restarts(partition, restarts);
        emit_difference(&self.schema, &before, &now, out)
    }

    /// What comes out of the matches of a partition from a restart on, or from its base, and the restarts that are left.
    fn outcome(
        &mut self,
        partition: u32,
        from: Option<Restart<u32>>,
        moment: Moment,
    ) -> Result<(Outcome, Vec<Restart<u32>>)> {
        let (slots, start) = self.slots(partition, from, moment)?;
        let columns = self.rows.rows.gather_all(&slots)?;
        let rows = Rows { columns, len: slots.len(), is_from_start: from.is_none() && start == 0 };
        let within = self.within.map(|(column, length)| Ok(Within { times: times(&rows, column)?, length }));
        let within = within.transpose()?;
        let finality =
            self.time.map(|(column, over_after)| Ok(Finality { times: times(&rows, column)?, over_after }));
        let number = from.map_or(self.closing.base(partition).number, |from| from.number);
        let begin = Begin { start, number };
        let finality: Option<Finality> = finality.transpose()?;
        let matches = self.search.run(&mut self.matcher, &rows, within.as_ref(), finality.as_ref(), begin)?;
        // What comes later is not final earlier.
        let least = from.map_or(i64::MIN, |from| from.final_at);
        if let Moment::Now = moment {
            let (number, final_at) = matches.end;
            self.closing.set_end(partition, number, final_at.max(least));
        }
        let (columns, len) = self.measures.output(&rows, &matches.found)?;
        // A restart is at the first of equal rows, since a slot stands for all of them.
        let is_first = |restart: &&Restart<usize>| slots[restart.start - 1] != slots[restart.start];
        let left = matches.restarts.iter().filter(is_first).map(|restart| Restart {
            start: slots[restart.start],
            number: restart.number,
            reach: restart.reach.map(|reach| slots[reach]),
            final_at: restart.final_at.max(least),
        });
        Ok((Outcome { columns, rows: len }, left.collect()))
    }

    /// The rows of a partition from a restart on, repeated ones repeatedly, with those before it that are read, and where
    /// the restart is among them.
    fn slots(&self, partition: u32, from: Option<Restart<u32>>, moment: Moment) -> Result<(Vec<u32>, usize)> {
        let copies = |slot: u32| std::iter::repeat_n(slot, self.rows.copies(slot)[moment as usize] as usize);
        let Some(from) = from else {
            let slots = self.rows.list(partition).iter().flat_map(copies).collect();
            return Ok((slots, self.closing.base(partition).before));
        };
        let (list, place) = self.rows.place(from.start)?;
        let mut slots: Vec<u32> = list.before(place).flat_map(copies).take(self.margin).collect();
        slots.reverse();
        let start = slots.len();
        slots.extend(copies(from.start));
        slots.extend(list.after(place).flat_map(copies));
        Ok((slots, start))
    }
}

fn within(pattern: &RowPattern, input: &[DataType]) -> Result<Option<(usize, i64)>> {
    let Some(length) = pattern.within_micros else { return Ok(None) };
    let time = pattern.order.first().map(|key| key.column);
    let is_time = |time: &usize| matches!(input.get(*time), Some(DataType::Timestamp(..) | DataType::Date32));
    match time.filter(is_time) {
        Some(time) => Ok(Some((time, length))),
        None => Err(Error::internal("WITHIN needs an order by time")),
    }
}

/// The times of rows in microseconds.
fn times(rows: &Rows, column: usize) -> Result<Vec<Option<i64>>> {
    const DAY_MICROS: i64 = 24 * 60 * 60 * 1_000_000;
    let column = &rows.columns[column];
    let unit = if *column.data_type() == DataType::Date32 { DAY_MICROS } else { 1 };
    let values = int_values(column)?;
    let times = values.iter().enumerate();
    Ok(times.map(|(row, time)| (!column.is_null(row)).then(|| time.saturating_mul(unit))).collect())
}

impl Operator for MatchRecognize {
    fn open(&mut self, cx: &OpenContext<'_>) -> Result<()> {
        self.rows.restore(cx)?;
        self.restore_bases(cx)
    }

    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, _out: &mut Output) -> Result<Flow> {
        self.rows.apply(&batch)?;
        Ok(Flow::Done)
    }

    fn on_watermark(&mut self, watermark: i64) {
        self.closing.advance(watermark);
    }

    fn on_epoch_end(&mut self, _epoch: Epoch, out: &mut Output) -> Result<Flow> {
        self.resume(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Flow> {
        let changed = self.changed.take().unwrap_or_else(|| self.rows.changed_in_order());
        while let Some(first) = changed.get(self.done).copied() {
            if out.fuel <= 0 {
                self.changed = Some(changed);
                return Ok(Flow::Yield);
            }
            self.emit(first, out)?;
            let partition = self.rows.partition(first);
            let others =
                changed[self.done..].iter().take_while(|slot| self.rows.partition(**slot) == partition);
            self.done += others.count();
        }
        self.done = 0;
        self.settle()?;
        Ok(Flow::Done)
    }

    fn checkpoint(&mut self, state: &mut dyn StateWriter) -> Result<()> {
        self.rows.persist(state)?;
        self.persist_bases(state)
    }

    fn memory_bytes(&self) -> usize {
        let restarts: usize = self.restarts.iter().map(Vec::capacity).sum();
        self.rows.memory_bytes()
            + restarts * size_of::<Restart<u32>>()
            + self.restarts.capacity() * size_of::<Vec<Restart<u32>>>()
            + self.closing.memory_bytes()
            + self.changed.as_ref().map_or(0, |changed| changed.capacity() * size_of::<u32>())
    }
}
