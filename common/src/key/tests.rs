//! Keys against a model: byte order is SQL order, equal bytes are equal keys, and decoding gives them back.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray,
    StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Float64Type, Int32Type, IntervalMonthDayNano, IntervalMonthDayNanoType};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

const ORDERS: [KeyOrder; 4] =
    [KeyOrder::Ascending, KeyOrder::AscendingNullsFirst, KeyOrder::Descending, KeyOrder::DescendingNullsLast];

/// Checks every pair of values under every order, beside a second key column that must not matter.
fn check<T>(array: ArrayRef, values: &[Option<T>], compare: impl Fn(&T, &T) -> Ordering) {
    let same: ArrayRef = Arc::new(StringArray::from(vec!["x"; values.len()]));
    for order in ORDERS {
        let columns = [(array.data_type().clone(), order), (same.data_type().clone(), KeyOrder::Ascending)];
        let encoder = KeyEncoder::ordered(&columns).expect("types of keys");
        let keys = encoder.encode(&[array.clone(), same.clone()]).expect("columns of these types");
        for (i, a) in values.iter().enumerate() {
            for (j, b) in values.iter().enumerate() {
                let expected = compare_nullable(order, a, b, &compare);
                assert_eq!(keys.row(i).cmp(keys.row(j)), expected, "{order:?}: {i} and {j} of {array:?}");
            }
        }
        let slices: Vec<&[u8]> = keys.iter().collect();
        let back = encoder.decode(&slices).expect("keys of this encoder");
        assert_eq!(back[0].data_type(), array.data_type());
        let again = encoder.encode(&back).expect("columns of these types");
        assert_eq!(again, keys, "decoding gives an equal value");
    }
    let alone = KeyEncoder::new(&[array.data_type().clone()]).expect("types of keys");
    let keys = alone.encode(std::slice::from_ref(&array)).expect("columns of these types");
    if let Some(width) = alone.fixed_width() {
        assert!(keys.iter().all(|key| key.len() == width));
    }
    let sliced = alone.encode(&[array.slice(1, values.len() - 1)]).expect("columns of these types");
    assert!(sliced.iter().eq(keys.iter().skip(1)), "a slice encodes as the rows it shows");
}

fn compare_nullable<T>(
    order: KeyOrder,
    a: &Option<T>,
    b: &Option<T>,
    compare: &impl Fn(&T, &T) -> Ordering,
) -> Ordering {
    let nulls_first = matches!(order, KeyOrder::AscendingNullsFirst | KeyOrder::Descending);
    let descending = matches!(order, KeyOrder::Descending | KeyOrder::DescendingNullsLast);
    let null_is = if nulls_first { Ordering::Less } else { Ordering::Greater };
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, _) => null_is,
        (_, None) => null_is.reverse(),
        (Some(a), Some(b)) if descending => compare(b, a),
        (Some(a), Some(b)) => compare(a, b),
    }
}

fn sql_float(a: &f64, b: &f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => a.partial_cmp(b).expect("numbers compare"),
    }
}

fn floats() -> impl Strategy<Value = f64> {
    let special =
        [0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 1.0, -1.0];
    prop_oneof![proptest::sample::select(special.to_vec()), any::<f64>()]
}

fn strings() -> impl Strategy<Value = Vec<u8>> {
    vec(proptest::sample::select(vec![0u8, 1, 2, b'a', b'b', 0xFE, 0xFF]), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn integers_and_dates(values in vec(option::of(prop_oneof![any::<i64>(), -3i64..3]), 1..12)) {
        check(Arc::new(Int64Array::from(values.clone())), &values, Ord::cmp);
        let micros = TimestampMicrosecondArray::from(values.clone()).with_timezone("UTC");
        check(Arc::new(micros), &values, Ord::cmp);
        let narrow: Vec<_> = values.iter().map(|value| value.map(|value| value as i32)).collect();
        check(Arc::new(Int32Array::from(narrow.clone())), &narrow, Ord::cmp);
        check(Arc::new(Date32Array::from(narrow.clone())), &narrow, Ord::cmp);
        let narrow: Vec<_> = values.iter().map(|value| value.map(|value| value as i16)).collect();
        check(Arc::new(Int16Array::from(narrow.clone())), &narrow, Ord::cmp);
        let bools: Vec<_> = values.iter().map(|value| value.map(|value| value > 0)).collect();
        check(Arc::new(BooleanArray::from(bools.clone())), &bools, Ord::cmp);
    }

    #[test]
    fn floats_in_sql_order(values in vec(option::of(floats()), 1..12)) {
        check(Arc::new(Float64Array::from(values.clone())), &values, sql_float);
        let narrow: Vec<_> = values.iter().map(|value| value.map(|value| value as f32)).collect();
        let compare = |a: &f32, b: &f32| sql_float(&f64::from(*a), &f64::from(*b));
        check(Arc::new(Float32Array::from(narrow.clone())), &narrow, compare);
    }

    #[test]
    fn decimals(values in vec(option::of(prop_oneof![any::<i128>(), -3i128..3]), 1..12)) {
        let array = Decimal128Array::from(values.clone()).with_data_type(DataType::Decimal128(38, 4));
        check(Arc::new(array), &values, Ord::cmp);
    }

    #[test]
    fn byte_strings_and_text(values in vec(option::of(strings()), 1..12)) {
        let slices: Vec<_> = values.iter().map(Option::as_deref).collect();
        check(Arc::new(BinaryArray::from(slices)), &values, Ord::cmp);
        let texts: Vec<_> = values.iter().map(|v| v.as_ref().map(|v| String::from_utf8_lossy(v).into_owned())).collect();
        check(Arc::new(StringArray::from(texts.clone())), &texts, |a, b| a.as_bytes().cmp(b.as_bytes()));
    }

    #[test]
    fn uuids(values in vec(option::of(any::<[u8; 16]>()), 1..12)) {
        let array = FixedSizeBinaryArray::try_from_sparse_iter_with_size(values.iter().copied(), 16).expect("16 bytes each");
        check(Arc::new(array), &values, Ord::cmp);
    }

    #[test]
    fn intervals_by_their_span(values in vec(option::of((-50i32..50, -2000i32..2000, any::<i64>())), 1..12)) {
        let intervals = values.iter().map(|v| v.map(|(m, d, n)| IntervalMonthDayNano::new(m, d, n)));
        let array = IntervalMonthDayNanoArray::from_iter(intervals);
        let span = |(months, days, nanos): &(i32, i32, i64)| {
            (i128::from(*months) * 30 + i128::from(*days)) * 86_400_000_000_000 + i128::from(*nanos)
        };
        check(Arc::new(array), &values, |a, b| span(a).cmp(&span(b)));
    }

    #[test]
    fn lists_element_by_element(values in vec(option::of(vec(option::of(-2i32..2), 0..4)), 1..10)) {
        let array = ListArray::from_iter_primitive::<Int32Type, _, _>(values.clone());
        check(Arc::new(array), &values, |a, b| {
            // NULL elements are equal to each other and greater than the rest; a prefix is smaller.
            let rank = |v: &Vec<Option<i32>>| v.iter().map(|e| (e.is_none(), *e)).collect::<Vec<_>>();
            rank(a).cmp(&rank(b))
        });
    }

    #[test]
    fn several_columns_compare_in_turn(rows in vec((option::of(strings()), option::of(any::<i8>())), 1..12)) {
        let texts: Vec<_> = rows.iter().map(|row| row.0.as_deref()).collect();
        let ints: Vec<_> = rows.iter().map(|row| row.1.map(i64::from)).collect();
        let columns: [ArrayRef; 2] = [Arc::new(BinaryArray::from(texts)), Arc::new(Int64Array::from(ints))];
        let encoder = KeyEncoder::new(&[DataType::Binary, DataType::Int64]).expect("types of keys");
        let keys = encoder.encode(&columns).expect("columns of these types");
        let rank = |row: &(Option<Vec<u8>>, Option<i8>)| (row.0.is_none(), row.0.clone(), row.1.is_none(), row.1);
        for (i, a) in rows.iter().enumerate() {
            for (j, b) in rows.iter().enumerate() {
                prop_assert_eq!(keys.row(i).cmp(keys.row(j)), rank(a).cmp(&rank(b)));
            }
        }
        let back = encoder.decode(&keys.iter().collect::<Vec<_>>()).expect("keys of this encoder");
        prop_assert_eq!(&back[..], &columns[..]);
    }

    #[test]
    fn damaged_keys_are_corruption_and_no_panic(key in vec(any::<u8>(), 0..30)) {
        let list = DataType::new_list(DataType::Utf8, true);
        for ty in [DataType::Utf8, DataType::Int64, list, DataType::FixedSizeBinary(16)] {
            if let Err(error) = KeyEncoder::new(&[ty]).expect("types of keys").decode(&[&key]) {
                prop_assert_eq!(error.state(), crate::SqlState::DATA_CORRUPTED);
            }
        }
    }
}

#[test]
fn decoding_gives_canonical_values() {
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![-0.0, -f64::NAN]));
    let encoder = KeyEncoder::new(&[DataType::Float64]).expect("types of keys");
    let keys = encoder.encode(&[floats]).expect("a float column");
    let back = encoder.decode(&keys.iter().collect::<Vec<_>>()).expect("keys of this encoder");
    let back = back[0].as_primitive::<Float64Type>();
    assert!(back.value(0).is_sign_positive() && back.value(1).is_nan());

    let month: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(1, 1, 5)]));
    let encoder = KeyEncoder::new(&[month.data_type().clone()]).expect("types of keys");
    let keys = encoder.encode(&[month]).expect("an interval column");
    let back = encoder.decode(&[keys.row(0)]).expect("keys of this encoder");
    assert_eq!(
        back[0].as_primitive::<IntervalMonthDayNanoType>().value(0),
        IntervalMonthDayNano::new(0, 31, 5)
    );
}

proptest! {
    #[test]
    fn exact_keys_keep_the_order_and_give_back_what_they_were_made_of(
        rows in vec((option::of((-2i32..3, -60i32..61)), vec((0i32..2, 0i32..31), 0..3), 0i32..2), 1..10),
    ) {
        let interval = |(months, days): &(i32, i32)| IntervalMonthDayNano::new(*months, *days, 0);
        let one: IntervalMonthDayNanoArray = rows.iter().map(|row| row.0.as_ref().map(interval)).collect();
        let many = rows.iter().flat_map(|row| row.1.iter().map(interval));
        let many: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from_iter_values(many));
        let field = Arc::new(arrow::datatypes::Field::new_list_field(many.data_type().clone(), true));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths(rows.iter().map(|row| row.1.len()));
        let lists = ListArray::new(field, offsets, many, None);
        let ints = Int32Array::from_iter_values(rows.iter().map(|row| row.2));
        let columns: [ArrayRef; 3] = [Arc::new(one), Arc::new(lists), Arc::new(ints)];
        for order in ORDERS {
            let types = columns.each_ref().map(|column| (column.data_type().clone(), order));
            let plain = KeyEncoder::ordered(&types).expect("types of keys");
            let exact = plain.clone().exact().expect("types of rows");
            let (plain, keys) = (plain.encode(&columns).expect("rows"), exact.encode(&columns).expect("rows"));
            for (i, a) in rows.iter().enumerate() {
                prop_assert_eq!(exact.compared(keys.row(i)).expect("a key"), plain.row(i));
                for (j, b) in rows.iter().enumerate() {
                    let compared = plain.row(i).cmp(plain.row(j));
                    prop_assert!(compared.is_eq() || keys.row(i).cmp(keys.row(j)) == compared);
                    prop_assert_eq!(a == b, keys.row(i) == keys.row(j));
                }
            }
            let back = exact.decode(&keys.iter().collect::<Vec<_>>()).expect("keys of this encoder");
            prop_assert_eq!(back.as_slice(), columns.as_slice());
        }
    }
}

#[test]
fn exact_keys_of_what_has_one_form_are_the_keys() {
    let columns: [ArrayRef; 2] = [
        Arc::new(Int64Array::from(vec![Some(1), None])),
        Arc::new(IntervalMonthDayNanoArray::from(vec![Some(IntervalMonthDayNano::new(0, 31, 5)), None])),
    ];
    let encoder = KeyEncoder::new(&columns.each_ref().map(|c| c.data_type().clone())).expect("types of keys");
    let keys = encoder.encode(&columns).expect("columns of these types");
    assert_eq!(encoder.exact().expect("types of rows").encode(&columns).expect("rows"), keys);
    let ints = KeyEncoder::new(&[DataType::Int64]).and_then(KeyEncoder::exact).expect("types of keys");
    assert!(!ints.has_tails());
}

#[test]
fn the_encoding_is_fixed_for_ever() {
    // Keys are on disk and place state into key groups: a change of these bytes is a change of format.
    let columns: [ArrayRef; 2] =
        [Arc::new(Int32Array::from(vec![Some(1), None])), Arc::new(StringArray::from(vec!["a\0", ""]))];
    let encoder = KeyEncoder::new(&[DataType::Int32, DataType::Utf8]).expect("types of keys");
    let keys = encoder.encode(&columns).expect("columns of these types");
    assert_eq!(keys.row(0), [1, 0x80, 0, 0, 1, 1, b'a', 0, 0xFF, 0, 1]);
    assert_eq!(keys.row(1), [2, 0, 0, 0, 0, 1, 0, 1]);
}

#[test]
fn rows_without_columns_and_wrong_columns() {
    let encoder = KeyEncoder::new(&[]).expect("no types");
    assert_eq!(encoder.encode_rows(&[], 3).expect("no columns").iter().collect::<Vec<_>>(), [b"", b"", b""]);
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let encoder = KeyEncoder::new(&[DataType::Int64]).expect("types of keys");
    assert_eq!(encoder.encode(&[ints]).expect_err("another type").state(), crate::SqlState::INTERNAL_ERROR);
    let unsupported = KeyEncoder::new(&[DataType::Float16]).expect_err("no SQL type has it");
    assert_eq!(unsupported.state(), crate::SqlState::FEATURE_NOT_SUPPORTED);
}
