//! `KeyRange`: the keys between two bounds, and the bounds that a prefix of the key's columns gives.

/// The keys from `start` on, up to `end` and without it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRange {
    /// The first key; empty for no bound.
    pub start: Vec<u8>,
    /// The key behind the last; `None` for no bound.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// The keys that begin with the encoding of some leading columns.
    pub fn of_prefix(prefix: &[u8]) -> KeyRange {
        KeyRange { start: prefix.to_vec(), end: after_prefix(prefix) }
    }

    /// The keys behind this one.
    pub fn after(key: &[u8]) -> KeyRange {
        KeyRange { start: [key, &[0]].concat(), end: None }
    }

    /// Whether no key can be in it.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Whether the key is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && self.end.as_ref().is_none_or(|end| key < end.as_slice())
    }

    /// The keys that are in both.
    #[must_use]
    pub fn and(self, other: KeyRange) -> KeyRange {
        let end = match (self.end, other.end) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        KeyRange { start: self.start.max(other.start), end }
    }
}

/// The first byte string that is greater than all that begin with this one; `None` when there is none.
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xFF)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(after_prefix(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(after_prefix(&[1, 0xFF]), Some(vec![2]));
        assert_eq!(after_prefix(&[0xFF, 0xFF]), None);
        let range = KeyRange::of_prefix(&[7]);
        assert!(range.contains(&[7]) && range.contains(&[7, 0xFF]) && !range.contains(&[8]));
        assert!(!range.contains(&[6, 0xFF]));
    }

    #[test]
    fn ranges_meet() {
        let left = KeyRange { start: vec![1], end: Some(vec![5]) };
        let right = KeyRange { start: vec![3], end: None };
        let both = left.clone().and(right);
        assert_eq!(both, KeyRange { start: vec![3], end: Some(vec![5]) });
        assert!(both.and(KeyRange { start: vec![6], end: None }).is_empty());
        assert!(!KeyRange::default().is_empty());
        assert_eq!(left.clone().and(KeyRange::default()), left);
    }
}
