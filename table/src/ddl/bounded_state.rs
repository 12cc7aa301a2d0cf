//! `require_bounded_state`: what is said of a job whose state would grow as long as it runs.
//!
//! ```text
//!   off     nothing
//!   warn    a NOTICE for each piece of state, with how to limit it
//!   error   53400, and the job is not made
//! ```
//! It is about what operators keep. What a view shows is as much as its query says.

use weir_common::{Error, Result, SqlState};
use weir_planner::stream::PlannedJob;
use weir_planner::stream::state::UnboundedState;

use super::Planner;
use crate::outcome::Notice;

/// The setting.
const REQUIRE_BOUNDED_STATE: &str = "require_bounded_state";

impl Planner<'_> {
    /// What the user is told of the state of the job `name`. Error: 53400 when it has to be bounded and is not.
    pub(super) fn check_state(&self, name: &str, planned: &PlannedJob) -> Result<Vec<Notice>> {
        match self.session.settings.get(REQUIRE_BOUNDED_STATE).map_or("warn", String::as_str) {
            "off" => Ok(Vec::new()),
            "error" => refuse(name, &planned.unbounded).map(|()| Vec::new()),
            _ => Ok(planned.unbounded.iter().map(notice).collect()),
        }
    }
}

fn notice(state: &UnboundedState) -> Notice {
    let message = format!("state grows without bound: {}", state.growth);
    Notice { hint: Some(state.hint.clone()), ..Notice::notice(message) }
}

fn refuse(name: &str, unbounded: &[UnboundedState]) -> Result<()> {
    let Some(first) = unbounded.first() else { return Ok(()) };
    let growth: Vec<String> = unbounded.iter().map(|state| format!("{}.", state.growth)).collect();
    let mut hints: Vec<&str> = vec![&first.hint];
    hints.extend(unbounded.iter().map(|state| state.hint.as_str()).filter(|hint| *hint != first.hint));
    hints.dedup();
    let message = format!("the state of \"{name}\" would grow without bound");
    Err(Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message)
        .with_detail(growth.join("\n"))
        .with_hint(format!("{} SET {REQUIRE_BOUNDED_STATE} = warn lets it be made.", hints.join("\n"))))
}
