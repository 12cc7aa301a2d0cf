//! The orders in which a suite's sections run: views before, in the middle of, or after the data, and a crash.
//!
//! ```text
//! before  tables views data checks
//! middle  tables data/2 views data/2 checks          × crash before the checks, or not
//! after   tables data views checks
//! ```
//! Place in the flow: a pure function from records to steps. What a view shows must not depend on when it was
//! created; these are the circumstances under which a suite says so.

use crate::script::{Record, Script, Section};

/// When views are created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Views {
    Before,
    Middle,
    After,
}

/// Whether the server is killed and started again before the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    No,
    BeforeChecks,
}

/// What the runner does next.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    Record(&'a Record),
    Crash,
}

impl Views {
    pub const ALL: [Views; 3] = [Views::Before, Views::Middle, Views::After];

    /// The name that options, `skipif` and `onlyif` know.
    pub fn name(self) -> &'static str {
        match self {
            Views::Before => "before",
            Views::Middle => "middle",
            Views::After => "after",
        }
    }
}

/// The steps of a suite in this order. A suite without sections runs as it is written.
pub fn steps(script: &Script, views: Views, crash: Crash) -> Vec<Step<'_>> {
    let section =
        |wanted| script.records.iter().filter(|r| r.section == wanted).map(Step::Record).collect::<Vec<_>>();
    if !script.sectioned {
        return script.records.iter().map(Step::Record).collect();
    }
    let mut data = section(Section::Data);
    let second_half = match views {
        Views::Before => std::mem::take(&mut data),
        Views::Middle => data.split_off(data.len() / 2),
        Views::After => Vec::new(),
    };
    let mut steps = section(Section::Tables);
    steps.extend(data);
    steps.extend(section(Section::Views));
    steps.extend(second_half);
    if crash == Crash::BeforeChecks {
        steps.push(Step::Crash);
    }
    steps.extend(section(Section::Checks));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Action;

    fn suite(sectioned: bool) -> Script {
        let record = |(i, section): (usize, &Section)| Record {
            place: i.to_string(),
            section: *section,
            conditions: Vec::new(),
            action: Action::Halt,
        };
        let sections = [Section::Tables, Section::Data, Section::Data, Section::Views, Section::Checks];
        Script { records: sections.iter().enumerate().map(record).collect(), sectioned }
    }

    fn places(script: &Script, views: Views, crash: Crash) -> String {
        let place = |step: &Step<'_>| match step {
            Step::Record(record) => record.place.clone(),
            Step::Crash => "!".to_string(),
        };
        steps(script, views, crash).iter().map(place).collect()
    }

    #[test]
    fn sections_move() {
        let script = suite(true);
        assert_eq!(places(&script, Views::Before, Crash::No), "03124");
        assert_eq!(places(&script, Views::Middle, Crash::No), "01324");
        assert_eq!(places(&script, Views::After, Crash::BeforeChecks), "0123!4");
    }

    #[test]
    fn a_suite_without_sections_stays_as_it_is() {
        assert_eq!(places(&suite(false), Views::Before, Crash::BeforeChecks), "01234");
    }
}
