//! What can be checked of the style, checked: module docs, file sizes, names, the edges between crates, who names
//! timely and pgwire, and that every failpoint is used.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

/// Lines beyond which a file has to be split.
const LINES_MAX: usize = 800;
/// Words that say nothing of what a file or type is.
const BANNED: [&str; 6] = ["manager", "helper", "util", "misc", "process_", "todo!"];
/// Which crates of the workspace each crate may use, outside tests.
const EDGES: [(&str, &[&str]); 11] = [
    ("common", &[]),
    ("storage", &["common"]),
    ("exec", &["common", "storage"]),
    ("connector", &["common"]),
    ("catalog", &["common"]),
    ("runtime", &["common", "storage", "exec", "connector"]),
    ("planner", &["common", "catalog", "exec", "runtime", "connector"]),
    ("table", &["common", "catalog", "storage", "exec", "runtime", "connector", "planner"]),
    ("server", &["common", "table"]),
    ("sqllogictest", &[]),
    ("bench", &[]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every Rust file of the workspace, with its path from the root and its text.
fn files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (krate, _) in EDGES {
        for folder in ["src", "tests"] {
            walk(&root().join(krate).join(folder), &mut found);
        }
    }
    assert!(found.len() > 100, "the workspace was not found");
    found
}

fn walk(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            found.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for (name, text) in files() {
        assert!(text.starts_with("//!"), "{name} does not open with //!");
    }
}

#[test]
fn files_stay_readable() {
    for (name, text) in files() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{name} has {lines} lines");
    }
}

#[test]
fn names_say_something() {
    for (name, text) in files().into_iter().filter(|(name, _)| !name.ends_with("tidy.rs")) {
        for line in text.lines().filter(|l| !l.trim_start().starts_with("//")) {
            for declared in ["fn ", "struct ", "enum ", "mod ", "trait "] {
                let Some((_, rest)) = line.split_once(declared) else { continue };
                let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let lower = word.to_lowercase();
                let banned = BANNED.iter().find(|b| lower.starts_with(**b) || lower.ends_with(**b));
                assert_eq!(banned, None, "{name} declares {word}");
            }
        }
    }
}

#[test]
fn crates_depend_as_the_architecture_says() {
    for (krate, allowed) in EDGES {
        let manifest = std::fs::read_to_string(root().join(krate).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dev-dependencies]").next().unwrap();
        for line in dependencies.lines().filter_map(|l| l.strip_prefix("weir-")) {
            let used = line.split(['.', ' ', '=']).next().unwrap();
            assert!(allowed.contains(&used), "{krate} must not use {used}");
        }
    }
}

#[test]
fn timely_and_pgwire_are_named_in_one_module_each() {
    for (name, text) in files().into_iter().filter(|(name, _)| !name.ends_with("tidy.rs")) {
        let code = |word: &str| text.lines().any(|l| !l.trim_start().starts_with("//") && l.contains(word));
        assert!(!code("timely::") || name.starts_with("runtime/src/dataflow/"), "{name} names timely");
        let wire = name.starts_with("server/src/pgwire/");
        assert!(!code("use pgwire::") || wire, "{name} names pgwire");
    }
}

#[test]
fn every_failpoint_is_used() {
    let list = std::fs::read_to_string(root().join("common/src/failpoint.rs")).unwrap();
    let is_name = |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let names: Vec<&str> =
        list.lines().filter_map(|l| Some(l.trim().split_once(" = \"")?.0)).filter(is_name).collect();
    assert_eq!(names.len(), weir_common::failpoint::ALL.len());
    let files = files();
    for name in names {
        let used = |(file, text): &(String, String)| {
            !file.ends_with("failpoint.rs") && text.contains("fail_point!") && text.contains(name)
        };
        assert!(files.iter().any(used), "failpoint {name} is never hit");
    }
}
