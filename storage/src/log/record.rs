//! `LogRecord`: what one commit group or source binding writes to the log, and its bytes.
//!
//! ```text
//!   epoch u64
//!   table count u32,  each: id u32, batch count u32, each batch: length u32, bytes (see `ipc`)
//!   source count u32, each: id u32, length u32, bytes
//!   catalog u32: transaction + 1, or 0 for none
//!   delivery count u32, each: job u32, channel u8, epoch u64      (may be missing: none)
//!   closed i64: microseconds since 1970                           (may be missing: 0)
//! ```
//! All numbers little-endian. The frame around a record carries its checksum.

use weir_common::{ChangeBatch, Epoch, Error, ObjectId, Result, SqlState};

use crate::ipc::{decode_batch, encode_batch};

/// What became durable together.
#[derive(Clone, Debug)]
pub struct LogRecord {
    /// The epoch all of it belongs to.
    pub epoch: Epoch,
    /// Changes of tables.
    pub tables: Vec<(ObjectId, Vec<ChangeBatch>)>,
    /// What each source bound to this epoch, in the source's own words (offsets).
    pub sources: Vec<(ObjectId, Vec<u8>)>,
    /// The transaction among these that changes the catalog too: what it prepared there holds with this record.
    pub catalog: Option<u32>,
    /// What jobs have made that the tables hold with this record.
    pub delivered: Vec<DeliveredUpto>,
    /// When the epoch was closed, in microseconds since 1970.
    pub closed_micros: i64,
    /// Tables, and splits of sources by their names, that have brought nothing for so long that nobody waits for them.
    pub idle: Vec<(ObjectId, String)>,
}

/// How far a job's rows have got into a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveredUpto {
    pub job: ObjectId,
    /// Which of the job's outputs, in the runtime's words.
    pub channel: u8,
    /// The job's epoch up to which the table holds them.
    pub upto: Epoch,
}

impl LogRecord {
    /// Appends the record's bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&self.epoch.0.to_le_bytes());
        push_u32(out, self.tables.len())?;
        for (id, batches) in &self.tables {
            out.extend_from_slice(&id.0.to_le_bytes());
            push_u32(out, batches.len())?;
            for batch in batches {
                push_bytes(out, &encode_batch(batch)?)?;
            }
        }
        push_u32(out, self.sources.len())?;
        for (id, bytes) in &self.sources {
            out.extend_from_slice(&id.0.to_le_bytes());
            push_bytes(out, bytes)?;
        }
        let catalog = self.catalog.map_or(0, |transaction| transaction + 1);
        out.extend_from_slice(&catalog.to_le_bytes());
        push_u32(out, self.delivered.len())?;
        for DeliveredUpto { job, channel, upto } in &self.delivered {
            out.extend_from_slice(&job.0.to_le_bytes());
            out.push(*channel);
            out.extend_from_slice(&upto.0.to_le_bytes());
        }
        out.extend_from_slice(&self.closed_micros.to_le_bytes());
        push_u32(out, self.idle.len())?;
        for (id, split) in &self.idle {
            out.extend_from_slice(&id.0.to_le_bytes());
            push_bytes(out, split.as_bytes())?;
        }
        Ok(())
    }

    /// The record of these bytes.
    pub(super) fn decode(bytes: &[u8]) -> Result<LogRecord> {
        let mut reader = Reader(bytes);
        let epoch = Epoch(reader.u64()?);
        let mut tables = Vec::new();
        for _ in 0..reader.u32()? {
            let id = ObjectId(reader.u32()?);
            let mut batches = Vec::new();
            for _ in 0..reader.u32()? {
                batches.push(decode_batch(reader.bytes()?)?);
            }
            tables.push((id, batches));
        }
        let mut sources = Vec::new();
        for _ in 0..reader.u32()? {
            sources.push((ObjectId(reader.u32()?), reader.bytes()?.to_vec()));
        }
        let catalog = reader.u32()?.checked_sub(1);
        let mut delivered = Vec::new();
        for _ in 0..reader.u32()? {
            let (job, [channel]) = (ObjectId(reader.u32()?), reader.take()?);
            delivered.push(DeliveredUpto { job, channel, upto: Epoch(reader.u64()?) });
        }
        let closed_micros = i64::from_le_bytes(reader.take()?);
        let mut idle = Vec::new();
        for _ in 0..reader.u32()? {
            let (id, split) = (ObjectId(reader.u32()?), reader.bytes()?);
            let split = std::str::from_utf8(split).map_err(|_| Error::corrupted("the name of a split"))?;
            idle.push((id, split.to_owned()));
        }
        if !reader.0.is_empty() {
            return Err(Error::corrupted("a log record has bytes after its end"));
        }
        Ok(LogRecord { epoch, tables, sources, catalog, delivered, closed_micros, idle })
    }

    /// The epoch of a record's bytes.
    pub(super) fn epoch_of(bytes: &[u8]) -> Result<Epoch> {
        Reader(bytes).u64().map(Epoch)
    }
}

fn push_u32(out: &mut Vec<u8>, number: usize) -> Result<()> {
    let number = u32::try_from(number)
        .map_err(|_| Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "a transaction's batch exceeds 4 GiB"))?;
    out.extend_from_slice(&number.to_le_bytes());
    Ok(())
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    push_u32(out, bytes.len())?;
    out.extend_from_slice(bytes);
    Ok(())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const WIDTH: usize>(&mut self) -> Result<[u8; WIDTH]> {
        let (taken, rest) = self.0.split_first_chunk::<WIDTH>().ok_or_else(too_short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.u32()? as usize;
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(too_short)?;
        self.0 = rest;
        Ok(taken)
    }
}

fn too_short() -> Error {
    Error::corrupted("a log record is too short")
}
