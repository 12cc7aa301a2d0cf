//! The catalog as a whole: durability, ids, names and dependencies.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_common::seam::{FailingFileSystem, FileSystem, MemoryFileSystem};
use weir_common::{ObjectId, SqlState};

use crate::object::{Object, ObjectKind};
use crate::sample::{self, BIDS, MV, OUT, T, T_PKEY, V};
use crate::snapshot::{PUBLIC, ROLE};
use crate::{Catalog, CatalogChange};

fn open(fs: &Arc<MemoryFileSystem>) -> Catalog {
    Catalog::open(fs.clone(), "/data").unwrap()
}

fn log_path() -> PathBuf {
    Path::new("/data").join("catalog.log")
}

fn schema(id: ObjectId, name: &str) -> CatalogChange {
    CatalogChange::Create(Object::new(id, ObjectId(0), name, ROLE, ObjectKind::Schema))
}

#[test]
fn what_was_applied_is_there_after_power_loss() {
    let fs = Arc::new(MemoryFileSystem::default());
    let catalog = open(&fs);
    catalog.apply(sample::changes()).unwrap();
    catalog
        .apply(vec![CatalogChange::Rename { id: BIDS, name: "offers".into() }, CatalogChange::Drop(OUT)])
        .unwrap();
    let comment = CatalogChange::Comment { id: V, column: Some(1), comment: Some("key".into()) };
    let before = catalog.apply(vec![comment]).unwrap();
    drop(catalog);
    fs.lose_unsynced();
    for _ in 0..2 {
        let after = open(&fs).snapshot();
        let objects = |snapshot: &crate::CatalogSnapshot| snapshot.objects().cloned().collect::<Vec<_>>();
        assert_eq!(objects(&after), objects(&before));
        assert!(after.find(None, "offers", &["public".into()]).is_some());
        assert!(after.find(Some("public"), "bids", &[]).is_none());
        assert_eq!(after.object(V).unwrap().column_comments[&1], "key");
    }
}

#[test]
fn a_torn_tail_is_cut_off_at_every_length() {
    let fs = Arc::new(MemoryFileSystem::default());
    let catalog = open(&fs);
    let first = catalog.next_id().unwrap();
    catalog.apply(vec![schema(first, "a")]).unwrap();
    let sound = fs.read(&log_path()).unwrap();
    catalog.apply(vec![schema(catalog.next_id().unwrap(), "b")]).unwrap();
    let whole = fs.read(&log_path()).unwrap();
    drop(catalog);
    for len in sound.len()..whole.len() {
        fs.overwrite(&log_path(), whole[..len].to_vec());
        let catalog = open(&fs);
        assert!(catalog.snapshot().schema_id("a").is_some(), "cut at {len}");
        assert!(catalog.snapshot().schema_id("b").is_none(), "cut at {len}");
        catalog.apply(vec![schema(catalog.next_id().unwrap(), "c")]).unwrap();
        drop(catalog);
        assert!(open(&fs).snapshot().schema_id("c").is_some(), "cut at {len}");
    }
}

#[test]
fn damage_before_the_end_is_reported_with_the_file() {
    let fs = Arc::new(MemoryFileSystem::default());
    let catalog = open(&fs);
    catalog.apply(sample::changes()).unwrap();
    catalog.apply(vec![CatalogChange::Drop(OUT)]).unwrap();
    let appended = fs.read(&log_path()).unwrap();
    drop(catalog);
    drop(open(&fs));
    let compacted = fs.read(&log_path()).unwrap();
    assert!(compacted.len() < appended.len());
    for whole in [appended, compacted] {
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x20;
            fs.overwrite(&log_path(), bytes);
            let opened = Catalog::open(fs.clone(), "/data");
            let error = opened.err().unwrap_or_else(|| panic!("damage at {at} was not seen"));
            assert_eq!(error.state(), SqlState::DATA_CORRUPTED, "damage at {at}");
            assert!(error.message().contains("catalog.log"), "{error}");
        }
    }
}

#[test]
fn a_compacted_log_is_never_taken_for_torn() {
    let fs = Arc::new(MemoryFileSystem::default());
    let catalog = open(&fs);
    catalog.apply(sample::changes()).unwrap();
    catalog.apply(vec![CatalogChange::Drop(OUT)]).unwrap();
    drop(catalog);
    drop(open(&fs));
    let whole = fs.read(&log_path()).unwrap();
    for len in [30, whole.len() / 2, whole.len() - 1] {
        fs.overwrite(&log_path(), whole[..len].to_vec());
        let error = Catalog::open(fs.clone(), "/data").err().unwrap();
        assert_eq!(error.state(), SqlState::DATA_CORRUPTED, "cut at {len}: {error}");
    }
}

#[test]
fn a_change_without_room_on_the_disk_is_refused_and_the_next_goes_on() {
    let memory = MemoryFileSystem::default();
    let counting = FailingFileSystem::new(Arc::new(memory.clone()), 0, std::io::ErrorKind::StorageFull);
    drop(Catalog::open(Arc::new(counting.clone()), "/data").unwrap());
    let memory = MemoryFileSystem::default();
    let nth = counting.operations() + 1;
    let full = FailingFileSystem::new(Arc::new(memory.clone()), nth, std::io::ErrorKind::StorageFull);
    let catalog = Catalog::open(Arc::new(full.clone()), "/data").unwrap();
    let error = catalog.apply(sample::changes()).unwrap_err();
    assert!(full.has_failed());
    assert_eq!(error.state(), SqlState::DISK_FULL);
    assert!(catalog.snapshot().object(T).is_none());
    catalog.apply(sample::changes()).unwrap();
    drop(catalog);
    assert!(open(&Arc::new(memory)).snapshot().object(T).is_some());
}

#[test]
fn a_newer_format_is_refused_and_kept() {
    let fs = Arc::new(MemoryFileSystem::default());
    drop(open(&fs));
    let mut bytes = fs.read(&log_path()).unwrap();
    bytes[8] = 9;
    let crc = crc32fast::hash(&bytes[..12]).to_le_bytes();
    bytes[12..16].copy_from_slice(&crc);
    fs.overwrite(&log_path(), bytes.clone());
    let error = Catalog::open(fs.clone(), "/data").err().unwrap();
    assert_eq!(error.state(), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert!(error.message().contains("format version 9"), "{error}");
    assert_eq!(fs.read(&log_path()).unwrap(), bytes);
}

#[test]
fn an_id_is_never_handed_out_twice() {
    let fs = Arc::new(MemoryFileSystem::default());
    let mut last = ObjectId(0);
    for round in 0..4 {
        let catalog = open(&fs);
        for i in 0..70 {
            let id = catalog.next_id().unwrap();
            assert!(id > last && id >= ObjectId::FIRST_USER);
            last = id;
            if i == 10 {
                catalog.apply(vec![schema(id, &format!("s{round}"))]).unwrap();
                catalog.apply(vec![CatalogChange::Drop(id)]).unwrap();
            }
        }
        drop(catalog);
        fs.lose_unsynced();
    }
}

#[test]
fn a_failed_write_leaves_all_or_nothing() {
    let mut failures = 0;
    for nth in 1.. {
        let memory = Arc::new(MemoryFileSystem::default());
        drop(open(&memory));
        let failing = Arc::new(FailingFileSystem::new(memory.clone(), nth, std::io::ErrorKind::Other));
        let applied = Catalog::open(failing.clone(), "/data").and_then(|catalog| {
            let result = catalog.apply(sample::changes());
            if result.is_err() {
                assert!(catalog.snapshot().object(T).is_none(), "not published");
                assert!(catalog.apply(sample::changes()).is_err(), "the end of the log is unknown");
            }
            result
        });
        memory.lose_unsynced();
        let recovered = open(&memory).snapshot();
        if applied.is_ok() {
            assert!(recovered.object(OUT).is_some());
        } else {
            failures += 1;
            assert_eq!(recovered.object(T).is_some(), recovered.object(OUT).is_some());
        }
        if !failing.has_failed() {
            break;
        }
    }
    assert!(failures > 2, "appending and syncing were both hit");
}

#[test]
fn a_refused_batch_leaves_no_trace() {
    let fs = Arc::new(MemoryFileSystem::default());
    let catalog = open(&fs);
    catalog.apply(sample::changes()).unwrap();
    let before = fs.read(&log_path()).unwrap();
    let mut duplicate = sample::view();
    duplicate.id = ObjectId(20000);
    let mut index_name = sample::view();
    (index_name.id, index_name.name) = (ObjectId(20001), "t_pkey".into());
    let cases = [
        (duplicate, SqlState::DUPLICATE_TABLE, "relation \"v\" already exists"),
        (index_name, SqlState::DUPLICATE_TABLE, "relation \"t_pkey\" already exists"),
        (
            Object::new(ObjectId(20002), ObjectId(0), "public", ROLE, ObjectKind::Schema),
            SqlState::DUPLICATE_SCHEMA,
            "schema \"public\" already exists",
        ),
    ];
    for (object, state, message) in cases {
        let error =
            catalog.apply(vec![schema(ObjectId(30000), "s"), CatalogChange::Create(object)]).unwrap_err();
        assert_eq!((error.state(), error.message()), (state, message));
    }
    let error = catalog.apply(vec![CatalogChange::Drop(T)]).unwrap_err();
    assert_eq!(error.state(), SqlState::DEPENDENT_OBJECTS_STILL_EXIST);
    assert!(catalog.apply(vec![CatalogChange::Drop(PUBLIC)]).is_err(), "built-in schemas stay");
    assert!(catalog.snapshot().schema_id("s").is_none());
    assert_eq!(fs.read(&log_path()).unwrap(), before);
}

#[test]
fn dependents_are_named_or_dropped_first() {
    let snapshot = sample::snapshot();
    let error = snapshot.drop_order(&[T], false).unwrap_err();
    assert_eq!(error.state(), SqlState::DEPENDENT_OBJECTS_STILL_EXIST);
    assert_eq!(error.message(), "cannot drop table t because other objects depend on it");
    assert_eq!(
        error.detail(),
        Some(
            "view v depends on table t\nmaterialized view mv depends on view v\nsink out depends on materialized view mv"
        )
    );
    assert_eq!(error.hint(), Some("Use DROP ... CASCADE to drop the dependent objects too."));
    assert_eq!(snapshot.drop_order(&[T], true).unwrap(), [OUT, MV, V, T]);
    assert_eq!(snapshot.drop_order(&[T, OUT, V, MV], false).unwrap(), [OUT, MV, V, T]);
    assert_eq!(snapshot.drop_order(&[BIDS], false).unwrap(), [BIDS]);
    assert!(snapshot.drop_order(&[PUBLIC], false).is_err());
}

#[test]
fn names_follow_the_search_path() {
    let s = ObjectId(20000);
    let mut other = sample::source();
    (other.id, other.schema, other.name) = (ObjectId(20001), s, "t".into());
    let snapshot = sample::snapshot().apply(&[schema(s, "s"), CatalogChange::Create(other)]).unwrap();
    let find = |path: &[&str]| {
        let path: Vec<String> = path.iter().map(|schema| (*schema).to_owned()).collect();
        snapshot.find(None, "t", &path).map(|object| object.id)
    };
    assert_eq!(find(&["public", "s"]), Some(T));
    assert_eq!(find(&["missing", "s", "public"]), Some(ObjectId(20001)));
    assert_eq!(find(&[]), None);
    assert!(snapshot.find(Some("public"), "t_pkey", &[]).is_none(), "an index is no relation");
    assert_eq!(snapshot.relation_id(PUBLIC, "t_pkey"), Some(T_PKEY));
    assert_eq!(snapshot.free_name(PUBLIC, "t_pkey"), "t_pkey1");
    assert_eq!(snapshot.free_name(PUBLIC, "u_pkey"), "u_pkey");
}

#[test]
fn show_create_prints_the_home_form() {
    let snapshot = sample::snapshot();
    let show = |id| crate::home_form(&snapshot, snapshot.object(id).unwrap());
    assert_eq!(
        show(T),
        "CREATE TABLE t (\n    id integer,\n    name character varying(20) DEFAULT 'x'::character varying,\n    \
         PRIMARY KEY (id)\n);"
    );
    assert_eq!(show(V), "CREATE VIEW v AS\nSELECT id FROM t;");
    assert_eq!(show(MV), "CREATE MATERIALIZED VIEW mv AS\nSELECT count(*) AS n FROM v;");
    assert_eq!(
        show(BIDS),
        "CREATE SOURCE bids (\n    price bigint,\n    ts timestamp with time zone,\n    \
         WATERMARK FOR ts AS ts - INTERVAL '5 seconds'\n)\nWITH (\n    connector = 'datagen',\n    \
         api.token = '<redacted>',\n    rate = '5'\n);"
    );
    assert_eq!(show(OUT), "CREATE SINK \"out\" FROM mv;");
}
