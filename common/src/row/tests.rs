//! Rows come back as they were stored, through added and dropped columns, and damage is noticed.

use std::sync::Arc;

use arrow::array::{
    Array, BinaryArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int16Array,
    Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, StringArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{Int32Type, IntervalMonthDayNano};
use proptest::prelude::*;

use super::*;
use crate::SqlState;

/// One column of each kind, three rows, with NULLs.
fn columns() -> Vec<ArrayRef> {
    let uuid = [Some([7u8; 16]), None, Some([0; 16])];
    let lists = vec![Some(vec![Some(1), None]), None, Some(vec![])];
    let interval = IntervalMonthDayNano::new(1, -2, 3_000);
    vec![
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        Arc::new(Int16Array::from(vec![Some(-1), None, Some(i16::MAX)])),
        Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(5)])),
        Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(0), None])),
        Arc::new(Float64Array::from(vec![Some(-0.0), None, Some(1.5)])),
        Arc::new(
            Decimal128Array::from(vec![Some(-12345), None, Some(0)])
                .with_data_type(DataType::Decimal128(38, 2)),
        ),
        Arc::new(StringArray::from(vec![Some("a\0b"), Some(""), None])),
        Arc::new(BinaryArray::from(vec![Some(&b"\xFF\0"[..]), None, Some(b"")])),
        Arc::new(
            FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuid.into_iter(), 16)
                .expect("16 bytes each"),
        ),
        Arc::new(Time64MicrosecondArray::from(vec![Some(1), None, Some(2)])),
        Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None, Some(-2)]).with_timezone("UTC")),
        Arc::new(IntervalMonthDayNanoArray::from(vec![Some(interval), None, Some(interval)])),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)),
    ]
}

fn codec(columns: &[ArrayRef]) -> RowCodec {
    let columns: Vec<_> =
        columns.iter().zip(1..).map(|(array, id)| (id, array.data_type().clone())).collect();
    RowCodec::new(&columns).expect("types of rows")
}

#[test]
fn every_type_comes_back_exactly() {
    let columns = columns();
    let codec = codec(&columns);
    let rows = codec.encode(&columns).expect("columns of these types");
    let back = codec.decode(&rows.iter().collect::<Vec<_>>()).expect("rows of this codec");
    assert_eq!(back, columns);
    let sliced: Vec<_> = columns.iter().map(|column| column.slice(1, 2)).collect();
    let rows_of_slices = codec.encode(&sliced).expect("columns of these types");
    assert!(rows_of_slices.iter().eq(rows.iter().skip(1)));
}

#[test]
fn projections_pick_reorder_and_repeat_columns() {
    let columns = columns();
    let codec = codec(&columns);
    let rows = codec.encode(&columns).expect("columns of these types");
    let slices: Vec<_> = rows.iter().collect();
    for project in [vec![], vec![6], vec![12, 0, 3], vec![2, 2, 2], vec![3, 6, 3], vec![6, 3, 6]] {
        let back = codec.decode_projected(&slices, &project).expect("rows of this codec");
        let expected: Vec<_> = project.iter().map(|position| columns[*position].clone()).collect();
        assert_eq!(back, expected, "{project:?}");
    }
}

#[test]
fn added_columns_are_null_and_dropped_ones_are_skipped() {
    let (ints, texts): (ArrayRef, ArrayRef) =
        (Arc::new(Int64Array::from(vec![1, 2])), Arc::new(StringArray::from(vec!["a", "b"])));
    let old = RowCodec::new(&[(1, DataType::Int64), (2, DataType::Utf8)]).expect("types of rows");
    let rows = old.encode(&[ints, texts.clone()]).expect("columns of these types");
    let new = RowCodec::new(&[(2, DataType::Utf8), (3, DataType::Int32)]).expect("types of rows");
    let back = new.decode(&rows.iter().collect::<Vec<_>>()).expect("rows of an older version");
    assert_eq!(back, [texts, new_null_array(&DataType::Int32, 2)]);
}

#[test]
fn every_cut_of_a_row_is_corruption() {
    let columns = columns();
    let codec = codec(&columns);
    let rows = codec.encode(&columns).expect("columns of these types");
    for row in rows.iter() {
        for len in 0..row.len() {
            let error = codec.decode(&[&row[..len]]).expect_err("a part of a row");
            assert_eq!(error.state(), SqlState::DATA_CORRUPTED);
        }
    }
    let longer = [rows.row(0), &[0]].concat();
    assert_eq!(codec.decode(&[&longer]).expect_err("too long a row").state(), SqlState::DATA_CORRUPTED);
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(row in 0usize..3, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let columns = columns();
        let codec = codec(&columns);
        let mut bytes = codec.encode(&columns).expect("columns of these types").row(row).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Err(error) = codec.decode(&[&bytes]) {
            prop_assert_eq!(error.state(), SqlState::DATA_CORRUPTED);
        }
    }
}
