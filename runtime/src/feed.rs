//! `Feed`: what one worker reads for one input of a job: first the snapshot, then the changes, epoch by epoch.
//!
//! A new view is no special case: the rows of its inputs as of the start epoch come first, stamped with that
//! epoch, and the changelog follows. A restored job has the snapshot behind it. Rows come out in order of time. A large
//! snapshot comes in steps ([`StepGate`]): then the changelog follows when every feed of the job is through with its
//! part. A job that goes on with such a snapshot ([`crate::resume`]) reads before it, each in its own epoch, the changes
//! of what its state holds.

mod marks;
mod relation;
mod source;

use arrow::ipc::reader::StreamReader;
use weir_common::{ChangeBatch, Epoch, Error, Result};

pub use self::marks::MarkFeed;
use self::relation::{RelationFeed, Scans};
use self::source::SourceFeed;
use crate::job::{Beginning, Job, Origin};
use crate::moment::Moment;
use crate::steps::{Position, StepGate};
use crate::unread::Unread;

/// One input of a job on one worker.
pub struct Feed {
    kind: Kind,
    /// Its number among the job's inputs.
    input: usize,
    worker: usize,
    start: Epoch,
    batch_rows: usize,
    position: Position,
    /// Changes of what the state holds may be left to read; the snapshot comes after.
    catches_up: bool,
    /// The last look found nothing, since a step or the other feeds' snapshots are waited for.
    rests: bool,
}

enum Kind {
    Relation(Box<RelationFeed>),
    Source(Box<SourceFeed>),
    Values(Option<ChangeBatch>),
}

impl Feed {
    /// The feed of the job's input number `input` on `worker`.
    pub fn open(job: &Job, input: usize, worker: usize, workers: usize, batch_rows: usize) -> Result<Feed> {
        let remaining = &job.inputs[input].remaining;
        let unread = remaining.at_start();
        let kind = match &job.inputs[input].origin {
            Origin::Relation { relation, project, snapshot } => {
                let scans = if input % workers == worker { Scans::Yes } else { Scans::No };
                let (relation, snapshot) = ((relation, &project[..]), snapshot.lock().clone());
                let feed = RelationFeed::open(job, relation, snapshot, unread, (worker, scans), batch_rows);
                Kind::Relation(Box::new(feed))
            }
            Origin::Source { .. } => {
                let feed = SourceFeed::open(job, input, unread, worker, workers)?;
                Kind::Source(Box::new(feed))
            }
            Origin::Values { ipc } => {
                let mine = *unread == Unread::Everything && worker == 0;
                Kind::Values(if mine { Some(constant_rows(ipc)?) } else { None })
            }
        };
        let (start, catches_up) = (job.start.epoch, matches!(job.start.beginning, Beginning::Resumed { .. }));
        let position = Position::default();
        Ok(Feed { kind, input, worker, start, batch_rows, position, catches_up, rests: false })
    }

    /// The next batch below `upper`, with its moment; `None` when there is none now.
    pub fn next(&mut self, job: &Job, upper: Epoch) -> Result<Option<(Moment, ChangeBatch)>> {
        let gate = job.start.steps.as_ref().filter(|gate| !gate.is_complete());
        self.rests = gate.is_some();
        let next = match gate {
            Some(gate) => self.next_of_snapshot(job, gate)?,
            None => self.next_below(job, upper)?.map(|(epoch, batch)| (Moment::start_of(epoch), batch)),
        };
        if let Some((moment, batch)) = &next {
            job.metrics.rows_in.add(moment.epoch(), batch.len() as u64);
        }
        Ok(next)
    }

    /// Everything before it has come out, after [`Feed::next`] found nothing below `upper`.
    pub fn reached(&self, job: &Job, upper: Epoch) -> Moment {
        match &job.start.steps {
            Some(_) if self.rests && self.catches_up => Moment::start_of(job.start.first_epoch()),
            Some(gate) if self.rests => Moment::new(self.start, self.position.waits_for(gate)),
            _ => Moment::start_of(upper),
        }
    }

    /// The next batch of what a resumed job has missed, and then of the snapshot, if its step is open. After the last one
    /// the feed rests until the other feeds are through too.
    fn next_of_snapshot(&mut self, job: &Job, gate: &StepGate) -> Result<Option<(Moment, ChangeBatch)>> {
        if !self.position.may_go_on(gate) {
            return Ok(None);
        }
        if self.catches_up {
            // Of no step's size: an epoch's changes stay together.
            if let Some((epoch, batch)) = self.next_missed(job)? {
                return Ok(Some((Moment::start_of(epoch), batch)));
            }
            self.catches_up = false;
        }
        let remaining = &job.inputs[self.input].remaining;
        let Some((_, batch)) = self.next_below(job, self.start.next())? else {
            remaining.set(self.worker, Unread::Nothing);
            self.position.leave(gate);
            return Ok(None);
        };
        let step = self.position.fed(batch.memory_size());
        if self.position.is_full(gate)
            && let Some(unread) = self.unread()
        {
            remaining.set(self.worker, unread);
            self.position.end_step(gate);
        }
        Ok(Some((Moment::new(self.start, step), batch)))
    }

    fn next_missed(&mut self, job: &Job) -> Result<Option<(Epoch, ChangeBatch)>> {
        match &mut self.kind {
            Kind::Relation(feed) => feed.next_missed(job),
            Kind::Source(feed) => feed.next_missed(job, self.batch_rows),
            Kind::Values(_) => Ok(None),
        }
    }

    fn next_below(&mut self, job: &Job, upper: Epoch) -> Result<Option<(Epoch, ChangeBatch)>> {
        match &mut self.kind {
            Kind::Relation(feed) => feed.next(job, upper),
            Kind::Source(feed) => feed.next(job, upper, self.batch_rows),
            Kind::Values(batch) => Ok(batch.take().map(|batch| (self.start, batch))),
        }
    }

    /// What is left of the snapshot; `None` where a step can't end.
    fn unread(&self) -> Option<Unread> {
        match &self.kind {
            Kind::Relation(feed) => feed.unread(),
            Kind::Source(feed) => Some(feed.unread()),
            Kind::Values(_) => Some(Unread::Nothing),
        }
    }
}

/// The rows of a Values node: an Arrow IPC stream of one batch.
fn constant_rows(stream: &[u8]) -> Result<ChangeBatch> {
    let mut reader = StreamReader::try_new(stream, None).map_err(Error::internal)?;
    let rows = reader.next().ok_or_else(|| Error::internal("a Values node without a batch"))?;
    Ok(ChangeBatch::inserts(rows.map_err(Error::internal)?))
}
