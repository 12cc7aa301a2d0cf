//! `DeadLetters`: the rows that a job left out under an ON ERROR policy, on their way into tables.
//!
//! They take the way of a sink's rows, see [`crate::outbox`]: delivered whole epochs at a time with a record of how far
//! they have come, so each is in its table exactly once. All are counted; of one epoch a worker keeps only the first
//! [`KEPT_AN_EPOCH`], so that a stream of nothing but errors cannot fill the disk.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use parking_lot::Mutex;
use weir_common::{ChangeBatch, Epoch, Error, JobId, KeyGroup, ObjectId, Result};
use weir_exec::operator::{NoState, StateReader, StateWriter};
use weir_exec::rejected::Rejected;

use crate::engine::State;
use crate::job::JobState;
use crate::outbox::{Channel, Delivered, Outbox, OutboxWriter};
use crate::runtime::Runtime;

/// Letters of one epoch that a worker keeps.
const KEPT_AN_EPOCH: usize = 1_000;

/// The letters of one job.
pub struct DeadLetters {
    pub outbox: Arc<Outbox>,
    workers: Vec<Mutex<Writer>>,
}

struct Writer {
    writer: OutboxWriter,
    epoch: Epoch,
    kept: usize,
}

/// A letter to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The table that gets it.
    pub target: ObjectId,
    pub relation: Option<ObjectId>,
    pub sqlstate: String,
    pub message: String,
    /// A JSON object, or the text of a malformed record as a JSON string.
    pub row: String,
}

/// Letters of one job.
pub struct LetterDelivery {
    pub delivered: Delivered,
    /// The job's name.
    pub name: String,
    pub letters: Vec<Letter>,
}

impl DeadLetters {
    /// Of a job whose letters up to `delivered` are in their tables.
    pub fn new(delivered: Epoch, workers: usize) -> Result<DeadLetters> {
        let outbox = Outbox::new(delivered, workers);
        let writer = |_| {
            let writer = OutboxWriter::open(outbox.clone(), KeyGroup(0), &NoState)?;
            Ok(Mutex::new(Writer { writer, epoch: Epoch::ZERO, kept: 0 }))
        };
        let workers = (0..workers).map(writer).collect::<Result<_>>()?;
        Ok(DeadLetters { outbox, workers })
    }

    /// How many workers write.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// A worker, which owns `group`, finds what the last checkpoint holds.
    pub fn open(&self, worker: usize, group: KeyGroup, state: &dyn StateReader) -> Result<()> {
        self.workers[worker].lock().writer = OutboxWriter::open(self.outbox.clone(), group, state)?;
        Ok(())
    }

    /// Takes rows that a worker left out in an epoch.
    pub fn write(&self, worker: usize, epoch: Epoch, rejected: &[Rejected]) -> Result<()> {
        let mut writer = self.workers[worker].lock();
        if writer.epoch != epoch {
            (writer.epoch, writer.kept) = (epoch, 0);
        }
        let kept = &rejected[..rejected.len().min(KEPT_AN_EPOCH - writer.kept)];
        writer.kept += kept.len();
        if !kept.is_empty() {
            writer.writer.write(epoch, &[encode(kept)?]);
        }
        Ok(())
    }

    /// Writes the letters of a worker that are not delivered yet.
    pub fn checkpoint(&self, worker: usize, state: &mut dyn StateWriter) -> Result<()> {
        self.workers[worker].lock().writer.checkpoint(state)
    }
}

fn encode(rejected: &[Rejected]) -> Result<ChangeBatch> {
    let text = |of: &dyn Fn(&Rejected) -> Option<String>| {
        Arc::new(rejected.iter().map(of).collect::<StringArray>()) as ArrayRef
    };
    let targets = rejected.iter().map(|letter| i64::from(letter.target.0));
    let relations = rejected.iter().map(|letter| letter.relation.map(|id| i64::from(id.0)));
    let columns = vec![
        Arc::new(Int64Array::from_iter_values(targets)) as ArrayRef,
        Arc::new(relations.collect::<Int64Array>()) as ArrayRef,
        text(&|letter| Some(letter.error.state().0.to_owned())),
        text(&|letter| Some(letter.error.message().to_owned())),
        text(&|letter| Some(letter.row.clone())),
    ];
    let field =
        |(i, column): (usize, &ArrayRef)| Field::new(format!("c{i}"), column.data_type().clone(), true);
    let schema = Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>());
    Ok(ChangeBatch::inserts(RecordBatch::try_new(Arc::new(schema), columns).map_err(Error::internal)?))
}

fn decode(batch: &ChangeBatch) -> Result<Vec<Letter>> {
    use arrow::array::{Array, AsArray};
    let damaged = || Error::corrupted("a batch of dead letters");
    let ids = |column: usize| {
        batch.rows.column(column).as_primitive_opt::<arrow::datatypes::Int64Type>().ok_or_else(damaged)
    };
    let (targets, relations) = (ids(0)?, ids(1)?);
    let texts = |column: usize| {
        let column = batch.rows.columns().get(column).filter(|c| *c.data_type() == DataType::Utf8);
        Ok::<_, Error>(column.ok_or_else(damaged)?.as_string::<i32>())
    };
    let (states, messages, rows) = (texts(2)?, texts(3)?, texts(4)?);
    let letter = |row: usize| Letter {
        target: ObjectId(targets.value(row) as u32),
        relation: relations.is_valid(row).then(|| ObjectId(relations.value(row) as u32)),
        sqlstate: states.value(row).to_owned(),
        message: messages.value(row).to_owned(),
        row: rows.value(row).to_owned(),
    };
    Ok((0..batch.len()).map(letter).collect())
}

impl Runtime {
    /// Waits for letters of any job that are to be delivered. `None` when the server stops.
    pub async fn next_letters(&self) -> Result<Option<LetterDelivery>> {
        let found = self.engine.wait_until(|state| match state.is_stopping {
            true => Some(None),
            false => find_letters(state).map(Some),
        });
        let Some((job, name, upto, epochs)) = found.await? else { return Ok(None) };
        let letters: Vec<Vec<Letter>> = epochs.iter().flatten().map(decode).collect::<Result<_>>()?;
        let delivered = Delivered { job, channel: Channel::Letters, upto };
        Ok(Some(LetterDelivery { delivered, name, letters: letters.concat() }))
    }
}

type Found = (JobId, String, Epoch, Vec<Vec<ChangeBatch>>);

fn find_letters(state: &State) -> Option<Found> {
    let may_deliver =
        state.jobs.values().filter(|e| e.state != JobState::Failed && e.checkpointed > Epoch::ZERO);
    may_deliver.into_iter().find_map(|entry| {
        let (upto, epochs) = entry.job.letters.outbox.below(entry.frontier)?;
        Some((entry.job.id, entry.job.graph.name.clone(), upto, epochs))
    })
}

#[cfg(test)]
mod tests {
    use weir_common::SqlState;

    use super::*;

    fn rejected(row: &str) -> Rejected {
        let error = Error::new(SqlState::DIVISION_BY_ZERO, "division by zero");
        Rejected { target: ObjectId(7), relation: None, error, row: row.to_owned() }
    }

    #[test]
    fn letters_come_back_from_their_batches() {
        let letters = decode(&encode(&[rejected("{}"), rejected("[]")]).unwrap()).unwrap();
        assert_eq!(letters.iter().map(|l| l.row.as_str()).collect::<Vec<_>>(), ["{}", "[]"]);
        assert_eq!((letters[0].sqlstate.as_str(), letters[0].target), ("22012", ObjectId(7)));
    }

    #[test]
    fn an_epoch_of_errors_keeps_the_first_of_them() {
        let letters = DeadLetters::new(Epoch::ZERO, 1).unwrap();
        let many = vec![rejected("{}"); KEPT_AN_EPOCH - 1];
        for epoch in [1, 1, 2] {
            letters.write(0, Epoch(epoch), &many).unwrap();
        }
        assert!(letters.outbox.has_pending(Epoch::ZERO), "who knows what its worker puts back");
        assert!(letters.outbox.below(Epoch(3)).is_none());
        assert!(letters.outbox.worker_opened());
        let (_, epochs) = letters.outbox.below(Epoch(3)).unwrap();
        let counts: Vec<usize> = epochs.iter().map(|e| e.iter().map(ChangeBatch::len).sum()).collect();
        assert_eq!(counts, [KEPT_AN_EPOCH, KEPT_AN_EPOCH - 1]);
    }
}
