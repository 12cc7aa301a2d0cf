//! `nexmark`: the auction benchmark's event stream, as three sources that share one sequence of events.
//!
//! In every 50 events, event 0 is a person, events 1–3 are auctions, the other 46 are bids (Nexmark: Tucker et
//! al. 2002, with the proportions and distributions of the public suite that Beam and Flink use). Event `n`
//! happens at `start_time + n · 100 µs`. A source yields the rows of one kind; a column that no query reads is
//! not made.

mod event;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use weir_common::{ChangeBatch, Column, Error, Result, SqlType};

use crate::generator::{self, Pace, no_such_field};
use crate::options::Options;
use crate::source::{Discovery, ReadProgress, Reading, Source, SourceOffsets, SplitRange, SplitReader};
use event::Kind;

const OPTIONS: [&str; 4] = ["table", "events", "rate", "seed"];

/// The source of one kind of event.
pub struct Nexmark {
    kind: Kind,
    pace: Pace,
    seed: u64,
    /// For each column, the field that it shows and its declared type.
    columns: Vec<(usize, Column)>,
}

/// The columns that a nexmark source has when the user names none.
pub fn columns(given: &BTreeMap<String, String>) -> Result<Vec<Column>> {
    let kind = kind(&Options::checked(given, &OPTIONS, &[])?)?;
    let column = |(i, (name, ty)): (usize, &(&str, SqlType))| Column {
        id: i as u16 + 1,
        name: (*name).to_owned(),
        ty: ty.clone(),
        nullable: true,
    };
    Ok(kind.fields().iter().enumerate().map(column).collect())
}

/// The source that the options describe.
pub fn create(given: &BTreeMap<String, String>, columns: &[Column]) -> Result<Arc<dyn Source>> {
    let options = Options::checked(given, &OPTIONS, &[])?;
    let kind = kind(&options)?;
    let fields = kind.fields();
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let resolve = |column: &Column| {
        let field = names.iter().position(|name| *name == column.name);
        field
            .map(|field| (field, column.clone()))
            .ok_or_else(|| no_such_field("nexmark", &column.name, &names))
    };
    let columns = columns.iter().map(resolve).collect::<Result<_>>()?;
    let (pace, seed) = (Pace::from_options(&options)?, options.number("seed")?.unwrap_or(0));
    Ok(Arc::new(Nexmark { kind, pace, seed, columns }))
}

fn kind(options: &Options<'_>) -> Result<Kind> {
    options.required("table")?;
    let word = options.choice("table", &["person", "auction", "bid"])?;
    Ok(match word {
        Some("person") => Kind::Person,
        Some("auction") => Kind::Auction,
        _ => Kind::Bid,
    })
}

impl Source for Nexmark {
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
        let columns: Vec<(usize, DataType)> = project
            .iter()
            .map(|p| self.columns.get(*p).map(|(field, column)| (*field, column.ty.arrow())))
            .collect::<Option<_>>()
            .ok_or_else(|| Error::internal("a projection beyond the columns of a nexmark source"))?;
        let field = |(i, (_, ty)): (usize, &(usize, DataType))| Field::new(format!("c{i}"), ty.clone(), true);
        let schema = Arc::new(Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>()));
        Ok(Box::new(Reader { kind: self.kind, seed: self.seed, columns, schema, at: 0, to: 0, rows: 0 }))
    }
}

struct Reader {
    kind: Kind,
    seed: u64,
    columns: Vec<(usize, DataType)>,
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
        let numbers = loop {
            if self.at >= self.to {
                return Ok(None);
            }
            let (numbers, next) = self.kind.numbers(self.at, self.to, batch_rows);
            self.at = next;
            if !numbers.is_empty() {
                break numbers;
            }
        };
        self.rows += numbers.len() as u64;
        let made =
            event::columns(self.kind, self.seed, &numbers, self.columns.iter().map(|(field, _)| *field));
        let arrays = made.into_iter().zip(&self.columns).map(|(array, (_, ty))| typed(array, ty));
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        let rows: RecordBatch =
            weir_common::change::record_batch(self.schema.clone(), arrays, numbers.len())?;
        Ok(Some(ChangeBatch::inserts(rows)))
    }

    fn position(&self) -> u64 {
        self.at
    }

    fn take_progress(&mut self) -> ReadProgress {
        ReadProgress { rows: std::mem::take(&mut self.rows), ..ReadProgress::default() }
    }
}

/// The field as the column's declared type.
fn typed(array: ArrayRef, ty: &DataType) -> Result<ArrayRef> {
    if array.data_type() == ty {
        return Ok(array);
    }
    cast(&array, ty).map_err(|e| Error::new(weir_common::SqlState::DATATYPE_MISMATCH, e.to_string()))
}

#[cfg(test)]
mod tests;
