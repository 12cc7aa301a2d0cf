//! `Measures`: the output rows of matches: columns of the input beside values computed of the match.
//!
//! ```text
//!   matches ─► output rows: (match, row, how many rows of the match count) ─► for each input of a measure the row that it
//!           is of ─► gathered columns ─► the measures, all rows at once
//! ```

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, StringArray, UInt32Array};
use arrow::compute::{concat, nullif, take};
use arrow::datatypes::DataType;
use weir_common::{Error, Result};

use super::aggregate::Accumulation;
use super::matches::Found;
use super::rows::{Rows, presence};
use crate::compile::{CompiledExpr, compile};
use crate::spec::{
    ChangelogMode, Logical, MatchAggregate, MatchInput, Measure, Navigation, RowPattern, RowsPerMatch,
    VariableSet,
};

/// What is computed of matches.
pub(super) struct Measures {
    names: Vec<String>,
    measures: Vec<(Measure, CompiledExpr)>,
    project: Vec<usize>,
    rows: RowsPerMatch,
    input: Vec<DataType>,
}

/// A row of the output.
#[derive(Clone, Copy)]
struct OutputRow {
    /// Which match.
    of: u32,
    /// The row whose columns are shown.
    row: u32,
    /// So many rows of the match are there for what is RUNNING.
    seen: u32,
}

impl Measures {
    pub fn new(spec: &RowPattern, input: &[DataType]) -> Result<Measures> {
        let compiled = spec.measures.iter().map(|measure| {
            let types = measure.value.inputs.iter().map(|value| value.data_type(input));
            let types = types.collect::<Option<Vec<_>>>();
            let types = types.ok_or_else(|| Error::internal("a measure reads a column that is not there"))?;
            let expr = compile(&measure.value.expr, &types)?;
            Ok((measure.clone(), expr))
        });
        Ok(Measures {
            names: spec.variables.iter().map(|variable| variable.name.clone()).collect(),
            measures: compiled.collect::<Result<_>>()?,
            project: spec.project.clone(),
            rows: spec.rows,
            input: input.to_vec(),
        })
    }

    /// The columns of the output of matches, and how many rows they have.
    pub fn output(&self, rows: &Rows, found: &[Found]) -> Result<(Vec<ArrayRef>, usize)> {
        let output = self.output_rows(found);
        let shown = UInt32Array::from_iter_values(output.iter().map(|output| output.row));
        let columns = self.project.iter().map(|column| rows.take(*column, &shown));
        let mut columns = columns.collect::<Result<Vec<_>>>()?;
        let unmatched = output.iter().map(|output| found[output.of as usize].number.is_none());
        let unmatched = BooleanArray::from_iter(unmatched.map(Some));
        let gather = Gather { names: &self.names, rows, found, output: &output, input: &self.input };
        for (measure, expr) in &self.measures {
            let inputs = measure.value.inputs.iter().map(|input| gather.values(input));
            let values = expr.evaluate(&inputs.collect::<Result<Vec<_>>>()?, output.len())?;
            columns.push(match unmatched.true_count() {
                0 => values,
                _ => nullif(&values, &unmatched).map_err(Error::internal)?,
            });
        }
        Ok((columns, output.len()))
    }

    fn output_rows(&self, found: &[Found]) -> Vec<OutputRow> {
        let mut output = Vec::new();
        for (of, found) in (0..).zip(found) {
            let (start, rows) = (found.start as u32, found.labels.len() as u32);
            match self.rows {
                RowsPerMatch::One => output.push(OutputRow { of, row: start, seen: rows }),
                RowsPerMatch::All { empty, .. } if rows == 0 => {
                    if empty || found.number.is_none() {
                        output.push(OutputRow { of, row: start, seen: 0 });
                    }
                }
                RowsPerMatch::All { .. } => {
                    let shown = (0..rows).filter(|at| !found.labels[*at as usize].is_excluded);
                    output.extend(shown.map(|at| OutputRow { of, row: start + at, seen: at + 1 }));
                }
            }
        }
        output
    }
}

/// Values of matches for output rows.
struct Gather<'a> {
    names: &'a [String],
    rows: &'a Rows,
    found: &'a [Found],
    output: &'a [OutputRow],
    input: &'a [DataType],
}

impl Gather<'_> {
    fn values(&self, input: &MatchInput) -> Result<ArrayRef> {
        match input {
            MatchInput::Column { column, at } => self.rows.take(*column, &self.places(at)),
            MatchInput::Present(at) => presence(&self.places(at)),
            MatchInput::Classifier(at) => Ok(self.classifiers(at)),
            MatchInput::MatchNumber => {
                let numbers = self.output.iter().map(|output| self.found[output.of as usize].number);
                Ok(Arc::new(numbers.collect::<Int64Array>()))
            }
            MatchInput::Aggregate(aggregate) if aggregate.is_final || self.are_complete() => {
                self.final_aggregate(aggregate)
            }
            MatchInput::Aggregate(aggregate) => self.running_aggregate(aggregate),
        }
    }

    /// Whether each output row is at the end of its match.
    fn are_complete(&self) -> bool {
        let is_complete = |row: &OutputRow| self.found[row.of as usize].labels.len() == row.seen as usize;
        self.output.iter().all(is_complete)
    }

    /// The row that a navigation leads to, for each output row.
    fn places(&self, at: &Navigation) -> UInt32Array {
        let mut mapped = Mapped::new(at.set);
        let places = self.output.iter().map(|output| {
            let found = &self.found[output.of as usize];
            let seen = if at.is_final { found.labels.len() } else { output.seen as usize };
            let place = mapped.place(output.of, found, at.logical, seen)?;
            self.rows.offset(found.start + place, at.offset)
        });
        places.collect()
    }

    /// The variables of the rows that a navigation leads to; NULL outside the match.
    fn classifiers(&self, at: &Navigation) -> ArrayRef {
        let places = self.places(at);
        let names = self.output.iter().zip(&places).map(|(output, place)| {
            let found = &self.found[output.of as usize];
            let label = found.labels.get((place? as usize).checked_sub(found.start)?)?;
            self.names.get(usize::from(label.variable)).map(String::as_str)
        });
        Arc::new(names.collect::<StringArray>())
    }

    /// An aggregate over whole matches.
    fn final_aggregate(&self, aggregate: &MatchAggregate) -> Result<ArrayRef> {
        let mut accumulation = Accumulation::new(aggregate, ChangelogMode::AppendOnly, self.input)?;
        accumulation.resize(self.found.len());
        let mut taken = Taken::default();
        for (of, found) in (0..).zip(self.found) {
            (0..found.labels.len()).for_each(|at| taken.add(self.names, aggregate.set, of, found, at));
        }
        taken.put_into(&mut accumulation, self.rows)?;
        let results = accumulation.results(self.found.len())?;
        let of = UInt32Array::from_iter_values(self.output.iter().map(|output| output.of));
        take(&results, &of, None).map_err(Error::internal)
    }

    /// An aggregate over the rows of a match up to each output row. All matches go forward together, a row at a time,
    /// the longest first, so that those that have ended are the last groups.
    fn running_aggregate(&self, aggregate: &MatchAggregate) -> Result<ArrayRef> {
        let mut accumulation = Accumulation::new(aggregate, ChangelogMode::AppendOnly, self.input)?;
        accumulation.resize(self.found.len());
        let mut by_length: Vec<u32> = (0..self.found.len() as u32).collect();
        let length = |of: u32| self.found[of as usize].labels.len();
        by_length.sort_by_key(|of| std::cmp::Reverse(length(*of)));
        let mut groups = vec![0u32; self.found.len()];
        (0..).zip(&by_length).for_each(|(group, of)| groups[*of as usize] = group);
        // Results of each length so far, and where those of a length begin.
        let mut parts = vec![accumulation.results(self.found.len())?];
        let (mut begins, mut total) = (vec![0], self.found.len());
        for at in 0..by_length.first().map_or(0, |of| length(*of)) {
            let going = by_length.partition_point(|of| length(*of) > at);
            let mut taken = Taken::default();
            for (group, of) in (0..).zip(&by_length[..going]) {
                taken.add(self.names, aggregate.set, group, &self.found[*of as usize], at);
            }
            taken.put_into(&mut accumulation, self.rows)?;
            parts.push(accumulation.results(going)?);
            begins.push(total);
            total += going;
        }
        let parts: Vec<&dyn Array> = parts.iter().map(|part| part.as_ref()).collect();
        let place = |output: &OutputRow| begins[output.seen as usize] as u32 + groups[output.of as usize];
        let places = UInt32Array::from_iter_values(self.output.iter().map(place));
        take(&concat(&parts).map_err(Error::internal)?, &places, None).map_err(Error::internal)
    }
}

/// Rows that an aggregate takes in.
#[derive(Default)]
struct Taken<'a> {
    rows: Vec<u32>,
    names: Vec<&'a str>,
    groups: Vec<u32>,
}

impl<'a> Taken<'a> {
    /// Adds a row of a match, if it is mapped to one of some variables.
    fn add(&mut self, names: &'a [String], set: VariableSet, group: u32, found: &Found, at: usize) {
        let variable = found.labels[at].variable;
        if set.contains(variable) {
            self.rows.push((found.start + at) as u32);
            self.names.push(names.get(usize::from(variable)).map_or("", String::as_str));
            self.groups.push(group);
        }
    }

    fn put_into(self, accumulation: &mut Accumulation, rows: &Rows) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let names = StringArray::from(self.names);
        accumulation.update(rows, &UInt32Array::from(self.rows), names, &self.groups, None)
    }
}

/// The rows of a match that are mapped to some variables, of the match that was asked for last.
struct Mapped {
    set: VariableSet,
    of: Option<u32>,
    rows: Vec<u32>,
}

impl Mapped {
    fn new(set: VariableSet) -> Mapped {
        Mapped { set, of: None, rows: Vec::new() }
    }

    /// The row of a match that is counted from an end of those mapped among the first `seen`.
    fn place(&mut self, of: u32, found: &Found, logical: Logical, seen: usize) -> Option<usize> {
        if self.set == VariableSet::ALL {
            return counted(logical, seen);
        }
        if self.of != Some(of) {
            let labels = (0..).zip(&found.labels);
            let mapped = labels.filter(|(_, label)| self.set.contains(label.variable));
            self.rows.clear();
            self.rows.extend(mapped.map(|(at, _)| at));
            self.of = Some(of);
        }
        let mapped = self.rows.partition_point(|at| (*at as usize) < seen);
        counted(logical, mapped).map(|place| self.rows[place] as usize)
    }
}

/// A position among so many.
fn counted(logical: Logical, len: usize) -> Option<usize> {
    match logical {
        Logical::First(n) => Some(n as usize).filter(|n| *n < len),
        Logical::Last(n) => len.checked_sub(n as usize + 1),
    }
}
