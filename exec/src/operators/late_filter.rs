//! `LateFilter`: leaves out rows that come when their time is over.
//!
//! Stands before operators that forget what lies behind the watermark: a row there, or the delete of one, would meet
//! state that is gone. Which rows are late is decided by the watermark at the end of the epoch before theirs, so it does
//! not depend on the order within an epoch or on the number of workers. A row without a time is never late.

use arrow::array::BooleanArray;
use arrow::datatypes::DataType;
use weir_common::{ChangeBatch, Error, ObjectId, Result, SqlState};

use crate::event_time::behind;
use crate::operator::{Flow, Operator, Output, Port};
use crate::rejected::{Rejected, RowWriter};
use crate::spec::Letters;

/// The operator that drops late rows, counts them, and writes those down that a table is to keep.
pub struct LateFilter {
    column: usize,
    watermark: i64,
    letters: Option<Written>,
}

/// How late rows are written down.
struct Written {
    rows: RowWriter,
    target: ObjectId,
    relation: Option<ObjectId>,
    name: String,
}

impl LateFilter {
    /// By the time column at this position, of an input with columns of these types.
    pub fn new(column: usize, letters: Option<&Letters>, input: &[DataType]) -> Result<LateFilter> {
        let written = |letters: &Letters| {
            let (target, relation) = (letters.target, letters.relation);
            let rows = RowWriter::new(&letters.columns, input)?;
            Ok::<_, Error>(Written { rows, target, relation, name: letters.columns[column].clone() })
        };
        Ok(LateFilter { column, watermark: i64::MIN, letters: letters.map(written).transpose()? })
    }

    fn write_down(&self, written: &Written, batch: &ChangeBatch, late: &[bool], out: &mut Output) {
        let message = format!("the row came after event time had passed its \"{}\"", written.name);
        for row in (0..batch.len()).filter(|row| late[*row] && batch.op(*row) > 0) {
            out.rejected.push(Rejected {
                target: written.target,
                relation: written.relation,
                error: Error::new(SqlState::DATETIME_FIELD_OVERFLOW, message.clone()),
                row: written.rows.json(&batch.rows, row),
            });
        }
    }
}

impl Operator for LateFilter {
    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, out: &mut Output) -> Result<Flow> {
        if self.watermark == i64::MIN {
            out.push(batch);
            return Ok(Flow::Done);
        }
        let late = behind(&batch.columns()[self.column], self.watermark)?;
        let count = late.iter().filter(|late| **late).count();
        if count == 0 {
            out.push(batch);
            return Ok(Flow::Done);
        }
        out.late += count as u64;
        if let Some(written) = &self.letters {
            self.write_down(written, &batch, &late, out);
        }
        out.push(batch.filter(&late.iter().map(|late| Some(!late)).collect::<BooleanArray>())?);
        Ok(Flow::Done)
    }

    fn on_watermark(&mut self, watermark: i64) {
        self.watermark = watermark;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{changes, net};

    const TYPES: [DataType; 2] = [DataType::Int64, DataType::Int32];

    fn filter(letters: bool) -> LateFilter {
        let columns = vec!["ts".into(), "v".into()];
        let letters =
            letters.then_some(Letters { target: ObjectId(7), relation: Some(ObjectId(8)), columns });
        LateFilter::new(0, letters.as_ref(), &TYPES).unwrap()
    }

    fn run(filter: &mut LateFilter, input: &str) -> Output {
        let mut out = Output::new();
        let _ = filter.on_batch(Port(0), changes(input, &TYPES).unwrap(), &mut out).unwrap();
        out
    }

    #[test]
    fn rows_behind_the_watermark_are_left_out_counted_and_written_down() {
        let mut filter = filter(true);
        assert_eq!(run(&mut filter, "+ 1 1\n+ 9 2").late, 0, "nothing is late before there is a watermark");
        filter.on_watermark(10);
        let out = run(&mut filter, "+ 9 1\n+ 10 2\n- 9 2\n+ . 3\n+ 11 4");
        let kept = changes("+ 10 2\n+ . 3\n+ 11 4", &TYPES).unwrap();
        assert_eq!(net(&out.batches).unwrap(), net(&[kept]).unwrap());
        assert_eq!(out.late, 2);
        let letters: Vec<_> = out.rejected.iter().map(|r| (r.error.message(), r.row.as_str())).collect();
        assert_eq!(
            letters,
            [("the row came after event time had passed its \"ts\"", r#"{"ts": 9, "v": 1}"#)],
            "a delete is counted, there is nothing to keep of it"
        );
    }
}
