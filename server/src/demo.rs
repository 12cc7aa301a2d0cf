//! `--demo`: three Nexmark sources and three materialized views over them, made with plain SQL.
//!
//! Place in the flow: `main` runs it once the server listens. Everything is `IF NOT EXISTS`, so a restart
//! finds the demo as it was.

use std::fmt::Write;
use std::sync::Arc;

use weir_common::Result;
use weir_table::Environment;

/// What the demo creates, in order.
const STATEMENTS: &[&str] = &[
    "CREATE SOURCE IF NOT EXISTS person (
        id bigint, name text, email_address text, credit_card text, city text, state text,
        date_time timestamp, extra text
     ) WITH (connector = 'nexmark', table = 'person', rate = '1000')",
    "CREATE SOURCE IF NOT EXISTS auction (
        id bigint, item_name text, description text, initial_bid bigint, reserve bigint,
        date_time timestamp, expires timestamp, seller bigint, category bigint, extra text
     ) WITH (connector = 'nexmark', table = 'auction', rate = '1000')",
    "CREATE SOURCE IF NOT EXISTS bid (
        auction bigint, bidder bigint, price bigint, channel text, url text, date_time timestamp, extra text
     ) WITH (connector = 'nexmark', table = 'bid', rate = '1000')",
    "CREATE MATERIALIZED VIEW IF NOT EXISTS bids_per_channel AS
     SELECT channel, count(*) AS bids, sum(price) AS turnover, max(price) AS highest
     FROM bid GROUP BY channel",
    "CREATE MATERIALIZED VIEW IF NOT EXISTS price_per_category AS
     SELECT a.category, count(*) AS bids, avg(b.price) AS average_price
     FROM bid b JOIN auction a ON b.auction = a.id GROUP BY a.category",
    "CREATE MATERIALIZED VIEW IF NOT EXISTS hot_sellers AS
     SELECT p.id, p.name, p.city, count(*) AS auctions
     FROM auction a JOIN person p ON a.seller = p.id GROUP BY p.id, p.name, p.city",
];

/// What to try, shown to the user.
const EXAMPLES: &[(&str, &str)] = &[
    ("bids_per_channel", "SELECT * FROM bids_per_channel ORDER BY bids DESC LIMIT 5;"),
    (
        "price_per_category",
        "SELECT category, bids, round(average_price, 2) FROM price_per_category ORDER BY 1;",
    ),
    ("hot_sellers", "SELECT name, city, auctions FROM hot_sellers ORDER BY auctions DESC LIMIT 5;"),
];

/// Creates what is missing and gives the text to show.
pub async fn create(env: &Arc<Environment>) -> Result<String> {
    for statement in STATEMENTS {
        env.execute(statement).await?;
    }
    let mut text =
        String::from("The demo is running: sources person, auction, bid. Its views and what to try:\n");
    for (view, example) in EXAMPLES {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {view:<20}{example}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_example_reads_a_view_that_is_created() {
        for (view, example) in EXAMPLES {
            assert!(example.contains(view));
            assert!(STATEMENTS.iter().any(|s| s.contains(&format!("IF NOT EXISTS {view} AS"))), "{view}");
        }
    }
}
