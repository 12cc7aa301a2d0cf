//! Matching where rows count their matches by a filter: like `probe.rs`, but a pair passes whatever it weighs.
//!
//! A row that is there 0 times may come back within the epoch, so its matches are counted on: pairs are found and
//! filtered once, then counted on both sides, then repeated by their weight for the output.

use arrow::array::{Array, ArrayRef, AsArray};
use weir_common::{Error, Result};

use super::HashJoin;
use super::layout::Place;
use super::probe::{Pairs, Probe};
use crate::operator::{Flow, Output};
use crate::operators::BATCH_ROWS;
use crate::state::NONE;

impl HashJoin {
    /// Matches and counts until the batch is through or the fuel is used up.
    pub(super) fn advance_counted(&mut self, probe: &mut Probe, out: &mut Output) -> Result<Flow> {
        while let Some(mut pairs) = probe.candidates(&self.sides[1 - probe.side]) {
            out.fuel -= pairs.rows.len() as i64;
            self.keep_passing(probe, &mut pairs)?;
            let weights = self.count(probe, &pairs);
            if self.kind.emits_pairs() {
                let mut repeated = Pairs::default();
                for (pair, weight) in weights.into_iter().enumerate() {
                    repeated.push(pairs.rows[pair], pairs.slots[pair], weight);
                }
                let found = repeated.rows.len();
                for from in (0..found).step_by(BATCH_ROWS) {
                    self.emit(probe, repeated.slice(from, found.min(from + BATCH_ROWS)), out)?;
                }
            }
            if out.fuel <= 0 {
                return Ok(Flow::Yield);
            }
        }
        Ok(Flow::Done)
    }

    /// Counts pairs on both sides; what each of them weighs.
    fn count(&mut self, probe: &Probe, pairs: &Pairs) -> Vec<i32> {
        let [left, right] = &mut self.sides;
        let (own, other) = if probe.side == 0 { (left, right) } else { (right, left) };
        let mut weights = Vec::with_capacity(pairs.rows.len());
        for (row, slot) in pairs.rows.iter().zip(&pairs.slots) {
            let (op, weight) = (i32::from(probe.op(*row)), other.weight(*slot));
            if let Some(preserved) = &mut other.preserved {
                preserved.add(*slot, weight, i64::from(op));
            }
            if let Some(preserved) = &mut own.preserved {
                preserved.add_to_fresh(*row, weight);
            }
            weights.push(op * weight);
        }
        weights
    }

    /// Counts the matches of all restored rows.
    pub(super) fn recount(&mut self) -> Result<()> {
        let counts = |side: &usize| self.sides[*side].preserved.as_ref().is_some_and(|p| p.matches.is_some());
        let Some(side) = (0..2).find(counts) else { return Ok(()) };
        let (mut slots, mut others) = (Vec::new(), Vec::new());
        for slot in self.sides[side].live_slots() {
            let mut other = self.sides[1 - side].head(self.sides[side].key_of(slot));
            while other != NONE {
                slots.push(slot);
                others.push(other);
                other = self.sides[1 - side].next(other);
                if slots.len() >= BATCH_ROWS {
                    self.recount_pairs(side, &mut slots, &mut others)?;
                }
            }
        }
        self.recount_pairs(side, &mut slots, &mut others)
    }

    /// Counts these pairs of a slot of `side` and one of the other.
    fn recount_pairs(&mut self, side: usize, slots: &mut Vec<u32>, others: &mut Vec<u32>) -> Result<()> {
        let Some(filter) = &self.filter else { return Ok(()) };
        let column = |(at, column): (usize, usize)| self.pair_column(side, at, column, slots, others);
        let columns =
            self.layout.filter_columns().into_iter().map(column).collect::<Result<Vec<ArrayRef>>>()?;
        let passed = filter.evaluate(&columns, slots.len())?;
        let passed =
            passed.as_boolean_opt().ok_or_else(|| Error::internal("a join filter is not boolean"))?.clone();
        for (pair, (slot, other)) in slots.iter().zip(others.iter()).enumerate() {
            if passed.is_null(pair) || !passed.value(pair) {
                continue;
            }
            for (at, own, matched) in [(side, *slot, *other), (1 - side, *other, *slot)] {
                let weight = i64::from(self.sides[1 - at].weight(matched));
                let matches = self.sides[at].preserved.as_mut().and_then(|p| p.matches.as_mut());
                if let Some(matches) = matches {
                    matches[own as usize] += weight;
                }
            }
        }
        slots.clear();
        others.clear();
        Ok(())
    }

    fn pair_column(
        &self,
        side: usize,
        at: usize,
        column: usize,
        slots: &[u32],
        others: &[u32],
    ) -> Result<ArrayRef> {
        if at == side {
            return self.stored_column(side, column, slots);
        }
        match self.layout.place(at, column) {
            Place::Stored(stored) => self.sides[at].rows.gather(stored, others),
            // The pair's rows have equal keys.
            Place::Key(position) => self.stored_key(side, position, slots),
        }
    }

    fn stored_key(&self, side: usize, position: usize, slots: &[u32]) -> Result<ArrayRef> {
        let ids: Vec<u32> = slots.iter().map(|slot| self.sides[side].key_of(*slot)).collect();
        Ok(self.keys.gather(&ids)?.swap_remove(position))
    }
}
