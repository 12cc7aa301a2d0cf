//! `ProcTime`: processing time as a column of rows: when the epoch was closed in which they came.
//!
//! The time of an epoch is written to the log with it, so a row has the same one for every job, and after a restart. Times
//! of epochs grow, so the column has a watermark, the clock, which no row is ever behind.

use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, SchemaRef};
use weir_common::change::record_batch;
use weir_common::{ChangeBatch, Result};

use super::positional_schema;
use crate::operator::{Flow, Operator, Output, Port};

/// The operator of PROCTIME().
pub struct ProcTime {
    schema: SchemaRef,
    closed_micros: i64,
}

impl ProcTime {
    /// Of rows that come out with these types, the last of which is that of the time.
    pub fn new(output: &[DataType]) -> ProcTime {
        ProcTime { schema: positional_schema(output), closed_micros: 0 }
    }
}

impl Operator for ProcTime {
    fn on_epoch_begin(&mut self, closed_micros: i64) {
        self.closed_micros = closed_micros;
    }

    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, out: &mut Output) -> Result<Flow> {
        let times = TimestampMicrosecondArray::from_value(self.closed_micros, batch.len());
        let times: ArrayRef = Arc::new(times.with_timezone("UTC"));
        let columns = batch.columns().iter().cloned().chain([times]).collect();
        let rows = record_batch(self.schema.clone(), columns, batch.len())?;
        out.push(ChangeBatch { rows, ops: batch.ops });
        Ok(Flow::Done)
    }
}

#[cfg(test)]
mod tests {
    use weir_common::SqlType;

    use super::*;
    use crate::testing::{changes, net};

    #[test]
    fn rows_get_the_time_of_their_epoch() {
        let time = SqlType::Timestamptz.arrow();
        let mut operator = ProcTime::new(&[DataType::Int32, time.clone()]);
        let mut out = Output::new();
        for (closed, rows) in [(5, "+ 1\n+ 2"), (9, "+ 2")] {
            operator.on_epoch_begin(closed);
            let rows = changes(rows, &[DataType::Int32]).unwrap();
            let _ = operator.on_batch(Port(0), rows, &mut out).unwrap();
        }
        let expected = changes("+ 1 5\n+ 2 5\n+ 2 9", &[DataType::Int32, time]).unwrap();
        assert_eq!(net(&out.batches).unwrap(), net(&[expected]).unwrap());
    }
}
