//! The main job: a year of flights and weather arrives month by month in folders, views follow, and at the end
//! each view equals the same query in PostgreSQL 15. On the way a file has damaged rows and the server is killed
//! twice.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use support::csv::{FLIGHTS_AND_WEATHER, flights_file, insert};
use support::postgres::{Postgres, assert_same};
use support::{Server, first_value};
use tokio_postgres::Client;

const TABLES: [(&str, &str); 3] = [
    ("airlines", "carrier text PRIMARY KEY, name text NOT NULL"),
    (
        "airports",
        "faa text PRIMARY KEY, name text, lat float8, lon float8, alt int, tz int, dst text, tzone text",
    ),
    (
        "planes",
        "tailnum text PRIMARY KEY, year int, type text, manufacturer text, model text, engines int, seats int, \
         speed int, engine text",
    ),
];

/// Views in the order of their dependencies.
const VIEWS: [(&str, &str); 6] = [
    (
        "carrier_delays",
        "SELECT f.carrier, a.name, count(*) AS flights, count(*) - count(f.dep_time) AS cancelled, \
         avg(f.dep_delay) AS mean_delay, max(f.arr_delay) AS worst \
         FROM flights f JOIN airlines a ON f.carrier = a.carrier GROUP BY f.carrier, a.name",
    ),
    (
        "airport_days",
        "SELECT origin, year, month, day, count(*) AS flights, sum(dep_delay) AS delay, min(dep_delay) AS best, \
         max(dep_delay) AS worst FROM flights GROUP BY origin, year, month, day",
    ),
    (
        "flight_weather",
        "SELECT f.carrier, f.flight, f.origin, f.time_hour, f.dep_delay, w.temp, w.wind_speed, w.visib \
         FROM flights f JOIN weather w ON f.origin = w.origin AND f.time_hour = w.time_hour",
    ),
    (
        "manufacturer_seats",
        "SELECT p.manufacturer, count(*) AS flights, sum(p.seats) AS seats \
         FROM flights f JOIN planes p ON f.tailnum = p.tailnum WHERE f.dep_time IS NOT NULL \
         GROUP BY p.manufacturer HAVING count(*) > 10",
    ),
    (
        "months",
        "SELECT month, count(*) AS airport_days, sum(flights) AS flights, max(worst) AS worst \
         FROM airport_days GROUP BY month",
    ),
    (
        "delay_by_visibility",
        "SELECT visib, count(*) AS flights, avg(dep_delay) AS mean_delay, max(temp) AS warmest \
         FROM flight_weather GROUP BY visib",
    ),
];

const DAMAGED: [&str; 3] = ["2013,4,not a day", "2013,4,31,x,y,z", ",,,"];

#[tokio::test]
async fn a_year_of_flights_equals_postgres() {
    let postgres = Postgres::start();
    let reference = postgres.connect().await;
    let input = tempfile::tempdir().unwrap();
    let mut server = Server::start_with(&["--workers", "3"]);
    let mut client = server.connect().await;
    set_up(&client, &reference, input.path()).await;
    let (flights_header, flights) = by_month("flights", 1);
    let (weather_header, weather) = by_month("weather", 2);
    for month in 1..=12 {
        let mut lines = flights[month - 1].clone();
        insert(&reference, "flights", &lines).await;
        insert(&reference, "weather", &weather[month - 1]).await;
        if month == 4 {
            lines.extend(DAMAGED.map(str::to_string));
        }
        drop_file(&input.path().join("weather"), month, &weather_header, &weather[month - 1]);
        drop_file(&input.path().join("flights"), month, &flights_header, &lines);
        if month == 3 || month == 8 {
            server.crash_and_restart();
            client = server.connect().await;
        }
    }
    client.batch_execute("FLUSH").await.unwrap();
    for (view, query) in VIEWS {
        assert_same(&client, &format!("SELECT * FROM {view}"), &reference, &expanded(query)).await;
    }
    let skipped = first_value(&client, "SELECT rows_skipped FROM sys.jobs WHERE name = 'airport_days'").await;
    assert_eq!(skipped, DAMAGED.len().to_string());
}

async fn set_up(client: &Client, reference: &Client, input: &Path) {
    for (table, columns) in TABLES {
        let (_, lines) = flights_file(table);
        for target in [client, reference] {
            target.batch_execute(&format!("CREATE TABLE {table} ({columns})")).await.unwrap();
            insert(target, table, &lines).await;
        }
    }
    for (source, columns) in FLIGHTS_AND_WEATHER {
        reference.batch_execute(&format!("CREATE TABLE {source} ({columns})")).await.unwrap();
        let folder = input.join(source);
        std::fs::create_dir(&folder).unwrap();
        let create = format!(
            "CREATE SOURCE {source} ({columns}) WITH (connector = 'file', path = '{}', format = 'csv', \
             header = 'true', \"null\" = 'NA', on_error = 'skip')",
            folder.display()
        );
        client.batch_execute(&create).await.unwrap();
    }
    for (view, query) in VIEWS {
        client.batch_execute(&format!("CREATE MATERIALIZED VIEW {view} AS {query}")).await.unwrap();
    }
}

/// PostgreSQL has no views here: those a query reads stand in it as subqueries.
fn expanded(query: &str) -> String {
    let inner = |query: &str, view: &str| {
        let definition = VIEWS.iter().find(|(name, _)| *name == view).map_or("", |(_, query)| query);
        query.replace(&format!("FROM {view} "), &format!("FROM ({definition}) AS {view} "))
    };
    inner(&inner(query, "airport_days"), "flight_weather")
}

/// The header of a file, and its lines by month; `column` is the month's place.
fn by_month(name: &str, column: usize) -> (String, Vec<Vec<String>>) {
    let (header, lines) = flights_file(name);
    let mut months = vec![Vec::new(); 12];
    for line in lines {
        let month: usize = line.split(',').nth(column).unwrap().parse().unwrap();
        months[month - 1].push(line);
    }
    (header, months)
}

/// A file arrives under its name whole.
fn drop_file(folder: &Path, month: usize, header: &str, lines: &[String]) {
    let (hidden, name) = (folder.join(".arriving"), folder.join(format!("{month:02}.csv")));
    std::fs::write(&hidden, format!("{header}\n{}\n", lines.join("\n"))).unwrap();
    std::fs::rename(hidden, name).unwrap();
}
