//! Joins of every kind. Equalities between the sides, also null-safe ones, become keys; the rest is a filter over pairs.
//!
//! Keys that are expressions are computed by a Calc below, so that the join reads columns only. A join without keys
//! pairs every row with every row, on one worker. `NOT IN` ([`lower_null_aware_anti`]) is three anti joins.

use datafusion::common::{DFSchema, JoinType, NullEquality};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Join, LogicalPlan, Operator};
use weir_common::{Error, Result};
use weir_exec::error::from_datafusion;
use weir_exec::expr::{Literal, ScalarExpr};
use weir_exec::spec::JoinKind;

use crate::rules::merge_calc;
use crate::stream::event_time::join_times;
use crate::stream::lower::{Extended, columns_of, lower, lower_expr};
use crate::stream::plan::{StreamColumn, StreamNode, StreamPlan};
use crate::stream::scalar::{filter_of, move_columns};
use crate::stream::set_operation::BagOperation;

/// The stream plan of a join.
pub(super) fn lower_join(join: &Join) -> Result<StreamPlan> {
    let condition = Condition::of(join)?;
    if join.null_aware {
        return lower_null_aware_anti(join, condition);
    }
    let mut left = Side::lower(&join.left, condition.keys.iter().map(|key| &key.left))?;
    let mut right = Side::lower(&join.right, condition.keys.iter().map(|key| &key.right))?;
    let mut condition = condition.lower(join, &left, &right)?;
    let (mut kind, columns) = (kind(join)?, columns_of(&join.schema));
    if matches!(join.join_type, JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark) {
        let (left_width, right_width) = (left.plan.columns.len(), right.plan.columns.len());
        let turned = |i: usize| if i < left_width { i + right_width } else { i - left_width };
        condition.filter = condition.filter.map(|filter| move_columns(&filter, &turned));
        std::mem::swap(&mut left, &mut right);
    }
    if kind == JoinKind::Semi && condition.filter.is_none() && right.is_unique() {
        // There is one match at most: nothing to count.
        kind = JoinKind::Inner;
        right = right.only_keys();
    }
    let both = left.plan.columns.len() + right.plan.columns.len();
    let mut project: Vec<usize> = (0..left.width).collect();
    match kind {
        JoinKind::Mark => project.push(both),
        _ if matches!(join.join_type, JoinType::LeftSemi | JoinType::RightSemi) => {}
        kind if kind.emits_pairs() => {
            project.extend((0..right.width).map(|i| i + left.plan.columns.len()));
        }
        _ => {}
    }
    hash_join(kind, left, right, condition, project, columns)
}

fn kind(join: &Join) -> Result<JoinKind> {
    Ok(match join.join_type {
        JoinType::Inner => JoinKind::Inner,
        JoinType::Left => JoinKind::Left,
        JoinType::Right => JoinKind::Right,
        JoinType::Full => JoinKind::Full,
        JoinType::LeftSemi | JoinType::RightSemi => JoinKind::Semi,
        JoinType::LeftAnti | JoinType::RightAnti => JoinKind::Anti,
        JoinType::LeftMark | JoinType::RightMark => JoinKind::Mark,
    })
}

/// INTERSECT ALL and EXCEPT ALL: a join on all columns, NULL equals NULL, that counts copies.
pub(super) fn lower_bag_operation(operation: &BagOperation) -> Result<StreamPlan> {
    let (left, right) = (lower(&operation.left)?, lower(&operation.right)?);
    let columns = columns_of(operation.left.schema());
    let all: Vec<usize> = (0..left.columns.len()).collect();
    let condition = Lowered { null_equal: vec![true; all.len()], filter: None };
    let side = |plan: StreamPlan| Side { width: all.len(), plan, keys: all.clone() };
    let kind = if operation.intersects { JoinKind::IntersectAll } else { JoinKind::ExceptAll };
    hash_join(kind, side(left), side(right), condition, all.clone(), columns)
}

/// `x NOT IN (SELECT s …)`: no row is equal, none is NULL, and if x is NULL there is no row at all.
///
/// ```text
///   left ▷ right on x = s  ▷ (right where s is NULL)  ▷ right on (0 where x is NULL) = 0      each on the rest too
/// ```
fn lower_null_aware_anti(join: &Join, mut condition: Condition) -> Result<StreamPlan> {
    if condition.keys.is_empty() {
        return Err(Error::unsupported("NOT IN of a value that is no column in a materialized view")
            .with_hint("Use NOT EXISTS (SELECT … WHERE s = x)."));
    }
    let test = condition.keys.remove(0);
    let width = join.left.schema().fields().len();
    let rest: Vec<&Key> = condition.keys.iter().collect();
    let steps: [&dyn Fn(&mut Side, &mut Side); 3] = [
        &|_, _| {},
        &|left, right| {
            let (key, _) = (right.keys.remove(0), left.keys.remove(0));
            let is_null = ScalarExpr::IsNull(Box::new(ScalarExpr::Column(key)));
            right.plan = merge_calc::filter(right.plan.clone(), is_null);
        },
        &|left, right| {
            let zero = ScalarExpr::Literal(Literal::Int(0), arrow::datatypes::DataType::Int32);
            let x = ScalarExpr::Column(left.keys[0]);
            let when_null = ScalarExpr::Case {
                operand: None,
                branches: vec![(ScalarExpr::IsNull(Box::new(x)), zero.clone())],
                otherwise: None,
            };
            left.keys[0] = left.add(when_null);
            right.keys[0] = right.add(zero);
        },
    ];
    let mut input = lower(&join.left)?;
    for step in steps {
        let keys = || std::iter::once(&test).chain(rest.iter().copied());
        let mut left = Side::over(input, join.left.schema(), keys().map(|key| &key.left))?;
        let mut right = Side::lower(&join.right, keys().map(|key| &key.right))?;
        step(&mut left, &mut right);
        let mut lowered = condition.lower(join, &left, &right)?;
        lowered.null_equal.resize(left.keys.len(), false);
        lowered.null_equal.rotate_right(left.keys.len() - rest.len());
        let columns = left.plan.columns[..width].to_vec();
        input = hash_join(JoinKind::Anti, left, right, lowered, (0..width).collect(), columns)?;
    }
    Ok(input.renamed(columns_of(&join.schema)))
}

fn hash_join(
    kind: JoinKind,
    left: Side,
    right: Side,
    condition: Lowered,
    project: Vec<usize>,
    columns: Vec<StreamColumn>,
) -> Result<StreamPlan> {
    for (l, r) in left.keys.iter().zip(&right.keys) {
        let (l, r) = (&left.plan.columns[*l].ty, &right.plan.columns[*r].ty);
        if l != r {
            return Err(Error::internal(format!("join keys have different types: {l} and {r}")));
        }
    }
    // Rows without columns are carried by one that nobody reads.
    let (project, columns) =
        if project.is_empty() { (vec![0], left.plan.columns[..1].to_vec()) } else { (project, columns) };
    let Lowered { null_equal, filter } = condition;
    let node = StreamNode::HashJoin {
        kind,
        left_keys: left.keys,
        right_keys: right.keys,
        null_equal,
        filter,
        project,
        ttl: [None, None],
    };
    let mut inputs = vec![left.plan, right.plan];
    if let Some(times) = join_times::of(&node, &inputs) {
        inputs = inputs.into_iter().enumerate().map(|(side, input)| times.on_time(input, side)).collect();
    }
    Ok(StreamPlan::new(node, inputs, columns))
}

/// A key of a join.
struct Key {
    left: Expr,
    right: Expr,
    null_equal: bool,
}

/// What pairs must fulfil: keys, and the other terms.
struct Condition {
    keys: Vec<Key>,
    filter: Vec<Expr>,
}

/// A condition over the columns of a stream join.
struct Lowered {
    null_equal: Vec<bool>,
    filter: Option<ScalarExpr>,
}

impl Condition {
    fn of(join: &Join) -> Result<Condition> {
        let null_equal = join.null_equality == NullEquality::NullEqualsNull;
        let key = |(left, right): &(Expr, Expr)| Key { left: left.clone(), right: right.clone(), null_equal };
        let mut condition = Condition { keys: join.on.iter().map(key).collect(), filter: Vec::new() };
        for term in join.filter.iter().flat_map(split_conjunction) {
            match key_of(term, join)? {
                Some(key) => condition.keys.push(key),
                None => condition.filter.push(term.clone()),
            }
        }
        Ok(condition)
    }

    fn lower(&self, join: &Join, left: &Side, right: &Side) -> Result<Lowered> {
        let schema = join.left.schema().join(join.right.schema()).map_err(from_datafusion)?;
        let (width, left_width) = (join.left.schema().fields().len(), left.plan.columns.len());
        let moved = |i: usize| if i < width { i } else { i - width + left_width };
        debug_assert!(right.width <= right.plan.columns.len(), "computed keys come after the columns");
        let terms = self.filter.iter().map(|term| Ok(move_columns(&lower_expr(term, &schema)?, &moved)));
        let terms = terms.collect::<Result<Vec<ScalarExpr>>>()?;
        let filter = filter_of(&terms.iter().collect::<Vec<_>>());
        let null_equal = self.keys.iter().map(|key| key.null_equal).collect();
        Ok(Lowered { null_equal, filter: filter.filter(|filter| !is_true(filter)) })
    }
}

fn is_true(filter: &ScalarExpr) -> bool {
    matches!(filter, ScalarExpr::Literal(Literal::Bool(true), _))
}

/// A term that compares a value of one side with one of the other by equality.
fn key_of(term: &Expr, join: &Join) -> Result<Option<Key>> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = term else { return Ok(None) };
    let null_equal = match op {
        Operator::Eq => false,
        Operator::IsNotDistinctFrom => true,
        _ => return Ok(None),
    };
    let of = |expr: &Expr, schema: &DFSchema| {
        let columns = expr.column_refs();
        !columns.is_empty() && columns.iter().all(|column| schema.has_column(column))
    };
    let (ls, rs) = (join.left.schema(), join.right.schema());
    let (l, r) = match () {
        () if of(left, ls) && of(right, rs) => (left, right),
        () if of(right, ls) && of(left, rs) => (right, left),
        () => return Ok(None),
    };
    if l.get_type(ls).map_err(from_datafusion)? != r.get_type(rs).map_err(from_datafusion)? {
        return Ok(None);
    }
    Ok(Some(Key { left: l.as_ref().clone(), right: r.as_ref().clone(), null_equal }))
}

/// One input of a join.
struct Side {
    /// The input, with computed keys after its own columns.
    plan: StreamPlan,
    /// How many columns the input has of its own.
    width: usize,
    /// Where the join keys are.
    keys: Vec<usize>,
}

impl Side {
    fn lower<'a>(logical: &LogicalPlan, keys: impl Iterator<Item = &'a Expr>) -> Result<Side> {
        Side::over(lower(logical)?, logical.schema(), keys)
    }

    fn over<'a>(input: StreamPlan, schema: &DFSchema, keys: impl Iterator<Item = &'a Expr>) -> Result<Side> {
        let mut rows = Extended::over(input, schema);
        let keys = keys.map(|key| rows.add(key)).collect::<Result<_>>()?;
        Ok(Side { width: schema.fields().len(), plan: rows.compute(), keys })
    }

    /// One more computed column; where it is.
    fn add(&mut self, expr: ScalarExpr) -> usize {
        let mut columns = self.plan.columns.clone();
        let mut project: Vec<ScalarExpr> = (0..columns.len()).map(ScalarExpr::Column).collect();
        columns.push(StreamColumn { name: "test".into(), ty: arrow::datatypes::DataType::Int32 });
        project.push(expr);
        self.plan = merge_calc::calc(self.plan.clone(), None, project, columns);
        self.plan.columns.len() - 1
    }

    /// Whether no key value occurs twice.
    fn is_unique(&self) -> bool {
        self.plan.traits.key.as_ref().is_some_and(|key| key.iter().all(|k| self.keys.contains(k)))
    }

    /// The side without its other columns.
    fn only_keys(self) -> Side {
        let plan = merge_calc::select(self.plan, &self.keys);
        Side { width: plan.columns.len(), keys: (0..self.keys.len()).collect(), plan }
    }
}
