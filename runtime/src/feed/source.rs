//! The feed of a source: this worker's share of the ranges of offsets that are bound to epochs.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use weir_common::text::json::write_string;
use weir_common::{ChangeBatch, Epoch, Error, ObjectId, Result};
use weir_connector::{MalformedRecord, SplitRange, SplitReader};
use weir_exec::event_time::{EventTime, greatest};
use weir_exec::rejected::Rejected;

use crate::event_time::{Mark, News};
use crate::job::{Beginning, Job, Origin};
use crate::source::SourceState;
use crate::unread::Unread;

/// A source as one worker reads it.
pub struct SourceFeed {
    source: Arc<SourceState>,
    reader: Box<dyn SplitReader>,
    worker: usize,
    workers: usize,
    /// Ranges still to be read; the reader is in the middle of the first one when `reading`.
    ranges: VecDeque<(Epoch, SplitRange)>,
    reading: bool,
    /// Bindings up to here are in `ranges` or behind us.
    bound: Epoch,
    /// The share of the snapshot, until a resumed job has caught up.
    held_back: Option<Vec<SplitRange>>,
    /// The event time that this feed reports for the job, and where its column is among those that are read.
    time: Option<(EventTime, usize)>,
    /// The greatest time that was reported of each split.
    reported: HashMap<String, i64>,
}

impl SourceFeed {
    /// A feed of one of the job's inputs.
    pub fn open(
        job: &Job,
        input: usize,
        unread: &Unread,
        worker: usize,
        workers: usize,
    ) -> Result<SourceFeed> {
        let Origin::Source { source, project } = &job.inputs[input].origin else {
            return Err(Error::internal("the feed of a source reads something else"));
        };
        let snapshot = match unread {
            Unread::Ranges(ranges) => source.source.divide(ranges, workers).swap_remove(worker),
            Unread::Everything | Unread::After(_) | Unread::Nothing => Vec::new(),
        };
        let mut feed = SourceFeed {
            source: source.clone(),
            reader: source.source.reader(project)?,
            worker,
            workers,
            ranges: VecDeque::new(),
            reading: false,
            bound: job.start.epoch,
            held_back: Some(snapshot),
            time: job.reported_time(input),
            reported: HashMap::new(),
        };
        match job.start.beginning {
            Beginning::Resumed { after } => feed.bound = after,
            Beginning::Fresh | Beginning::Restored => feed.begin_snapshot(job),
        }
        Ok(feed)
    }

    /// The next rows that were bound since the state of a resumed job, up to its start.
    pub fn next_missed(&mut self, job: &Job, batch_rows: usize) -> Result<Option<(Epoch, ChangeBatch)>> {
        let missed = self.next(job, job.start.epoch.next(), batch_rows)?;
        if missed.is_none() {
            self.begin_snapshot(job);
        }
        Ok(missed)
    }

    fn begin_snapshot(&mut self, job: &Job) {
        let start = job.start.epoch;
        self.ranges.extend(self.held_back.take().into_iter().flatten().map(|range| (start, range)));
        self.bound = start;
    }

    /// The next rows of the snapshot, or the next ones bound after it and below `upper`.
    pub fn next(
        &mut self,
        job: &Job,
        upper: Epoch,
        batch_rows: usize,
    ) -> Result<Option<(Epoch, ChangeBatch)>> {
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
            job.metrics.rows_skipped.add(*epoch, progress.skipped);
            if let Some(target) = self.source.source.dead_letters().filter(|_| progress.skipped > 0) {
                let letters = malformed(target, self.source.id, progress.malformed);
                job.letters.write(self.worker, *epoch, &letters)?;
            }
            if *epoch == job.start.epoch && self.held_back.is_none() {
                let rows = batch.as_ref().map_or(0, ChangeBatch::len);
                job.backfill.read_source(self.reader.position() - before, rows);
            }
            match batch {
                Some(batch) if batch.is_empty() => {}
                Some(batch) => {
                    if let Some((time, column)) = self.time {
                        let latest = greatest(&batch.columns()[column], |_| true);
                        let known = self.reported.get(&range.split).copied();
                        if let Some(value) = latest.filter(|latest| known.is_none_or(|known| known < *latest))
                        {
                            self.reported.insert(range.split.clone(), value);
                            self.source.reached(&range.split, value);
                            let mark = Mark { time, split: range.split.clone(), news: News::Upto(value) };
                            job.report_source_mark(self.worker, *epoch, mark);
                        }
                    }
                    return Ok(Some((*epoch, batch)));
                }
                None => {
                    self.ranges.pop_front();
                    self.reading = false;
                }
            }
        }
    }

    /// What is left of the snapshot, while nothing after it has been read.
    pub fn unread(&self) -> Unread {
        let mut left: Vec<SplitRange> = self.ranges.iter().map(|(_, range)| range.clone()).collect();
        if let Some(first) = left.first_mut().filter(|_| self.reading) {
            first.from = self.reader.position();
        }
        left.retain(|range| range.from < range.to);
        if left.is_empty() { Unread::Nothing } else { Unread::Ranges(left) }
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

/// Malformed records as letters.
fn malformed(target: ObjectId, source: ObjectId, records: Vec<MalformedRecord>) -> Vec<Rejected> {
    let letter = |record: MalformedRecord| {
        let mut row = String::new();
        write_string(&record.text, &mut row);
        Rejected { target, relation: Some(source), error: record.error, row }
    };
    records.into_iter().map(letter).collect()
}
