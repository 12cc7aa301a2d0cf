//! Where sequences stand.
//!
//! A value is handed out only after the log says that it may have been: values are reserved in blocks that grow
//! while they are used up fast. So no value is ever given twice, whenever the server dies; what was reserved and
//! not used is skipped then. Rolling back gives nothing back, as in PostgreSQL.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use weir_common::{Error, ObjectId, Result, SqlState};

use crate::object::SequenceDef;

/// Values that the first reservation covers, and that the largest does.
const BLOCK_MIN: usize = 32;
const BLOCK_MAX: usize = 8192;

/// How far a sequence is: its last value, or its first when it was never called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequencePoint {
    pub last_value: i64,
    pub is_called: bool,
}

impl SequencePoint {
    fn next(self, def: &SequenceDef) -> Option<SequencePoint> {
        let value = if self.is_called { def.after(self.last_value)? } else { self.last_value };
        Some(SequencePoint { last_value: value, is_called: true })
    }
}

/// One sequence.
struct State {
    point: SequencePoint,
    /// Values after `point` that the log covers.
    reserved: usize,
    /// Values to reserve next.
    block: usize,
}

/// All sequences that have moved.
#[derive(Default)]
pub(crate) struct Sequences(HashMap<ObjectId, State>);

/// Values to be handed out, and what the log must say before.
pub(crate) struct Drawn {
    pub values: Vec<i64>,
    pub log: Option<SequencePoint>,
    state: State,
}

impl Sequences {
    /// The next values of a sequence; nothing has moved until [`Sequences::take`].
    pub(crate) fn draw(&self, id: ObjectId, name: &str, def: &SequenceDef, count: usize) -> Result<Drawn> {
        let (mut point, reserved, block) = match self.0.get(&id) {
            Some(state) => (state.point, state.reserved, state.block),
            None => (SequencePoint { last_value: def.start, is_called: false }, 0, BLOCK_MIN),
        };
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            point = point.next(def).ok_or_else(|| exhausted(name, def))?;
            values.push(point.last_value);
        }
        if count <= reserved {
            let state = State { point, reserved: reserved - count, block };
            return Ok(Drawn { values, log: None, state });
        }
        let (mut covered, mut ahead) = (point, 0);
        while ahead < block
            && let Some(next) = covered.next(def)
        {
            (covered, ahead) = (next, ahead + 1);
        }
        let state = State { point, reserved: ahead, block: (block * 2).min(BLOCK_MAX) };
        Ok(Drawn { values, log: Some(covered), state })
    }

    /// The values are handed out; the log says so.
    pub(crate) fn take(&mut self, id: ObjectId, drawn: Drawn) -> Vec<i64> {
        self.0.insert(id, drawn.state);
        drawn.values
    }

    /// The sequence is here; the log says so.
    pub(crate) fn set(&mut self, id: ObjectId, point: SequencePoint) {
        self.0.insert(id, State { point, reserved: 0, block: BLOCK_MIN });
    }

    /// Where a sequence is; `None` at its start.
    pub(crate) fn point(&self, id: ObjectId) -> Option<SequencePoint> {
        self.0.get(&id).map(|state| state.point)
    }

    /// Forgets a sequence that was dropped.
    pub(crate) fn forget(&mut self, id: ObjectId) {
        self.0.remove(&id);
    }

    /// Where all are.
    pub(crate) fn points(&self) -> Vec<(ObjectId, SequencePoint)> {
        let mut points: Vec<_> = self.0.iter().map(|(id, state)| (*id, state.point)).collect();
        points.sort_by_key(|(id, _)| *id);
        points
    }
}

fn exhausted(name: &str, def: &SequenceDef) -> Error {
    let (which, value) = if def.increment > 0 { ("maximum", def.max) } else { ("minimum", def.min) };
    let message = format!("nextval: reached {which} value of sequence \"{name}\" ({value})");
    Error::new(SqlState::SEQUENCE_GENERATOR_LIMIT_EXCEEDED, message)
}

#[cfg(test)]
mod tests {
    use weir_common::SqlType;

    use super::*;

    fn def(increment: i64, min: i64, max: i64, cycle: bool) -> SequenceDef {
        let start = if increment > 0 { min } else { max };
        SequenceDef { ty: SqlType::Int8, start, increment, min, max, cycle, owned_by: None }
    }

    fn draw(sequences: &mut Sequences, def: &SequenceDef, count: usize) -> Result<Vec<i64>> {
        let drawn = sequences.draw(ObjectId(1), "s", def, count)?;
        Ok(sequences.take(ObjectId(1), drawn))
    }

    #[test]
    fn values_follow_each_other_up_and_down() {
        let mut up = Sequences::default();
        assert_eq!(draw(&mut up, &def(2, 1, 7, false), 3).unwrap(), [1, 3, 5]);
        assert_eq!(draw(&mut up, &def(2, 1, 7, false), 1).unwrap(), [7]);
        let error = draw(&mut up, &def(2, 1, 7, false), 1).unwrap_err();
        assert_eq!(error.message(), "nextval: reached maximum value of sequence \"s\" (7)");
        let mut down = Sequences::default();
        assert_eq!(draw(&mut down, &def(-1, -2, -1, true), 4).unwrap(), [-1, -2, -1, -2]);
    }

    #[test]
    fn what_the_log_covers_is_never_given_again() {
        let def = def(1, 1, i64::MAX, false);
        let mut sequences = Sequences::default();
        let mut logged = None;
        for count in [1, 5, 40, 1, 100, 1000, 1] {
            let drawn = sequences.draw(ObjectId(1), "s", &def, count).unwrap();
            logged = drawn.log.or(logged);
            let last = *sequences.take(ObjectId(1), drawn).last().unwrap();
            assert!(logged.is_some_and(|point| point.last_value >= last), "{last} is not covered");
        }
        let mut recovered = Sequences::default();
        recovered.set(ObjectId(1), logged.unwrap());
        assert!(draw(&mut recovered, &def, 1).unwrap()[0] > 1148);
    }
}
