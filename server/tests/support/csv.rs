//! The test data: compressed CSV files beside the tests, as lines and as tuples of SQL literals.

use std::path::Path;
use std::process::Command;

use tokio_postgres::Client;

/// The columns of the two large files.
pub const FLIGHTS_AND_WEATHER: [(&str, &str); 2] = [
    (
        "flights",
        "year int, month int, day int, dep_time int, sched_dep_time int, dep_delay int, arr_time int, \
         sched_arr_time int, arr_delay int, carrier text, flight int, tailnum text, origin text, dest text, \
         air_time int, distance int, hour int, minute int, time_hour timestamptz",
    ),
    (
        "weather",
        "origin text, year int, month int, day int, hour int, temp float8, dewp float8, humid float8, \
         wind_dir int, wind_speed float8, wind_gust float8, precip float8, pressure float8, visib float8, \
         time_hour timestamptz",
    ),
];

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

/// Inserts lines into a table, some at once.
pub async fn insert(target: &Client, table: &str, lines: &[String]) {
    for chunk in tuples(lines).chunks(1000) {
        target.batch_execute(&format!("INSERT INTO {table} VALUES {}", chunk.join(", "))).await.unwrap();
    }
}

/// The lines as tuples of SQL literals, `NA` as NULL.
fn tuples(lines: &[String]) -> Vec<String> {
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
