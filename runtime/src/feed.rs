//! `Feed`: what one worker reads for one input of a job: first the snapshot, then the changes, epoch by epoch.
//!
//! A new view is no special case: the rows of its inputs as of the start epoch come first, stamped with that
//! epoch, and the changelog follows. A restored job has the snapshot behind it. Rows come out in order of time. A large
//! snapshot comes in steps ([`StepGate`]): then the changelog follows when every feed of the job is through with its
//! part.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::ipc::reader::StreamReader;
use weir_common::text::json::write_string;
use weir_common::{ChangeBatch, Epoch, Error, ObjectId, Result};
use weir_connector::{MalformedRecord, SplitRange, SplitReader};
use weir_exec::rejected::Rejected;
use weir_storage::relation::RelationScan;

use crate::host::Fresh;
use crate::job::{Job, Origin};
use crate::moment::Moment;
use crate::relation::Relation;
use crate::source::{SourceState, ranges_from_start};
use crate::steps::{Position, StepGate};

/// One input of a job on one worker.
pub struct Feed {
    kind: Kind,
    start: Epoch,
    batch_rows: usize,
    position: Position,
    /// The last look found nothing, since a step or the other feeds' snapshots are waited for.
    rests: bool,
}

enum Kind {
    Relation {
        relation: Arc<Relation>,
        project: Vec<usize>,
        scan: Option<RelationScan>,
        worker: usize,
        position: u64,
    },
    Source(Box<SourceFeed>),
    Values(Option<ChangeBatch>),
}

struct SourceFeed {
    source: Arc<SourceState>,
    reader: Box<dyn SplitReader>,
    worker: usize,
    workers: usize,
    /// Ranges still to be read; the reader is in the middle of the first one when `reading`.
    ranges: VecDeque<(Epoch, SplitRange)>,
    reading: bool,
    /// Bindings up to here are in `ranges` or behind us.
    bound: Epoch,
}

impl Feed {
    /// The feed of the job's input number `input` on `worker`.
    pub fn open(job: &Job, input: usize, worker: usize, workers: usize, batch_rows: usize) -> Result<Feed> {
        let start = job.start.epoch;
        let fresh = job.start.fresh == Fresh::Yes;
        let kind = match &job.inputs[input].origin {
            Origin::Relation { relation, project, snapshot } => {
                let mine = input % workers == worker;
                let snapshot = snapshot.lock().clone();
                let scan = snapshot.filter(|_| fresh && mine).map(|s| s.scan(project, batch_rows));
                let (relation, project) = (relation.clone(), project.clone());
                Kind::Relation { relation, project, scan, worker, position: 0 }
            }
            Origin::Source { source, project, from } => {
                let reader = source.source.reader(project)?;
                let mut ranges = VecDeque::new();
                if fresh {
                    let mut shares = source.source.divide(&ranges_from_start(from), workers);
                    ranges.extend(shares.swap_remove(worker).into_iter().map(|range| (start, range)));
                }
                let source = source.clone();
                Kind::Source(Box::new(SourceFeed {
                    source,
                    reader,
                    worker,
                    workers,
                    ranges,
                    reading: false,
                    bound: start,
                }))
            }
            Origin::Values { ipc } => {
                let mine = fresh && worker == 0;
                Kind::Values(if mine { Some(constant_rows(ipc)?) } else { None })
            }
        };
        Ok(Feed { kind, start, batch_rows, position: Position::default(), rests: false })
    }

    /// The next batch below `upper`, with its moment; `None` when there is none now.
    pub fn next(&mut self, job: &Job, upper: Epoch) -> Result<Option<(Moment, ChangeBatch)>> {
        let gate = job.start.steps.as_ref().filter(|gate| !gate.is_complete());
        self.rests = gate.is_some();
        let next = match gate {
            Some(gate) => self.next_of_snapshot(job, gate)?,
            None => self.next_below(job, upper)?.map(|(epoch, batch)| (Moment::start_of(epoch), batch)),
        };
        if let Some((_, batch)) = &next {
            job.metrics.rows_in.fetch_add(batch.len() as u64, Ordering::Relaxed);
        }
        Ok(next)
    }

    /// Everything before it has come out, after [`Feed::next`] found nothing below `upper`.
    pub fn reached(&self, job: &Job, upper: Epoch) -> Moment {
        match &job.start.steps {
            Some(gate) if self.rests => Moment::new(self.start, self.position.waits_for(gate)),
            _ => Moment::start_of(upper),
        }
    }

    /// The next batch of the snapshot, if its step is open. After the last one the feed rests until the other feeds
    /// are through too.
    fn next_of_snapshot(&mut self, job: &Job, gate: &StepGate) -> Result<Option<(Moment, ChangeBatch)>> {
        if !self.position.may_go_on(gate) {
            return Ok(None);
        }
        let Some((_, batch)) = self.next_below(job, self.start.next())? else {
            self.position.leave(gate);
            return Ok(None);
        };
        let step = self.position.fed(gate, batch.memory_size());
        Ok(Some((Moment::new(self.start, step), batch)))
    }

    fn next_below(&mut self, job: &Job, upper: Epoch) -> Result<Option<(Epoch, ChangeBatch)>> {
        Ok(match &mut self.kind {
            Kind::Values(batch) => batch.take().map(|batch| (self.start, batch)),
            Kind::Source(feed) => feed.next(job, upper, self.batch_rows)?,
            Kind::Relation { relation, project, scan, worker, position } => match next_of_scan(scan)? {
                Some(batch) => {
                    job.backfill.read_relation(batch.len());
                    Some((self.start, batch))
                }
                None => next_change(relation, project, *worker, position, self.start, upper)?,
            },
        })
    }
}

/// Malformed records as letters.
fn malformed(target: ObjectId, source: ObjectId, records: Vec<MalformedRecord>) -> Vec<Rejected> {
    let letter = |record: MalformedRecord| {
        let mut row = String::new();
        write_string(&record.text, &mut row);
        Rejected { target, relation: Some(source), error: record.error, row }
    };
    records.into_iter().map(letter).collect()
}

/// The rows of a Values node: an Arrow IPC stream of one batch.
fn constant_rows(stream: &[u8]) -> Result<ChangeBatch> {
    let mut reader = StreamReader::try_new(stream, None).map_err(Error::internal)?;
    let rows = reader.next().ok_or_else(|| Error::internal("a Values node without a batch"))?;
    Ok(ChangeBatch::inserts(rows.map_err(Error::internal)?))
}

fn next_of_scan(scan: &mut Option<RelationScan>) -> Result<Option<ChangeBatch>> {
    match scan.as_mut().and_then(Iterator::next) {
        Some(rows) => Ok(Some(ChangeBatch::inserts(rows?))),
        None => {
            *scan = None;
            Ok(None)
        }
    }
}

fn next_change(
    relation: &Relation,
    project: &[usize],
    worker: usize,
    position: &mut u64,
    start: Epoch,
    upper: Epoch,
) -> Result<Option<(Epoch, ChangeBatch)>> {
    while let Some((next, epoch, batch)) = relation.entry(worker, *position, upper)? {
        *position = next;
        if epoch > start {
            let rows = batch.rows.project(project).map_err(Error::internal)?;
            return Ok(Some((epoch, ChangeBatch { rows, ops: batch.ops })));
        }
    }
    Ok(None)
}

impl SourceFeed {
    fn next(&mut self, job: &Job, upper: Epoch, batch_rows: usize) -> Result<Option<(Epoch, ChangeBatch)>> {
        loop {
            let Some((epoch, range)) = self.ranges.front() else {
                if !self.fetch_binding(upper) {
                    return Ok(None);
                }
                continue;
            };
            if !self.reading {
                self.reader.start(range)?;
                self.reading = true;
            }
            let before = self.reader.position();
            let batch = self.reader.next(batch_rows)?;
            let progress = self.reader.take_progress();
            job.metrics.rows_skipped.fetch_add(progress.skipped, Ordering::Relaxed);
            if let Some(target) = self.source.source.dead_letters().filter(|_| progress.skipped > 0) {
                let letters = malformed(target, self.source.id, progress.malformed);
                job.letters.write(self.worker, *epoch, &letters)?;
            }
            if *epoch == job.start.epoch {
                let rows = batch.as_ref().map_or(0, ChangeBatch::len);
                job.backfill.read_source(self.reader.position() - before, rows);
            }
            match batch {
                Some(batch) if batch.is_empty() => {}
                Some(batch) => return Ok(Some((*epoch, batch))),
                None => {
                    self.ranges.pop_front();
                    self.reading = false;
                }
            }
        }
    }

    /// Takes this worker's share of the next binding; false when there is none below `upper`.
    fn fetch_binding(&mut self, upper: Epoch) -> bool {
        let Some((epoch, ranges)) = self.source.binding_after(self.bound, upper) else { return false };
        self.bound = epoch;
        let mut shares = self.source.source.divide(&ranges, self.workers);
        self.ranges.extend(shares.swap_remove(self.worker).into_iter().map(|range| (epoch, range)));
        true
    }
}
