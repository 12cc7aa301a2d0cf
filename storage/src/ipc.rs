//! `ChangeBatch` as bytes: one flag, the ops if there are any, and an Arrow IPC stream with the schema.
//!
//! ```text
//!   00 | stream                          all rows are inserts
//!   01 | row count u32 LE | ops | stream   an i8 for each row
//! ```

use std::io::Cursor;

use arrow::buffer::ScalarBuffer;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use weir_common::{ChangeBatch, Error, Result};

/// The bytes of a batch.
pub fn encode_batch(batch: &ChangeBatch) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(batch.rows.get_array_memory_size() + 512);
    match &batch.ops {
        None => bytes.push(0),
        Some(ops) => {
            bytes.push(1);
            bytes.extend_from_slice(&u32::try_from(ops.len()).map_err(Error::internal)?.to_le_bytes());
            bytes.extend(ops.iter().map(|op| *op as u8));
        }
    }
    let mut writer = StreamWriter::try_new(bytes, &batch.schema()).map_err(Error::internal)?;
    writer.write(&batch.rows).map_err(Error::internal)?;
    writer.into_inner().map_err(Error::internal)
}

/// The batch of these bytes. XX001 when they are not those of a batch.
pub fn decode_batch(bytes: &[u8]) -> Result<ChangeBatch> {
    let damaged = |what: &str| Error::corrupted(format!("a stored batch {what}"));
    let (flag, mut rest) = bytes.split_first().ok_or_else(|| damaged("is empty"))?;
    let mut ops = None;
    if *flag == 1 {
        let (count, after) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("is too short"))?;
        let count = u32::from_le_bytes(*count) as usize;
        let (values, after) = after.split_at_checked(count).ok_or_else(|| damaged("is too short"))?;
        ops = Some(values.iter().map(|op| *op as i8).collect::<ScalarBuffer<i8>>());
        rest = after;
    } else if *flag != 0 {
        return Err(damaged("has an unknown flag"));
    }
    let mut reader = StreamReader::try_new(Cursor::new(rest), None)
        .map_err(|error| damaged(&format!("has no schema: {error}")))?;
    let rows = reader
        .next()
        .ok_or_else(|| damaged("has no rows"))?
        .map_err(|error| damaged(&format!("cannot be read: {error}")))?;
    match ops {
        None => Ok(ChangeBatch::inserts(rows)),
        Some(ops) if ops.len() == rows.num_rows() => Ok(ChangeBatch::new(rows, ops)),
        Some(_) => Err(damaged("has another number of ops than rows")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use arrow::datatypes::Schema;
    use weir_common::SqlState;
    use weir_common::change::record_batch;

    use super::*;

    fn rows() -> RecordBatch {
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", ""]));
        RecordBatch::try_from_iter([("i", ints), ("t", texts)]).expect("columns of one length")
    }

    #[test]
    fn batches_round_trip_with_and_without_ops() -> Result<()> {
        for batch in [ChangeBatch::inserts(rows()), ChangeBatch::new(rows(), vec![1, -1, 1].into())] {
            let back = decode_batch(&encode_batch(&batch)?)?;
            assert_eq!(back.rows, batch.rows);
            assert_eq!(back.ops, batch.ops);
        }
        Ok(())
    }

    #[test]
    fn a_batch_without_columns_keeps_its_rows() -> Result<()> {
        let rows = record_batch(Arc::new(Schema::empty()), vec![], 7)?;
        assert_eq!(decode_batch(&encode_batch(&ChangeBatch::deletes(rows))?)?.len(), 7);
        Ok(())
    }

    #[test]
    fn cut_bytes_are_corruption() -> Result<()> {
        let bytes = encode_batch(&ChangeBatch::deletes(rows()))?;
        for len in [0, 1, 4, 6, 20, bytes.len() / 2] {
            let error = decode_batch(&bytes[..len]).expect_err("cut bytes are no batch");
            assert_eq!(error.state(), SqlState::DATA_CORRUPTED, "{len} bytes: {error}");
        }
        Ok(())
    }
}
