//! COPY FROM: text as it comes, decoded column by column into rows of the table.
//!
//! Text is kept until a chunk is there, then its whole records become one batch. A batch that cannot be decoded is
//! looked through value by value, so that the error names the first bad one as PostgreSQL does.

use arrow::array::{ArrayRef, RecordBatch, StringBuilder, new_null_array};
use weir_catalog::TableDef;
use weir_common::change::record_batch;
use weir_common::text::{FormatOptions, parse_array_in};
use weir_common::{Error, ObjectId, Result, SqlState, SqlType};
use weir_planner::copy::{BoundCopyFrom, CopyHeader, CopyOptions};

use super::records::{Fields, RecordReader, Rest};
use super::{Target, shown};
use crate::dml::{BadRow, RowExpr, Rules};

/// Text is decoded when so much of it is there.
const CHUNK_BYTES: usize = 1 << 20;
/// Rows of a batch.
const BATCH_ROWS: usize = 16 << 10;

/// A COPY FROM STDIN that is under way.
pub struct CopyIn {
    object: Target,
    table: TableDef,
    /// Positions of the columns that a record has.
    columns: Vec<usize>,
    defaults: Vec<(usize, RowExpr)>,
    rules: Rules,
    options: CopyOptions,
    format: FormatOptions,
    /// Text that is not decoded yet.
    pending: Vec<u8>,
    /// Pending text is looked at when there is so much.
    enough: usize,
    reader: RecordReader,
    header: CopyHeader,
    /// Lines read so far.
    line: u64,
    /// Whether the end mark was read.
    ended: bool,
    rows: Vec<RecordBatch>,
    /// Of `rows`.
    held_bytes: usize,
}

/// Records of one batch: their texts by column, and where each stands.
struct Draft {
    texts: Vec<StringBuilder>,
    /// Line number, and the record's place in the chunk.
    places: Vec<(u64, usize, usize)>,
}

impl CopyIn {
    pub(super) fn new(
        object: Target,
        table: TableDef,
        copy: &BoundCopyFrom,
        format: FormatOptions,
    ) -> Result<CopyIn> {
        let compiled = |(i, expr): &(usize, _)| Ok((*i, RowExpr::constant(expr)?));
        let rules = Rules::new(&copy.rules, &table)?;
        Ok(CopyIn {
            rules,
            object,
            table,
            columns: copy.columns.clone(),
            defaults: copy.defaults.iter().map(compiled).collect::<Result<_>>()?,
            header: copy.options.header,
            options: copy.options.clone(),
            format,
            pending: Vec::new(),
            enough: CHUNK_BYTES,
            reader: RecordReader::new(),
            line: 0,
            ended: false,
            rows: Vec::new(),
            held_bytes: 0,
        })
    }

    /// Columns that a record has.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Bytes of the rows that have come, in memory.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub(super) fn table(&self) -> ObjectId {
        self.object.id
    }

    /// Takes more text. Records may be cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        self.pending.extend_from_slice(bytes);
        if self.pending.len() < self.enough {
            return Ok(());
        }
        let before = self.rows.len();
        self.decode(Rest::MayFollow)?;
        self.held_bytes += self.rows[before..].iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
        // A record longer than a chunk is looked for again when twice as much is there.
        self.enough = CHUNK_BYTES.max(self.pending.len() * 2);
        Ok(())
    }

    /// All rows, once the text is complete.
    pub(super) fn finish(mut self) -> Result<Vec<RecordBatch>> {
        if !self.ended {
            self.decode(Rest::Complete)?;
        }
        Ok(self.rows)
    }

    /// Decodes the whole records of the pending text.
    fn decode(&mut self, rest: Rest) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let whole = match rest {
            Rest::Complete => pending.len(),
            Rest::MayFollow => pending.iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1),
        };
        let text = self.utf8(&pending[..whole])?;
        let used = self.decode_records(text, rest)?;
        self.pending = pending;
        self.pending.drain(..used);
        Ok(())
    }

    fn utf8<'t>(&self, bytes: &'t [u8]) -> Result<&'t str> {
        let error = match std::str::from_utf8(bytes) {
            Ok(text) if !bytes.contains(&0) => return Ok(text),
            Ok(_) => None,
            Err(error) => Some(error),
        };
        let (at, length) = match error {
            Some(error) => (error.valid_up_to(), error.error_len().unwrap_or(1)),
            None => (bytes.iter().position(|b| *b == 0).unwrap_or(0), 1),
        };
        let bad: Vec<String> = bytes[at..].iter().take(length).map(|b| format!("0x{b:02x}")).collect();
        let message = format!("invalid byte sequence for encoding \"UTF8\": {}", bad.join(" "));
        let line = self.line + 1 + bytes[..at].iter().filter(|b| **b == b'\n').count() as u64;
        Err(Error::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, message)
            .with_context(format!("COPY {}, line {line}", self.object.name)))
    }

    /// Decodes records from the start of the text; where the first one that is not whole begins.
    fn decode_records(&mut self, text: &str, rest: Rest) -> Result<usize> {
        let mut fields = Fields::default();
        let mut draft = self.draft();
        let mut at = 0;
        while at < text.len() && !self.ended {
            let taken = self.reader.record(text, at, rest, &self.options, &mut fields);
            let record = match taken {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(error) => {
                    let line_end = text[at..].find('\n').map_or(text.len(), |i| at + i);
                    let error = self.in_line(error, self.line + 1, &text[at..line_end]);
                    return self.batch(draft, text).and(Err(error));
                }
            };
            self.line += record.lines;
            let start = std::mem::replace(&mut at, record.next);
            if record.is_end_mark {
                self.ended = true;
            } else if self.header != CopyHeader::Absent {
                let checked = self.check_header(&fields);
                checked.map_err(|e| self.in_line(e, self.line, &text[start..record.end]))?;
                self.header = CopyHeader::Absent;
            } else {
                if let Err(error) = self.check_width(&fields) {
                    let error = self.in_line(error, self.line, &text[start..record.end]);
                    return self.batch(draft, text).and(Err(error));
                }
                draft.places.push((self.line, start, record.end));
                for (i, column) in draft.texts.iter_mut().enumerate() {
                    column.append_option(fields.value(i));
                }
                if draft.places.len() == BATCH_ROWS {
                    self.batch(std::mem::replace(&mut draft, self.draft()), text)?;
                }
            }
        }
        self.batch(draft, text)?;
        Ok(at)
    }

    fn draft(&self) -> Draft {
        Draft { texts: self.columns.iter().map(|_| StringBuilder::new()).collect(), places: Vec::new() }
    }

    fn check_width(&self, fields: &Fields) -> Result<()> {
        let wrong = |message: String| Err(Error::new(SqlState::BAD_COPY_FILE_FORMAT, message));
        match self.columns.get(fields.len()) {
            Some(missing) => {
                wrong(format!("missing data for column \"{}\"", self.table.columns[*missing].column.name))
            }
            None if fields.len() > self.columns.len() => {
                wrong("extra data after last expected column".into())
            }
            None => Ok(()),
        }
    }

    fn check_header(&self, fields: &Fields) -> Result<()> {
        if self.header != CopyHeader::Match {
            return Ok(());
        }
        let wrong = |message: String| Err(Error::new(SqlState::BAD_COPY_FILE_FORMAT, message));
        if fields.len() != self.columns.len() {
            let (got, expected) = (fields.len(), self.columns.len());
            return wrong(format!("wrong number of fields in header line: got {got}, expected {expected}"));
        }
        for (i, position) in self.columns.iter().enumerate() {
            let expected = &self.table.columns[*position].column.name;
            match fields.value(i) {
                Some(got) if got == expected => {}
                got => {
                    let got = match got {
                        None => format!("null value (\"{}\")", self.options.null),
                        Some(got) => format!("\"{got}\""),
                    };
                    return wrong(format!(
                        "column name mismatch in header line field {}: got {got}, expected \"{expected}\"",
                        i + 1
                    ));
                }
            }
        }
        Ok(())
    }

    fn in_line(&self, error: Error, line: u64, text: &str) -> Error {
        error.with_context(format!("COPY {}, line {line}: \"{}\"", self.object.name, shown(text)))
    }

    /// Makes whole rows of the draft's records.
    fn batch(&mut self, mut draft: Draft, text: &str) -> Result<()> {
        let count = draft.places.len();
        if count == 0 {
            return Ok(());
        }
        let texts: Vec<_> = draft.texts.iter_mut().map(StringBuilder::finish).collect();
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.table.columns.len()];
        for (texts_of_column, position) in texts.iter().zip(&self.columns) {
            match parse_array_in(self.type_at(*position), texts_of_column, &self.format) {
                Ok(values) => columns[*position] = Some(values),
                Err(error) => return Err(self.first_bad_value(&texts, &draft.places).unwrap_or(error)),
            }
        }
        for (position, default) in &self.defaults {
            columns[*position] = Some(default.values(count)?);
        }
        let columns = columns.into_iter().enumerate();
        let columns =
            columns.map(|(i, c)| c.unwrap_or_else(|| new_null_array(&self.type_at(i).arrow(), count)));
        let rows = record_batch(self.table.relation_schema().arrow(), columns.collect(), count)?;
        match self.rules.complete(&self.object, &self.table, rows) {
            Ok(rows) => self.rows.push(rows),
            Err(BadRow { row, error }) => {
                let (line, start, end) = draft.places[row];
                return Err(self.in_line(error, line, &text[start..end]));
            }
        }
        Ok(())
    }

    fn type_at(&self, position: usize) -> &SqlType {
        &self.table.columns[position].column.ty
    }

    /// The error of the first value that is none of its type, in the order of the text.
    fn first_bad_value(
        &self,
        texts: &[arrow::array::StringArray],
        places: &[(u64, usize, usize)],
    ) -> Option<Error> {
        for (row, (line, ..)) in places.iter().enumerate() {
            for (texts, position) in texts.iter().zip(&self.columns) {
                let value = texts.slice(row, 1);
                let Err(error) = parse_array_in(self.type_at(*position), &value, &self.format) else {
                    continue;
                };
                let column = &self.table.columns[*position].column.name;
                let text = value.iter().next().flatten().unwrap_or_default();
                return Some(error.with_context(format!(
                    "COPY {}, line {line}, column {column}: \"{}\"",
                    self.object.name,
                    shown(text)
                )));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_catalog::{ColumnDef, Object, ObjectKind};
    use weir_common::Column;
    use weir_planner::copy::CopyFormat;

    use super::*;

    fn copy(header: CopyHeader) -> CopyIn {
        let column = |id: u16, name: &str, ty, nullable| {
            ColumnDef::plain(Column { id, name: name.into(), ty, nullable }, None)
        };
        let columns = vec![column(1, "a", SqlType::Int4, false), column(2, "b", SqlType::Text, true)];
        let table = TableDef { columns, ..TableDef::default() };
        let object =
            Object::new(ObjectId(16400), ObjectId(2200), "t", "weir", ObjectKind::Table(table.clone()));
        let options = CopyOptions {
            format: CopyFormat::Csv,
            delimiter: b',',
            null: String::new(),
            header,
            quote: b'"',
            escape: b'"',
            force_quote: vec![false; 2],
            force_not_null: vec![false; 2],
            force_null: vec![false; 2],
        };
        let bound = BoundCopyFrom {
            table: object.id,
            columns: vec![0, 1],
            rules: Default::default(),
            defaults: Vec::new(),
            options,
        };
        CopyIn::new(Arc::new(object), table, &bound, FormatOptions::default()).unwrap()
    }

    fn failure(text: &str) -> (String, String) {
        let mut copy = copy(CopyHeader::Absent);
        let error = copy.push(text.as_bytes()).and_then(|()| copy.finish()).unwrap_err();
        (error.message().to_owned(), error.context().unwrap_or_default().to_owned())
    }

    #[test]
    fn records_may_be_cut_anywhere() {
        let text = "1,x\n2,\"é\ny\"\n3,\n";
        for cut in 0..=text.len() {
            let mut copy = copy(CopyHeader::Absent);
            copy.push(&text.as_bytes()[..cut]).unwrap();
            copy.decode(Rest::MayFollow).unwrap();
            copy.push(&text.as_bytes()[cut..]).unwrap();
            let rows: usize = copy.finish().unwrap().iter().map(RecordBatch::num_rows).sum();
            assert_eq!(rows, 3, "cut at {cut}");
        }
    }

    #[test]
    fn errors_name_line_and_column() {
        let (message, context) = failure("1,x\nz,y\n");
        assert_eq!(message, "invalid input syntax for type integer: \"z\"");
        assert_eq!(context, "COPY t, line 2, column a: \"z\"");
        let (message, context) = failure("1,x\n2\n");
        assert_eq!(message, "missing data for column \"b\"");
        assert_eq!(context, "COPY t, line 2: \"2\"");
        let (message, context) = failure("1,x\n,y\n");
        assert!(message.starts_with("null value in column \"a\""), "{message}");
        assert_eq!(context, "COPY t, line 2: \",y\"");
        assert_eq!(failure("x,y\n1,2,3\n").1, "COPY t, line 1, column a: \"x\"");
    }

    #[test]
    fn a_header_may_have_to_match() {
        let mut good = copy(CopyHeader::Match);
        good.push(b"a,b\n1,x\n").unwrap();
        assert_eq!(good.finish().unwrap()[0].num_rows(), 1);
        let mut bad = copy(CopyHeader::Match);
        bad.push(b"a,c\n").unwrap();
        let error = bad.finish().unwrap_err();
        assert_eq!(error.message(), "column name mismatch in header line field 2: got \"c\", expected \"b\"");
    }
}
