//! `state_ttl` of a materialized view: what it may forget of its state.

use weir_common::{Error, Result, SqlState};

use super::bind_on_error::length_option;
use crate::ast::Options;
use crate::bound::StateTtl;

/// The options `state_ttl`, `state_ttl.relation` and `state_ttl_time` of a view.
pub(super) fn state_ttl(options: &Options) -> Result<StateTtl> {
    let mut ttl = StateTtl::default();
    for (name, written) in options {
        let relation = name.strip_prefix("state_ttl.");
        match (name.as_str(), relation) {
            ("state_ttl", _) => ttl.all = Some(positive(name, written)?),
            (_, Some(relation)) => {
                ttl.of_relations.insert(relation.to_owned(), positive(name, written)?);
            }
            ("state_ttl_time", _) => ttl.by_event_time = is_event_time(written)?,
            _ => {
                let message = format!("unknown option \"{name}\" of a materialized view");
                return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
                    .with_hint("The options there are: state_ttl, state_ttl.relation, state_ttl_time."));
            }
        }
    }
    if ttl.is_none() && !options.is_empty() {
        let message = "state_ttl_time without state_ttl";
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    Ok(ttl)
}

fn positive(name: &str, written: &str) -> Result<i64> {
    match length_option(name, written)? {
        0 => {
            let message = format!("{name} must be a positive interval without months, not {written}");
            Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message))
        }
        micros => Ok(micros),
    }
}

fn is_event_time(written: &str) -> Result<bool> {
    match written.to_lowercase().as_str() {
        "event" => Ok(true),
        "processing" => Ok(false),
        _ => {
            let message = format!("state_ttl_time must be processing or event, not {written}");
            Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message))
        }
    }
}
