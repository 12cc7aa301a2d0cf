//! The stream has the benchmark's proportions, is the same however it is cut, and makes only what is asked for.

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

use super::*;

fn source(table: &str, events: u64) -> Arc<dyn Source> {
    let given = BTreeMap::from([
        ("connector".to_owned(), "nexmark".to_owned()),
        ("table".to_owned(), table.to_owned()),
        ("events".to_owned(), events.to_string()),
    ]);
    create(&given, &columns(&given).unwrap()).unwrap()
}

fn read(source: &dyn Source, project: &[usize], ranges: &[(u64, u64)]) -> Vec<ChangeBatch> {
    let mut reader = source.reader(project).unwrap();
    let mut batches = Vec::new();
    for (from, to) in ranges {
        reader.start(&SplitRange { split: "events".into(), from: *from, to: *to }).unwrap();
        while let Some(batch) = reader.next(1000).unwrap() {
            batches.push(batch);
        }
    }
    batches
}

fn integers(batches: &[ChangeBatch]) -> Vec<i64> {
    batches.iter().flat_map(|b| b.columns()[0].as_primitive::<Int64Type>().values().to_vec()).collect()
}

#[test]
fn one_person_three_auctions_forty_six_bids() {
    for (table, share) in [("person", 1), ("auction", 3), ("bid", 46)] {
        let rows: usize =
            read(source(table, 5000).as_ref(), &[0], &[(0, 5000)]).iter().map(ChangeBatch::len).sum();
        assert_eq!(rows, share * 100, "{table}");
    }
}

#[test]
fn the_same_rows_however_the_range_is_cut() {
    let bids = source("bid", 5000);
    let whole = integers(&read(bids.as_ref(), &[2], &[(0, 5000)]));
    let pieces = integers(&read(bids.as_ref(), &[2], &[(0, 17), (17, 1003), (1003, 1004), (1004, 5000)]));
    assert_eq!(whole, pieces);
}

#[test]
fn ids_refer_to_what_exists_or_soon_will() {
    let bids = integers(&read(source("bid", 50_000).as_ref(), &[0], &[(0, 50_000)]));
    let newest = 1000 + 50_000 / 50 * 3 + 10;
    assert!(bids.iter().all(|id| (1000..=newest).contains(id)));
    let hot = bids.iter().filter(|id| (*id - 1000) % 100 == 0).count();
    assert!(hot * 10 > bids.len() * 4 && hot * 10 < bids.len() * 6, "half of the bids are on hot auctions");
}

#[test]
fn an_auction_ends_after_it_begins() {
    for batch in read(source("auction", 5000).as_ref(), &[5, 6], &[(0, 5000)]) {
        let begins = batch.columns()[0].as_primitive::<TimestampMicrosecondType>();
        let ends = batch.columns()[1].as_primitive::<TimestampMicrosecondType>();
        assert!(begins.values().iter().zip(ends.values()).all(|(b, e)| b < e));
    }
}

#[test]
fn an_unknown_column_is_refused_with_the_fields() {
    let given = BTreeMap::from([("table".to_owned(), "bid".to_owned())]);
    let column = Column { id: 1, name: "prise".into(), ty: SqlType::Int8, nullable: true };
    let error = create(&given, &[column]).err().unwrap();
    assert!(error.hint().unwrap().contains("price"));
}
