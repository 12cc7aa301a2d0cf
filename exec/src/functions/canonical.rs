//! Canonical intervals: one for all that are equal, as `30 days` for `1 mon`.
//!
//! PostgreSQL compares intervals by their length; Arrow and DataFusion compare them field by field, which is the same for
//! canonical ones. So the binder puts [`CANONICAL`] around an interval, or an array of them, wherever DataFusion would
//! compare it: in GROUP BY, DISTINCT, ORDER BY, IN, between arrays.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::datatypes::{DataType, IntervalMonthDayNanoType};
use weir_common::key::canonical_interval;

use super::registry::{Returns, Table};

/// The UDF that makes an interval, or those of an array, canonical.
pub const CANONICAL: &str = "canonical_interval";

pub(crate) fn register(t: &mut Table) {
    t.unnamed(CANONICAL, 1, Returns::SameAs(0), |call| Ok(canonical(call.array(0).0)));
}

/// Whether equal values of this type may differ: intervals, and arrays of them.
pub fn holds_interval(ty: &DataType) -> bool {
    match ty {
        DataType::List(element) => holds_interval(element.data_type()),
        other => matches!(other, DataType::Interval(_)),
    }
}

/// The values with canonical intervals; those of other types as they are.
pub(crate) fn canonical(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Interval(_) => {
            let intervals = array.as_primitive::<IntervalMonthDayNanoType>();
            Arc::new(intervals.unary::<_, IntervalMonthDayNanoType>(canonical_interval))
        }
        DataType::List(element) if holds_interval(element.data_type()) => {
            let lists = array.as_list::<i32>();
            let values = canonical(lists.values());
            Arc::new(ListArray::new(element.clone(), lists.offsets().clone(), values, lists.nulls().cloned()))
        }
        _ => array.clone(),
    }
}
