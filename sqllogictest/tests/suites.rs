//! Every suite in `suites/` on the real binary, under all circumstances.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use weir_sqllogictest::all_circumstances;
use weir_sqllogictest::run::{Circumstances, Target, run};
use weir_sqllogictest::script::Script;
use weir_sqllogictest::server::{Options, Server, binary};

/// Servers that run at the same time.
const PARALLEL: usize = 2;

fn suites(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder of suites is readable") {
        let path = entry.expect("its entries are readable").path();
        if path.is_dir() {
            suites(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            found.push(path);
        }
    }
}

#[test]
fn suites_give_the_same_results_under_all_circumstances() {
    let binary = binary().unwrap_or_else(|e| panic!("{e}"));
    let mut files = Vec::new();
    suites(&Path::new(env!("CARGO_MANIFEST_DIR")).join("suites"), &mut files);
    files.sort();
    assert!(!files.is_empty());
    let scripts: Vec<(PathBuf, Script)> = files
        .into_iter()
        .map(|file| {
            let script = Script::read(&file).unwrap_or_else(|e| panic!("{e}"));
            (file, script)
        })
        .collect();
    let all: Vec<(&PathBuf, &Script, usize, Circumstances)> = scripts
        .iter()
        .flat_map(|(file, script)| {
            all_circumstances(script).into_iter().map(move |(n, c)| (file, script, n, c))
        })
        .collect();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                while let Some((file, script, workers, circumstances)) =
                    all.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let started = Server::start(&binary, Options::of_workers(*workers));
                    let result = started.and_then(|server| run(script, Target::Weir(server), *circumstances));
                    let failures = result.unwrap_or_else(|error| vec![error]);
                    if !failures.is_empty() {
                        let text = failures.join("\n");
                        let report =
                            format!("{} with {workers} workers, {circumstances:?}:\n{text}", file.display());
                        failed.lock().expect("no thread panics while it holds the lock").push(report);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no thread panics while it holds the lock");
    assert!(failed.is_empty(), "{} of {} runs failed:\n{}", failed.len(), all.len(), failed.join("\n\n"));
}
