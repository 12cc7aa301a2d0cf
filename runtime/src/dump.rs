//! `Dump`: the dirty state of a job on its way into a checkpoint, part by part.

use std::collections::BTreeMap;

use weir_storage::backend::WriteBatch;

use crate::moment::Moment;

/// What the fragments of a job on each worker have handed over, and no batch holds yet.
#[derive(Default)]
pub struct Dump {
    parts: BTreeMap<(usize, usize), (Moment, WriteBatch)>,
}

impl Dump {
    /// A part as of `moment`. What it handed over before, after a step that others have passed without taking it for a
    /// checkpoint, since the snapshot was through, becomes durable with this.
    pub fn add(&mut self, part: (usize, usize), moment: Moment, writes: WriteBatch) {
        let held = self.parts.entry(part).or_default();
        held.0 = moment;
        held.1.append(writes);
    }

    /// The moment that all of so many parts are of.
    pub fn moment(&self, parts: usize) -> Option<Moment> {
        let mut moments = self.parts.values().map(|(moment, _)| *moment);
        let first = moments.next()?;
        (self.parts.len() == parts && moments.all(|moment| moment == first)).then_some(first)
    }

    /// Puts all of it into a batch.
    pub fn take(&mut self, batch: &mut WriteBatch) {
        std::mem::take(&mut self.parts).into_values().for_each(|(_, part)| batch.append(part));
    }
}

#[cfg(test)]
mod tests {
    use weir_common::Epoch;
    use weir_storage::backend::Keyspace;

    use super::*;

    fn writes(key: &[u8]) -> WriteBatch {
        let mut batch = WriteBatch::default();
        batch.put(Keyspace::State, key, b"");
        batch
    }

    #[test]
    fn a_step_that_only_some_took_is_written_with_the_next_checkpoint() {
        let (step, end) = (Moment::new(Epoch(3), 7), Moment::end_of(Epoch(4)));
        let mut dump = Dump::default();
        dump.add((0, 0), step, writes(b"a"));
        dump.add((0, 0), end, writes(b"b"));
        assert_eq!(dump.moment(2), None);
        dump.add((0, 1), step, writes(b"c"));
        assert_eq!(dump.moment(2), None);
        dump.add((0, 1), end, writes(b"d"));
        assert_eq!((dump.moment(2), dump.moment(3)), (Some(end), None));
        let mut batch = WriteBatch::default();
        dump.take(&mut batch);
        let mut count = 0;
        batch.for_each(|_| count += 1);
        assert_eq!((count, dump.moment(2)), (4, None));
    }
}
