//! Files that grow, headers in another order, malformed records, JSON, and the sink's two phases.

use arrow::array::AsArray;
use arrow::datatypes::Int32Type;
use weir_common::{ChangeBatch, Epoch, SqlType, WorkerId};

use super::decode::texts;
use super::*;

fn columns() -> Vec<Column> {
    let column = |id, name: &str, ty| Column { id, name: name.into(), ty, nullable: true };
    vec![column(1, "id", SqlType::Int4), column(2, "name", SqlType::Text)]
}

fn options(path: &std::path::Path, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut given = BTreeMap::from([("path".to_owned(), path.to_string_lossy().into_owned())]);
    given.extend(more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    given
}

fn read_all(source: &dyn Source, ranges: &[SplitRange]) -> Result<(Vec<ChangeBatch>, u64)> {
    let mut reader = source.reader(&[0, 1])?;
    let (mut batches, mut skipped) = (Vec::new(), 0);
    for range in ranges {
        reader.start(range)?;
        while let Some(batch) = reader.next(2)? {
            batches.push(batch);
        }
        skipped += reader.take_progress().skipped;
    }
    Ok((batches, skipped))
}

fn ids(batches: &[ChangeBatch]) -> Vec<Option<i32>> {
    batches
        .iter()
        .flat_map(|b| b.columns()[0].as_primitive::<Int32Type>().iter().collect::<Vec<_>>())
        .collect()
}

#[test]
fn a_folder_is_followed_and_unfinished_lines_wait() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.csv"), "name,id\nx,1\n\"y, z\",2\nlate").unwrap();
    let csv = [("format", "csv"), ("header", "true"), ("null", "NA")];
    let source = create(&options(dir.path(), &csv), &columns()).unwrap();
    let first = source.discover(&SourceOffsets::new(), 1000, &Reading::default()).unwrap();
    let (batches, _) = read_all(source.as_ref(), &first.ranges).unwrap();
    assert_eq!(ids(&batches), [Some(1), Some(2)]);
    assert_eq!(texts(&batches[0], 1).value(1), "y, z");
    std::fs::write(dir.path().join("a.csv"), "name,id\nx,1\n\"y, z\",2\nlate,NA\n").unwrap();
    std::fs::write(dir.path().join("b.csv"), "id,name\n7,q\n").unwrap();
    let bound = first.ranges.iter().map(|r| (r.split.clone(), r.to)).collect();
    let second = source.discover(&bound, 1000, &Reading::default()).unwrap();
    let (batches, _) = read_all(source.as_ref(), &second.ranges).unwrap();
    assert_eq!(ids(&batches), [None, Some(7)]);
}

#[test]
fn malformed_records_fail_with_their_line_or_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    std::fs::write(&path, "1,a\noops,b\n3\n4,d\n").unwrap();
    let strict = create(&options(&path, &[("format", "csv")]), &columns()).unwrap();
    let found = strict.discover(&SourceOffsets::new(), 1000, &Reading::default()).unwrap();
    let error = read_all(strict.as_ref(), &found.ranges).unwrap_err();
    assert_eq!(error.state(), SqlState::BAD_COPY_FILE_FORMAT);
    assert!(error.message().contains("line 2"), "{error}");
    let lenient = create(&options(&path, &[("format", "csv"), ("on_error", "skip")]), &columns()).unwrap();
    let (batches, skipped) = read_all(lenient.as_ref(), &found.ranges).unwrap();
    assert_eq!((ids(&batches), skipped), (vec![Some(1), Some(4)], 2));
}

#[test]
fn json_lines_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    std::fs::write(&path, "{\"name\": \"x\", \"id\": 5}\n{\"id\": null}\n").unwrap();
    let source = create(&options(&path, &[("format", "json")]), &columns()).unwrap();
    let found = source.discover(&SourceOffsets::new(), 1000, &Reading::default()).unwrap();
    let (batches, _) = read_all(source.as_ref(), &found.ranges).unwrap();
    assert_eq!(ids(&batches), [Some(5), None]);
}

#[test]
fn a_small_budget_still_goes_on_line_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    let long = "x".repeat(200);
    std::fs::write(&path, format!("1,{long}\n2,{long}\n")).unwrap();
    let source = create(&options(&path, &[("format", "csv")]), &columns()).unwrap();
    let mut bound = SourceOffsets::new();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let found = source.discover(&bound, 1, &Reading::default()).unwrap();
        seen.extend(ids(&read_all(source.as_ref(), &found.ranges).unwrap().0));
        bound.extend(found.ranges.into_iter().map(|r| (r.split, r.to)));
    }
    assert_eq!(seen, [Some(1), Some(2)]);
}

#[test]
fn a_missing_path_is_named() {
    let error = create(&options("/nonexistent/x".as_ref(), &[("format", "csv")]), &columns()).err().unwrap();
    assert_eq!(error.state(), SqlState::UNDEFINED_FILE);
}

#[test]
fn the_sink_shows_files_only_after_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let source_dir = tempfile::tempdir().unwrap();
    let path = source_dir.path().join("a.csv");
    std::fs::write(&path, "1,a\n").unwrap();
    let source = create(&options(&path, &[("format", "csv")]), &columns()).unwrap();
    let found = source.discover(&SourceOffsets::new(), 10, &Reading::default()).unwrap();
    let (batches, _) = read_all(source.as_ref(), &found.ranges).unwrap();
    let fs: Arc<dyn FileSystem> = Arc::new(OsFileSystem);
    let sink = create_sink(&options(dir.path(), &[("format", "csv")]), &columns(), fs).unwrap();
    let mut writer = sink.writer(WorkerId(0)).unwrap();
    let visible = || {
        std::fs::read_dir(dir.path())
            .unwrap()
            .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "csv"))
            .count()
    };
    writer.write(Epoch(1), &batches[0]).unwrap();
    writer.prepare(Epoch(2)).unwrap();
    assert_eq!(visible(), 0);
    sink.commit(Epoch(2)).unwrap();
    assert_eq!(visible(), 1);
    writer.write(Epoch(3), &batches[0]).unwrap();
    writer.prepare(Epoch(4)).unwrap();
    sink.recover(Epoch(3)).unwrap();
    assert_eq!((visible(), std::fs::read_dir(dir.path()).unwrap().count()), (1, 1));
}
