//! Alignment: of sources in one `alignment_group` none is read further ahead of the others than its `max_drift`.
//!
//! A fast source beside a slow one fills the state of their joins and windows with rows that wait for the slow one. So
//! the sequencer binds nothing of a split whose event time, as the feeds of any job have found it, is too far ahead of
//! the last one of the group. What is idle, has ended or has no event time yet holds nobody back.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event_time::Alignment;
use crate::source::SourceState;

/// How far the last source of each group is.
pub struct Groups(BTreeMap<String, i64>);

impl Groups {
    /// Of these sources.
    pub fn of(sources: &[Arc<SourceState>]) -> Groups {
        let mut groups = BTreeMap::new();
        for source in sources {
            let Some((alignment, time)) = source.alignment().zip(source.slowest_time()) else { continue };
            let last = groups.entry(alignment.group.clone()).or_insert(time);
            *last = time.min(*last);
        }
        Groups(groups)
    }

    /// The event time that splits of a source may have reached and still be read on; `None` without a limit.
    pub fn limit(&self, alignment: Option<&Alignment>) -> Option<i64> {
        let Alignment { group, max_drift } = alignment?;
        Some(self.0.get(group)?.saturating_add(*max_drift))
    }
}
