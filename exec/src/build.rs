//! Makes operators from their specifications.

use weir_common::{Error, Result};

use crate::operator::Operator;
use crate::operators::aggregate::Aggregate;
use crate::operators::asof_join::AsofJoin;
use crate::operators::calc::Calc;
use crate::operators::emit_on_close::EmitOnClose;
use crate::operators::hash_join::HashJoin;
use crate::operators::late_filter::LateFilter;
use crate::operators::lookup_join::LookupJoin;
use crate::operators::match_recognize::MatchRecognize;
use crate::operators::proc_time::ProcTime;
use crate::operators::session::{Session, are_sessions};
use crate::operators::temporal_filter::TemporalFilter;
use crate::operators::tolerant_calc::TolerantCalc;
use crate::operators::top_n::TopN;
use crate::operators::union::Union;
use crate::operators::unnest::Unnest;
use crate::operators::window::Window;
use crate::spec::{NodeSpec, OperatorSpec};

/// The operator that a specification describes. It has no state before `open`.
pub fn build(spec: &NodeSpec) -> Result<Box<dyn Operator>> {
    let ports = match &spec.operator {
        OperatorSpec::Calc { .. } | OperatorSpec::Aggregate { .. } | OperatorSpec::Unnest { .. } => 1,
        OperatorSpec::TopN { .. } | OperatorSpec::Window { .. } | OperatorSpec::TolerantCalc { .. } => 1,
        OperatorSpec::LateFilter { .. } | OperatorSpec::EmitOnClose { .. } => 1,
        OperatorSpec::TemporalFilter { .. } | OperatorSpec::ProcTime => 1,
        OperatorSpec::MatchRecognize(_) => 1,
        OperatorSpec::HashJoin { .. } | OperatorSpec::AsofJoin(_) | OperatorSpec::LookupJoin(_) => 2,
        OperatorSpec::Union => spec.inputs.len(),
    };
    if spec.inputs.len() != ports {
        return Err(Error::internal(format!("{} inputs for {:?}", spec.inputs.len(), spec.operator)));
    }
    Ok(match &spec.operator {
        OperatorSpec::Calc { filter, project } => {
            Box::new(Calc::new(filter.as_ref(), project, &spec.inputs[0], &spec.output)?)
        }
        OperatorSpec::TolerantCalc { filter, project, letters } => {
            Box::new(TolerantCalc::new(filter.as_ref(), project, letters, &spec.inputs[0], &spec.output)?)
        }
        OperatorSpec::Aggregate { group, calls, input_mode, closing, ttl } => {
            let aggregate = Aggregate::new(group, calls, *input_mode, &spec.inputs[0])?;
            Box::new(aggregate.closing_by(*closing, *ttl))
        }
        OperatorSpec::LateFilter { column, letters } => {
            Box::new(LateFilter::new(*column, letters.as_ref(), &spec.inputs[0])?)
        }
        OperatorSpec::ProcTime => Box::new(ProcTime::new(&spec.output)),
        OperatorSpec::EmitOnClose { .. } => Box::new(EmitOnClose::new(spec)?),
        OperatorSpec::TemporalFilter { .. } => Box::new(TemporalFilter::new(spec)?),
        OperatorSpec::HashJoin { .. } => Box::new(HashJoin::new(spec)?),
        OperatorSpec::AsofJoin(_) => Box::new(AsofJoin::new(spec)?),
        OperatorSpec::LookupJoin(_) => Box::new(LookupJoin::new(spec)?),
        OperatorSpec::TopN { .. } => Box::new(TopN::new(spec)?),
        OperatorSpec::Window { calls, .. } if are_sessions(calls) => Box::new(Session::new(spec)?),
        OperatorSpec::Window { .. } => Box::new(Window::new(spec)?),
        OperatorSpec::MatchRecognize(_) => Box::new(MatchRecognize::new(spec)?),
        OperatorSpec::Union => Box::new(Union),
        OperatorSpec::Unnest { lists, outer, project } => {
            Box::new(Unnest::new(lists, *outer, project, &spec.inputs[0], &spec.output)?)
        }
    })
}
