//! Which keys of a relation the conditions of a query leave: points, or ranges over leading columns.
//!
//! ```text
//!   key (a, b, c)     a = 1 AND b IN (2, 3) AND c > 4      two ranges: 1,2,4… and 1,3,4…
//!                     a > 5                                 one range
//!                     b = 2                                 none: the whole relation
//! ```
//! Place in the flow: a scan asks here what it may leave unread. The conditions stay above the scan in any case, so a
//! range may only ever hold too much. Invariant: a range holds the key of every row that meets the conditions; the
//! encoding of keys orders values as the comparisons of conditions do.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Between, BinaryExpr, Cast, Expr, Operator};
use weir_common::Result;
use weir_common::key::{KeyEncoder, KeyRange, after_prefix};

/// Ranges that one scan may be split into; more are cheaper as one.
const RANGES_MAX: usize = 1_024;

/// A column of a key, as conditions name it.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyColumn {
    /// Over the relation's columns by name.
    expr: Expr,
    ty: DataType,
}

impl KeyColumn {
    /// What an expression over the relation's columns, by name alone, gives.
    pub fn new(expr: Expr, ty: DataType) -> KeyColumn {
        KeyColumn { expr, ty }
    }

    fn named(name: &str, ty: DataType) -> KeyColumn {
        KeyColumn::new(Expr::Column(Column::new_unqualified(name)), ty)
    }

    /// Whether an expression of a condition is this column.
    fn is(&self, expr: &Expr) -> bool {
        match (&self.expr, expr) {
            (Expr::Column(own), Expr::Column(named)) => own.name == named.name,
            (Expr::Column(_), _) | (_, Expr::Column(_)) => false,
            (own, _) => by_name(expr).is_ok_and(|expr| expr == *own),
        }
    }
}

/// The expression with its columns by name alone, and without names of its own.
fn by_name(expr: &Expr) -> datafusion::error::Result<Expr> {
    let bare = |e: Expr| match e {
        Expr::Column(column) if column.relation.is_some() => {
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(column.name))))
        }
        other => Ok(Transformed::no(other)),
    };
    expr.clone().transform(bare).map(|transformed| transformed.data)
}

/// What a key's ranges are worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// In order, none touching another.
    pub ranges: Vec<KeyRange>,
    /// Leading columns that are fixed by equality.
    pub fixed: usize,
    /// Whether the column after those is bounded.
    pub bounded: bool,
}

/// What conditions say of one column.
#[derive(Clone, Debug, Default)]
struct Bounds {
    /// The values it may have.
    equal: Option<Vec<ScalarValue>>,
    /// The least value, and whether it is one itself.
    low: Option<(ScalarValue, bool)>,
    /// The greatest.
    high: Option<(ScalarValue, bool)>,
}

/// The ranges that the conditions, all of which hold, leave of a key; `None` when they leave all of it.
pub fn access(conditions: &[Expr], key: &[KeyColumn]) -> Result<Option<Access>> {
    let mut prefixes: Vec<Vec<ScalarValue>> = vec![Vec::new()];
    let mut fixed = 0;
    let mut next = Bounds::default();
    for column in key {
        let bounds = Bounds::of(column, conditions);
        let Some(values) = bounds.equal.as_ref().filter(|v| prefixes.len() * v.len() <= RANGES_MAX) else {
            next = bounds;
            break;
        };
        let with = |prefix: &Vec<ScalarValue>| {
            let longer = |value: &ScalarValue| prefix.iter().chain([value]).cloned().collect();
            values.iter().map(longer).collect::<Vec<_>>()
        };
        prefixes = prefixes.iter().flat_map(with).collect();
        fixed += 1;
    }
    let bounded = next.low.is_some() || next.high.is_some();
    if fixed == 0 && !bounded {
        return Ok(None);
    }
    let mut ranges = Vec::with_capacity(prefixes.len());
    for prefix in &prefixes {
        let whole = KeyRange::of_prefix(&encode(key, prefix, None)?);
        ranges.push(whole.and(next.range(key, prefix)?));
    }
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable();
    ranges.dedup();
    Ok(Some(Access { ranges, fixed, bounded }))
}

/// The conjuncts of a condition.
pub fn conjuncts(condition: &Expr) -> Vec<Expr> {
    datafusion::logical_expr::utils::split_conjunction(condition).into_iter().cloned().collect()
}

impl Bounds {
    fn of(column: &KeyColumn, conditions: &[Expr]) -> Bounds {
        let mut bounds = Bounds::default();
        if !is_ordered(&column.ty) {
            return bounds;
        }
        for condition in conditions {
            bounds.take(column, condition);
        }
        bounds
    }

    fn take(&mut self, column: &KeyColumn, condition: &Expr) {
        if let Some(values) = equal_values(condition, column) {
            let is_better = self.equal.as_ref().is_none_or(|known| values.len() < known.len());
            if is_better {
                self.equal = Some(values);
            }
            return;
        }
        match condition {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                self.take(column, left);
                self.take(column, right);
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let Some((op, value)) = comparison(left, *op, right, column) else { return };
                match op {
                    Operator::Gt => self.at_least(value, false),
                    Operator::GtEq => self.at_least(value, true),
                    Operator::Lt => self.at_most(value, false),
                    Operator::LtEq => self.at_most(value, true),
                    _ => {}
                }
            }
            Expr::Between(Between { expr, negated: false, low, high }) => {
                if let Some((_, value)) = comparison(expr, Operator::GtEq, low, column) {
                    self.at_least(value, true);
                }
                if let Some((_, value)) = comparison(expr, Operator::LtEq, high, column) {
                    self.at_most(value, true);
                }
            }
            _ => {}
        }
    }

    fn at_least(&mut self, value: ScalarValue, inclusive: bool) {
        let is_tighter = self.low.as_ref().is_none_or(|(known, _)| value > *known);
        if is_tighter {
            self.low = Some((value, inclusive));
        }
    }

    fn at_most(&mut self, value: ScalarValue, inclusive: bool) {
        let is_tighter = self.high.as_ref().is_none_or(|(known, _)| value < *known);
        if is_tighter {
            self.high = Some((value, inclusive));
        }
    }

    /// The keys with these leading values whose next column is within the bounds.
    fn range(&self, key: &[KeyColumn], prefix: &[ScalarValue]) -> Result<KeyRange> {
        let mut range = KeyRange::default();
        if let Some((value, inclusive)) = &self.low {
            let bytes = encode(key, prefix, Some(value))?;
            match (*inclusive, after_prefix(&bytes)) {
                (false, Some(after)) => range.start = after,
                _ => range.start = bytes,
            }
        }
        if let Some((value, inclusive)) = &self.high {
            let bytes = encode(key, prefix, Some(value))?;
            range.end = if *inclusive { after_prefix(&bytes) } else { Some(bytes) };
        }
        Ok(range)
    }
}

/// Whether values of the type compare as their keys do.
fn is_ordered(ty: &DataType) -> bool {
    !matches!(ty, DataType::List(_) | DataType::Interval(_) | DataType::Null)
}

/// The encoding of a key's first columns.
fn encode(key: &[KeyColumn], prefix: &[ScalarValue], last: Option<&ScalarValue>) -> Result<Vec<u8>> {
    let values: Vec<&ScalarValue> = prefix.iter().chain(last).collect();
    let types: Vec<DataType> = key.iter().take(values.len()).map(|column| column.ty.clone()).collect();
    let arrays = values.iter().map(|value| value.to_array_of_size(1));
    let arrays: Vec<ArrayRef> =
        arrays.collect::<Result<_, _>>().map_err(weir_exec::error::from_datafusion)?;
    let keys = KeyEncoder::new(&types)?.encode_rows(&arrays, 1)?;
    Ok(keys.row(0).to_vec())
}

/// The values that a condition allows for the column, when it is nothing but equality with literals: `c = 1`,
/// `c IN (1, 2)`, `c = 1 OR c = 2`.
fn equal_values(condition: &Expr, column: &KeyColumn) -> Option<Vec<ScalarValue>> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            comparison(left, Operator::Eq, right, column).map(|(_, value)| vec![value])
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let mut values = equal_values(left, column)?;
            values.extend(equal_values(right, column)?);
            Some(values)
        }
        Expr::InList(list) if !list.negated => list
            .list
            .iter()
            .map(|item| comparison(&list.expr, Operator::Eq, item, column).map(|(_, value)| value))
            .collect(),
        _ => None,
    }
}

/// `column op value`, however it is written, with the value in the column's type.
fn comparison(
    left: &Expr,
    op: Operator,
    right: &Expr,
    column: &KeyColumn,
) -> Option<(Operator, ScalarValue)> {
    let (op, value) = match (left, right) {
        (Expr::Literal(value, _), e) if is_column(e, column) => (op.swap()?, value),
        (e, Expr::Literal(value, _)) if is_column(e, column) => (op, value),
        _ => return None,
    };
    Some((op, in_type(value, &column.ty)?))
}

/// The column itself, or widened to be compared.
fn is_column(expr: &Expr, column: &KeyColumn) -> bool {
    match expr {
        e if column.is(e) => true,
        Expr::Cast(Cast { expr, field }) => column.is(expr) && is_widening(&column.ty, field.data_type()),
        _ => false,
    }
}

/// Whether a cast keeps every value and their order.
fn is_widening(from: &DataType, to: &DataType) -> bool {
    use DataType::{Decimal128, Int16, Int32, Int64};
    match (from, to) {
        (Int16, Int32 | Int64) | (Int32, Int64) => true,
        (Decimal128(_, from), Decimal128(_, to)) => from <= to,
        _ => false,
    }
}

/// The value in the column's type, when it is one of it.
fn in_type(value: &ScalarValue, ty: &DataType) -> Option<ScalarValue> {
    if value.is_null() {
        return None;
    }
    if value.data_type() == *ty {
        return Some(value.clone());
    }
    if !is_widening(ty, &value.data_type()) {
        return None;
    }
    let narrow = value.cast_to(ty).ok().filter(|narrow| !narrow.is_null())?;
    let is_same = narrow.cast_to(&value.data_type()).ok()? == *value;
    is_same.then_some(narrow)
}

/// The names and types of a key's columns.
pub fn key_columns(schema: &arrow::datatypes::Schema, positions: &[usize]) -> Vec<KeyColumn> {
    let column = |position: &usize| {
        let field: &Arc<arrow::datatypes::Field> = &schema.fields()[*position];
        KeyColumn::named(field.name(), field.data_type().clone())
    };
    positions.iter().map(column).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, Int32Array, Int64Array};
    use datafusion::prelude::{cast, col, lit};
    use proptest::prelude::*;

    use super::*;

    fn key() -> Vec<KeyColumn> {
        let column = |name: &str| KeyColumn::named(name, DataType::Int32);
        vec![column("a"), column("b")]
    }

    fn stored(a: i32, b: i32) -> Vec<u8> {
        let arrays: Vec<ArrayRef> =
            vec![Arc::new(Int32Array::from(vec![a])), Arc::new(Int32Array::from(vec![b]))];
        let types: Vec<DataType> = arrays.iter().map(|a| a.data_type().clone()).collect();
        KeyEncoder::new(&types).and_then(|e| e.encode(&arrays)).expect("two integers").row(0).to_vec()
    }

    /// The pairs of small numbers whose keys are left, and what they are left by.
    fn left(condition: &Expr) -> Option<(Vec<(i32, i32)>, usize, bool)> {
        let access = access(&conjuncts(condition), &key()).expect("plain types")?;
        let pairs = (-1..6).flat_map(|a| (-1..6).map(move |b| (a, b)));
        let is_left = |(a, b): &(i32, i32)| access.ranges.iter().any(|range| range.contains(&stored(*a, *b)));
        Some((pairs.filter(is_left).collect(), access.fixed, access.bounded))
    }

    #[test]
    fn leading_columns_are_fixed_and_the_next_is_bounded() {
        let both = col("a").eq(lit(1i32)).and(lit(2i32).eq(col("b")));
        assert_eq!(left(&both), Some((vec![(1, 2)], 2, false)));
        let range = col("a").eq(lit(1i32)).and(col("b").gt(lit(3i32)));
        assert_eq!(left(&range), Some((vec![(1, 4), (1, 5)], 1, true)));
        let list = col("a").in_list(vec![lit(1i32), lit(4i32)], false).and(col("b").lt_eq(lit(0i32)));
        assert_eq!(left(&list), Some((vec![(1, -1), (1, 0), (4, -1), (4, 0)], 1, true)));
        let either = col("a").eq(lit(1i32)).or(col("a").eq(lit(2i32))).and(col("b").eq(lit(0i32)));
        assert_eq!(left(&either), Some((vec![(1, 0), (2, 0)], 2, false)));
        let none = col("a").gt(lit(3i32)).and(col("a").lt(lit(2i32)));
        assert_eq!(left(&none), Some((vec![], 0, true)));
    }

    #[test]
    fn what_is_no_bound_of_a_leading_column_leaves_everything() {
        assert_eq!(left(&col("b").eq(lit(1i32))), None);
        assert_eq!(left(&col("a").eq(lit(1i32)).or(col("b").eq(lit(1i32)))), None);
        assert_eq!(left(&col("a").eq(col("b"))), None);
        assert_eq!(left(&col("a").eq(lit(ScalarValue::Int32(None)))), None);
        assert_eq!(left(&col("a").not_eq(lit(1i32))), None);
    }

    #[test]
    fn a_widened_column_is_compared_in_its_own_type() {
        let wide = cast(col("a"), DataType::Int64);
        assert_eq!(left(&wide.clone().eq(lit(1i64))).map(|(rows, ..)| rows.len()), Some(7));
        assert_eq!(left(&wide.eq(lit(1i64 << 40))), None);
        let narrow = cast(col("a"), DataType::Int16);
        assert_eq!(left(&narrow.eq(lit(1i16))), None);
    }

    proptest! {
        #[test]
        fn every_row_that_meets_the_conditions_is_left(
            tests in proptest::collection::vec((any::<bool>(), 0u8..5, 0i32..5), 1..4),
            a in -1i32..6, b in -1i32..6,
        ) {
            let test = |(first, op, value): &(bool, u8, i32)| {
                let (name, own) = if *first { ("a", a) } else { ("b", b) };
                match op {
                    0 => (col(name).eq(lit(*value)), own == *value),
                    1 => (col(name).lt(lit(*value)), own < *value),
                    2 => (col(name).lt_eq(lit(*value)), own <= *value),
                    3 => (lit(*value).lt(col(name)), *value < own),
                    _ => (col(name).between(lit(*value), lit(value + 2)), *value <= own && own <= value + 2),
                }
            };
            let (exprs, meets): (Vec<Expr>, Vec<bool>) = tests.iter().map(test).unzip();
            if let Some(access) = access(&exprs, &key()).expect("plain types") {
                prop_assert!(access.ranges.is_sorted());
                let found = access.ranges.iter().any(|range| range.contains(&stored(a, b)));
                prop_assert!(found || !meets.iter().all(|met| *met));
            }
        }
    }

    #[test]
    fn keys_of_one_column_are_points() {
        let key = vec![KeyColumn::named("k", DataType::Int64)];
        let found = access(&[col("k").eq(lit(7i64))], &key).expect("plain").expect("bounded");
        let bytes = KeyEncoder::new(&[DataType::Int64])
            .and_then(|e| e.encode(&[Arc::new(Int64Array::from(vec![7])) as ArrayRef]))
            .expect("one integer");
        assert_eq!(found.ranges[0].start, bytes.row(0));
    }
}
