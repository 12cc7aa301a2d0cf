//! `Mark`: a word of event time on its way to the workers of a job.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::Int64Type;
use serde::{Deserialize, Serialize};
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Error, ObjectId, Result};
use weir_exec::event_time::EventTime;

use crate::output::positional_schema;

/// Something is new of an event time of a job's input in a split; a relation has one split without a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub time: EventTime,
    pub split: String,
    pub news: News,
}

/// What is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// It has come so far.
    Upto(i64),
    /// Nothing has come for a while: nobody waits for it.
    Idle,
    /// Something comes again.
    Active,
}

impl News {
    /// Of an input that is idle, or is not any more.
    pub fn idle(is_idle: bool) -> News {
        if is_idle { News::Idle } else { News::Active }
    }

    fn number(self) -> i64 {
        match self {
            News::Upto(_) => 0,
            News::Idle => 1,
            News::Active => 2,
        }
    }
}

/// Marks on their way through a dataflow to a worker.
pub fn encode(marks: &[Mark], to: usize) -> Result<ChangeBatch> {
    let numbers = |number: fn(&Mark) -> i64| Arc::new(Int64Array::from_iter_values(marks.iter().map(number)));
    let splits = marks.iter().map(|mark| Some(mark.split.as_str())).collect::<StringArray>();
    let value = |mark: &Mark| if let News::Upto(value) = mark.news { value } else { 0 };
    let columns: Vec<ArrayRef> = vec![
        numbers(|mark| i64::from(mark.time.object.0)),
        numbers(|mark| mark.time.column as i64),
        Arc::new(splits),
        numbers(|mark| mark.news.number()),
        numbers(value),
        Arc::new(Int64Array::from(vec![to as i64; marks.len()])),
    ];
    let types: Vec<_> = columns.iter().map(|column| column.data_type().clone()).collect();
    Ok(ChangeBatch::inserts(record_batch(positional_schema(&types), columns, marks.len())?))
}

/// The worker that marks are on their way to.
pub fn addressee(batch: &ChangeBatch) -> Option<usize> {
    batch.columns().last()?.as_primitive_opt::<Int64Type>()?.values().first().map(|to| *to as usize)
}

/// What [`encode`] made.
pub fn decode(batch: &ChangeBatch) -> Result<Vec<Mark>> {
    let damaged = || Error::internal("a batch that holds no marks");
    let numbers = |column: usize| {
        batch.columns().get(column).and_then(|c| c.as_primitive_opt::<Int64Type>()).ok_or_else(damaged)
    };
    let (objects, columns, news, values) = (numbers(0)?, numbers(1)?, numbers(3)?, numbers(4)?);
    let splits = batch.columns()[2].as_string_opt::<i32>().ok_or_else(damaged)?;
    let mark = |row: usize| {
        let time =
            EventTime { object: ObjectId(objects.value(row) as u32), column: columns.value(row) as usize };
        let news = match news.value(row) {
            0 => News::Upto(values.value(row)),
            1 => News::Idle,
            2 => News::Active,
            _ => return Err(damaged()),
        };
        Ok(Mark { time, split: splits.value(row).to_owned(), news })
    };
    (0..batch.len()).map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::mark;
    use super::*;

    #[test]
    fn marks_travel_as_a_batch() {
        let idle = |is_idle| Mark { news: News::idle(is_idle), ..mark(9, "x", 0) };
        let marks = [mark(7, "0", 5), mark(8, "", -3), idle(true), idle(false)];
        let batch = encode(&marks, 3).unwrap();
        assert_eq!((decode(&batch).unwrap(), addressee(&batch)), (marks.to_vec(), Some(3)));
    }
}
