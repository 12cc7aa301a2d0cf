//! The test data: compressed CSV files beside the tests, as rows of optional texts.

use std::path::Path;
use std::process::Command;

/// A file of `tests/data/nycflights13`: its header and its lines. No field of it is quoted over lines.
pub fn flights_file(name: &str) -> (String, Vec<String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/nycflights13");
    let compressed = folder.join(format!("{name}.csv.gz"));
    let text = if compressed.exists() {
        let output = Command::new("gzip").arg("-dc").arg(&compressed).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    } else {
        std::fs::read_to_string(folder.join(format!("{name}.csv"))).unwrap()
    };
    let mut lines = text.lines().map(str::to_string);
    (lines.next().unwrap(), lines.collect())
}

/// The lines as tuples of SQL literals, `NA` as NULL.
pub fn tuples(lines: &[String]) -> Vec<String> {
    lines
        .iter()
        .map(|line| format!("({})", fields(line).iter().map(|f| literal(f)).collect::<Vec<_>>().join(", ")))
        .collect()
}

fn literal(field: &str) -> String {
    match field {
        "NA" | "" => "NULL".to_string(),
        text => format!("'{}'", text.replace('\'', "''")),
    }
}

/// The fields of a line; quoted ones may hold commas.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    fields.push(field);
    fields
}
