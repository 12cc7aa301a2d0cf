//! `MatchRecognize`: the logical node of MATCH_RECOGNIZE.
//!
//! Place in the flow: the binder writes it; a view lowers it to a stream node, a batch query plans it as the same operator
//! over rows that end. Its expressions are data already ([`RowPattern`]), over the input's columns by position: they are no
//! expressions over one row, so no rule may look at them.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};

use datafusion::common::{DFSchemaRef, Result as DfResult, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use weir_exec::spec::RowPattern;

use crate::explain::row_pattern::render_match_recognize;

/// `input MATCH_RECOGNIZE (…)`.
#[derive(Clone, Debug)]
pub struct MatchRecognize {
    pub input: LogicalPlan,
    pub pattern: RowPattern,
    /// The columns that the pattern projects, under their names, then its measures.
    pub schema: DFSchemaRef,
}

impl MatchRecognize {
    /// What distinguishes it from others over the same input.
    fn identity(&self) -> Vec<u8> {
        postcard::to_stdvec(&self.pattern).expect("plan data has no unserialisable part")
    }

    /// What it does as text.
    pub fn render(&self) -> String {
        let columns: Vec<&str> =
            self.input.schema().fields().iter().map(|field| field.name().as_str()).collect();
        render_match_recognize(&self.pattern, &columns)
    }
}

impl PartialEq for MatchRecognize {
    fn eq(&self, other: &Self) -> bool {
        self.input == other.input && self.pattern == other.pattern && self.schema == other.schema
    }
}

impl Eq for MatchRecognize {}

impl PartialOrd for MatchRecognize {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.input.partial_cmp(&other.input)? {
            Ordering::Equal => self.identity().partial_cmp(&other.identity()),
            order => Some(order),
        }
    }
}

impl Hash for MatchRecognize {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
        self.identity().hash(state);
    }
}

impl UserDefinedLogicalNodeCore for MatchRecognize {
    fn name(&self) -> &str {
        "MatchRecognize"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    /// A condition on the partition alone holds before as after.
    fn prevent_predicate_push_down_columns(&self) -> std::collections::HashSet<String> {
        let shown = self.pattern.project.iter().map(Some).chain(self.pattern.measures.iter().map(|_| None));
        let fields = self.schema.fields().iter().zip(shown);
        let is_partition =
            |column: &Option<&usize>| column.is_some_and(|c| self.pattern.partition.contains(c));
        let others = fields.filter(|(_, column)| !is_partition(column));
        let others: BTreeSet<String> = others.map(|(field, _)| field.name().clone()).collect();
        others.into_iter().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.render())
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let Ok([input]) = <[LogicalPlan; 1]>::try_from(inputs) else {
            return internal_err!("MATCH_RECOGNIZE has one input");
        };
        Ok(MatchRecognize { input, pattern: self.pattern.clone(), schema: self.schema.clone() })
    }
}
