//! Rows on their way out: batches of a stream become DataRow messages as they are made.
//!
//! Place in the flow: `simple` and `extended` open a result and pump it. Output is flushed when it fills a buffer
//! and when the producer pauses, so that a slow stream shows each row at once and a fast one goes out in large
//! writes. Nothing is collected: memory is one batch and one buffer.
//!
//! Invariant: dropping the pump's future between two rows loses no row that was taken and writes no part of one.

use std::io;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use bytes::{BufMut, BytesMut};
use futures::StreamExt;
use weir_common::text::{FormatOptions, Formatter};
use weir_common::{Error, Result, SqlType};
use weir_table::{OutputColumn, RowStream, RowsTag};

use super::binary;
use super::params::BINARY;
use super::wire::{FLUSH_BYTES, Writer};

/// A producer that is silent for this long gets its rows flushed.
const PAUSE: Duration = Duration::from_millis(5);

/// Why a statement ended before its end.
#[derive(Debug)]
pub enum Failure {
    /// The statement failed; the client is told.
    Statement(Error),
    /// The client cannot be reached any more.
    Lost,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Statement(error)
    }
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Failure {
        Failure::Lost
    }
}

/// A result that is being read.
pub struct OpenRows {
    stream: RowStream,
    encoder: RowEncoder,
    tag: RowsTag,
    /// The batch being sent, and the next row of it.
    current: Option<(RecordBatch, usize)>,
}

/// How a pump ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Pumped {
    /// All rows are out; the command tag.
    Finished(String),
    /// As many as were asked for are out, there may be more.
    Suspended,
}

impl OpenRows {
    /// A result whose columns are wanted in these formats.
    pub fn new(
        columns: &[OutputColumn],
        formats: &[i16],
        options: &FormatOptions,
        stream: RowStream,
        tag: RowsTag,
    ) -> OpenRows {
        OpenRows { stream, encoder: RowEncoder::new(columns, formats, options), tag, current: None }
    }

    /// What a finished result says when it is asked again.
    pub fn tag(&self) -> RowsTag {
        self.tag
    }

    /// Sends rows until the end, or until `limit` rows are out.
    pub async fn pump(&mut self, writer: &mut Writer, limit: Option<u64>) -> Result<Pumped, Failure> {
        let mut sent = 0;
        loop {
            while let Some((batch, row)) = &mut self.current {
                if *row == batch.num_rows() {
                    self.current = None;
                    break;
                }
                if limit == Some(sent) {
                    return Ok(Pumped::Suspended);
                }
                self.encoder.encode(batch, *row, &mut writer.buffer)?;
                *row += 1;
                sent += 1;
                if writer.pending() >= FLUSH_BYTES {
                    writer.flush().await?;
                }
            }
            if limit == Some(sent) {
                return Ok(Pumped::Suspended);
            }
            match self.next_batch(writer).await? {
                Some(batch) => self.current = Some((batch, 0)),
                None => return Ok(Pumped::Finished(self.tag.complete(sent))),
            }
        }
    }

    /// The next batch; what is written already is flushed if it does not come at once.
    async fn next_batch(&mut self, writer: &mut Writer) -> Result<Option<RecordBatch>, Failure> {
        loop {
            let pause = tokio::time::sleep(PAUSE);
            tokio::select! {
                biased;
                batch = self.stream.next() => {
                    let batch = batch.transpose()?;
                    return batch.map(|batch| self.encoder.check(batch)).transpose().map_err(Failure::from);
                }
                () = pause, if writer.pending() > 0 => writer.flush().await?,
            }
        }
    }
}

/// Writes rows of known column types in known formats.
struct RowEncoder {
    columns: Vec<ColumnEncoder>,
    /// Text of one value, reused.
    scratch: String,
}

struct ColumnEncoder {
    ty: SqlType,
    binary: bool,
    formatter: Formatter,
}

impl RowEncoder {
    fn new(columns: &[OutputColumn], formats: &[i16], options: &FormatOptions) -> RowEncoder {
        let column = |(column, format): (&OutputColumn, &i16)| ColumnEncoder {
            ty: column.ty.clone(),
            binary: *format == BINARY,
            formatter: Formatter::new(&column.ty, options),
        };
        RowEncoder { columns: columns.iter().zip(formats).map(column).collect(), scratch: String::new() }
    }

    /// The batch, if its columns are what the row description promised. Anything else is a defect above.
    fn check(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let promised = self.columns.iter().map(|column| column.ty.arrow());
        if promised.eq(batch.columns().iter().map(|array| array.data_type().clone())) {
            return Ok(batch);
        }
        let types = |types: Vec<String>| types.join(", ");
        Err(Error::internal(format_args!(
            "result columns ({}) are not those described ({})",
            types(batch.columns().iter().map(|array| array.data_type().to_string()).collect()),
            types(self.columns.iter().map(|column| column.ty.to_string()).collect()),
        )))
    }

    /// Appends a DataRow; on an error nothing is appended.
    fn encode(&mut self, batch: &RecordBatch, row: usize, out: &mut BytesMut) -> Result<()> {
        let start = out.len();
        out.put_u8(b'D');
        out.put_i32(0);
        out.put_i16(self.columns.len() as i16);
        for (column, array) in self.columns.iter().zip(batch.columns()) {
            if let Err(error) = column.encode(array.as_ref(), row, &mut self.scratch, out) {
                out.truncate(start);
                return Err(error);
            }
        }
        let length = (out.len() - start - 1) as i32;
        out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

impl ColumnEncoder {
    fn encode(&self, array: &dyn Array, row: usize, scratch: &mut String, out: &mut BytesMut) -> Result<()> {
        if self.binary {
            return binary::encode_value(&self.ty, array, row, &self.formatter, out);
        }
        if array.is_null(row) {
            out.put_i32(-1);
            return Ok(());
        }
        let text = match self.ty {
            // The value is its own text: no copy in between.
            SqlType::Text | SqlType::Varchar(_) => array.as_string::<i32>().value(row),
            _ => {
                scratch.clear();
                self.formatter.write(array, row, scratch);
                scratch.as_str()
            }
        };
        out.put_i32(text.len() as i32);
        out.put_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, StringArray};
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn columns() -> Vec<OutputColumn> {
        let column = |name: &str, ty| OutputColumn { name: name.into(), ty, origin: None };
        vec![column("n", SqlType::Int4), column("t", SqlType::Text)]
    }

    fn batch(numbers: Vec<Option<i32>>) -> RecordBatch {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x"; numbers.len()]));
        let numbers: ArrayRef = Arc::new(Int32Array::from(numbers));
        RecordBatch::try_from_iter_with_nullable([("n", numbers, true), ("t", text, true)]).unwrap()
    }

    async fn sockets() -> (Writer, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_, write) = listener.accept().await.unwrap().0.into_split();
        (Writer::new(write), client)
    }

    fn open(stream: RowStream) -> OpenRows {
        OpenRows::new(&columns(), &[0, 1], &FormatOptions::default(), stream, RowsTag::Counted("SELECT"))
    }

    #[tokio::test]
    async fn rows_in_both_formats_with_null() {
        let (mut writer, _client) = sockets().await;
        let stream = futures::stream::iter([Ok(batch(vec![Some(42), None]))]).boxed();
        let end = open(stream).pump(&mut writer, None).await.unwrap();
        assert_eq!(end, Pumped::Finished("SELECT 2".into()));
        let first = b"D\0\0\0\x11\0\x02\0\0\0\x0242\0\0\0\x01x";
        let second = b"D\0\0\0\x0f\0\x02\xff\xff\xff\xff\0\0\0\x01x";
        assert_eq!(&writer.buffer[..], [&first[..], &second[..]].concat());
    }

    #[tokio::test]
    async fn a_limit_suspends_and_the_rest_follows() {
        let (mut writer, _client) = sockets().await;
        let batches = [batch(vec![Some(1), Some(2)]), batch(vec![Some(3)])];
        let mut rows = open(futures::stream::iter(batches.map(Ok)).boxed());
        assert_eq!(rows.pump(&mut writer, Some(1)).await.unwrap(), Pumped::Suspended);
        assert_eq!(rows.pump(&mut writer, Some(2)).await.unwrap(), Pumped::Suspended);
        assert_eq!(rows.pump(&mut writer, Some(2)).await.unwrap(), Pumped::Finished("SELECT 0".into()));
    }

    #[tokio::test]
    async fn a_pause_of_the_producer_flushes() {
        let (mut writer, mut client) = sockets().await;
        let stream =
            futures::stream::iter([Ok(batch(vec![Some(7)]))]).chain(futures::stream::pending()).boxed();
        let pumping = tokio::spawn(async move { open(stream).pump(&mut writer, None).await.map(|_| ()) });
        let mut row = [0; 17];
        tokio::time::timeout(Duration::from_secs(5), client.read_exact(&mut row)).await.unwrap().unwrap();
        assert_eq!(row[0], b'D');
        pumping.abort();
    }

    #[tokio::test]
    async fn an_error_ends_the_rows() {
        let (mut writer, _client) = sockets().await;
        let stream =
            futures::stream::iter([Ok(batch(vec![Some(7)])), Err(Error::division_by_zero())]).boxed();
        let failure = open(stream).pump(&mut writer, None).await.unwrap_err();
        assert!(matches!(failure, Failure::Statement(e) if e == Error::division_by_zero()));
    }
}
