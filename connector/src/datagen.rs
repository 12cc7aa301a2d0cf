//! `datagen`: made-up rows of any declared columns, the same for the same seed.
//!
//! Options: `rate`, `events`, `seed`, and for each column `fields.NAME.kind` (`sequence`, from
//! `fields.NAME.start`, or `random`, between `fields.NAME.min` and `fields.NAME.max`), `fields.NAME.length` for
//! text. The first column is a sequence and the others are random unless said otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use weir_common::seam::Rng;
use weir_common::text::parse_array;
use weir_common::{ChangeBatch, Column, Error, Result, SqlType};

use crate::generator::{self, Pace};
use crate::options::Options;
use crate::source::{Discovery, ReadProgress, Reading, Source, SourceOffsets, SplitRange, SplitReader};

const OPTIONS: [&str; 3] = ["events", "rate", "seed"];
/// 2024-01-01 00:00:00 UTC in seconds: where made-up times begin, one second an event.
const START_SECONDS: i64 = 1_704_067_200;

#[derive(Clone)]
struct FieldPlan {
    ty: SqlType,
    seed: u64,
    kind: FieldKind,
}

#[derive(Clone, Copy)]
enum FieldKind {
    Sequence { start: i64 },
    Random { min: i64, max: i64, length: usize },
}

struct Datagen {
    pace: Pace,
    fields: Vec<FieldPlan>,
}

/// The source that the options describe.
pub fn create(given: &BTreeMap<String, String>, columns: &[Column]) -> Result<Arc<dyn Source>> {
    let options = Options::checked(given, &OPTIONS, &["fields."])?;
    let seed = options.number("seed")?.unwrap_or(0);
    let field = |(i, column): (usize, &Column)| {
        let option = |what: &str| format!("fields.{}.{what}", column.name);
        let number = |what: &str, default: i64| -> Result<i64> {
            Ok(options.number(&option(what))?.map_or(default, |n| n.min(i64::MAX as u64) as i64))
        };
        let chosen = options.choice(&option("kind"), &["sequence", "random"])?;
        let kind = match chosen.unwrap_or(if i == 0 { "sequence" } else { "random" }) {
            "sequence" => FieldKind::Sequence { start: number("start", 0)? },
            _ => FieldKind::Random {
                min: number("min", 0)?,
                max: number("max", 1000)?.max(number("min", 0)?),
                length: number("length", 10)? as usize,
            },
        };
        Ok(FieldPlan { ty: column.ty.clone(), seed: seed ^ ((i as u64 + 1) << 48), kind })
    };
    let fields = columns.iter().enumerate().map(field).collect::<Result<_>>()?;
    Ok(Arc::new(Datagen { pace: Pace::from_options(&options)?, fields }))
}

impl Source for Datagen {
    fn discover(&self, bound: &SourceOffsets, budget_rows: u64, reading: &Reading) -> Result<Discovery> {
        Ok(self.pace.discover(bound, budget_rows, reading))
    }

    fn is_finite(&self) -> bool {
        self.pace.is_finite()
    }

    fn divide(&self, ranges: &[SplitRange], workers: usize) -> Vec<Vec<SplitRange>> {
        generator::divide(ranges, workers)
    }

    fn reader(&self, project: &[usize]) -> Result<Box<dyn SplitReader>> {
        let fields: Vec<FieldPlan> = project
            .iter()
            .map(|p| self.fields.get(*p).cloned())
            .collect::<Option<_>>()
            .ok_or_else(|| Error::internal("a projection beyond the columns of a datagen source"))?;
        let column = |(i, f): (usize, &FieldPlan)| Field::new(format!("c{i}"), f.ty.arrow(), true);
        let schema = Arc::new(Schema::new(fields.iter().enumerate().map(column).collect::<Vec<_>>()));
        Ok(Box::new(Reader { fields, schema, at: 0, to: 0, rows: 0 }))
    }
}

struct Reader {
    fields: Vec<FieldPlan>,
    schema: SchemaRef,
    at: u64,
    to: u64,
    rows: u64,
}

impl SplitReader for Reader {
    fn start(&mut self, range: &SplitRange) -> Result<()> {
        (self.at, self.to) = (range.from, range.to);
        Ok(())
    }

    fn next(&mut self, batch_rows: usize) -> Result<Option<ChangeBatch>> {
        if self.at >= self.to {
            return Ok(None);
        }
        let end = self.to.min(self.at + batch_rows as u64);
        let arrays = self.fields.iter().map(|f| f.column(self.at, end)).collect::<Result<Vec<_>>>()?;
        let rows = weir_common::change::record_batch(self.schema.clone(), arrays, (end - self.at) as usize)?;
        self.rows += end - self.at;
        self.at = end;
        Ok(Some(ChangeBatch::inserts(rows)))
    }

    fn position(&self) -> u64 {
        self.at
    }

    fn take_progress(&mut self) -> ReadProgress {
        ReadProgress { rows: std::mem::take(&mut self.rows), ..ReadProgress::default() }
    }
}

impl FieldPlan {
    fn column(&self, from: u64, to: u64) -> Result<ArrayRef> {
        let texts = StringArray::from_iter_values((from..to).map(|n| self.text(n)));
        parse_array(&self.ty, &texts)
    }

    /// The value of event `n` in the type's text form.
    fn text(&self, n: u64) -> String {
        let mut rng = Rng::seeded(self.seed ^ n.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let (value, length) = match self.kind {
            FieldKind::Sequence { start } => (start.wrapping_add(n as i64), 0),
            FieldKind::Random { min, max, length } => {
                (min + rng.below((max - min) as u64 + 1) as i64, length)
            }
        };
        match &self.ty {
            SqlType::Bool => (value % 2 == 0).to_string(),
            SqlType::Text | SqlType::Varchar(_) | SqlType::Bpchar(_) if length > 0 => {
                (0..length).map(|_| char::from(b'a' + rng.below(26) as u8)).collect()
            }
            SqlType::Date => moment(value * 86_400).0,
            SqlType::Time => moment(value).1,
            SqlType::Timestamp | SqlType::Timestamptz => {
                let (date, time) = moment(n as i64);
                format!("{date} {time}")
            }
            SqlType::Interval => format!("{value} seconds"),
            SqlType::Uuid => format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64()),
            SqlType::Bytea => format!("\\x{:016x}", rng.next_u64()),
            SqlType::Json | SqlType::Jsonb => format!("{{\"value\": {value}}}"),
            _ => value.to_string(),
        }
    }
}

/// Date and time, `seconds` after the start.
fn moment(seconds: i64) -> (String, String) {
    let at = chrono::DateTime::from_timestamp(START_SECONDS + seconds, 0).unwrap_or_default();
    (at.format("%Y-%m-%d").to_string(), at.format("%H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int32Type;

    use super::*;

    fn column(id: u16, name: &str, ty: SqlType) -> Column {
        Column { id, name: name.into(), ty, nullable: true }
    }

    #[test]
    fn every_type_can_be_made_and_the_first_column_counts() {
        let columns = [
            column(1, "id", SqlType::Int4),
            column(2, "t", SqlType::Text),
            column(3, "ts", SqlType::Timestamptz),
            column(4, "u", SqlType::Uuid),
            column(5, "j", SqlType::Jsonb),
            column(6, "f", SqlType::Float8),
        ];
        let source = create(&BTreeMap::new(), &columns).unwrap();
        let mut reader = source.reader(&[0, 1, 2, 3, 4, 5]).unwrap();
        reader.start(&SplitRange { split: "events".into(), from: 10, to: 14 }).unwrap();
        let batch = reader.next(100).unwrap().unwrap();
        assert_eq!(batch.columns()[0].as_primitive::<Int32Type>().values(), &[10, 11, 12, 13]);
        assert!(reader.next(100).unwrap().is_none());
    }
}
