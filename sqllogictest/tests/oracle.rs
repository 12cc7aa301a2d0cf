//! The oracle with a small budget: fixed seeds, so that a run says the same as the one before.

use weir_sqllogictest::oracle::play::Stage;
use weir_sqllogictest::oracle::repro::script;
use weir_sqllogictest::oracle::scenario::Scenario;
use weir_sqllogictest::server::binary;

/// More are run by `weir-oracle --seeds 2000`.
const SEEDS: u64 = 25;

#[test]
fn views_queries_and_postgres_agree() {
    let binary = binary().unwrap_or_else(|e| panic!("{e}"));
    let mut stage = Stage::set(&binary).unwrap_or_else(|e| panic!("{e}"));
    let mut failed = Vec::new();
    for seed in 1..=SEEDS {
        let scenario = Scenario::generate(seed);
        let report = stage.play(&scenario).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        if let Some(failure) = report.failure {
            let (class, detail) = (failure.class, failure.detail);
            failed.push(format!("weir-oracle --seed {seed}: {class:?}\n{detail}\n{}", script(&scenario)));
        }
    }
    assert!(failed.is_empty(), "{} of {SEEDS} seeds failed:\n{}", failed.len(), failed.join("\n\n"));
}
