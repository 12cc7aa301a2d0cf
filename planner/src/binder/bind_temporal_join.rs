//! `l JOIN r FOR SYSTEM_TIME AS OF l.ts ON l.k = r.k`: each left row with the version of the right row that was valid at
//! the left row's time (SQL:2011; Flink's event-time temporal join).
//!
//! A relation keeps no history of its rows: its rows are the versions, and a column says from when on each is valid. A
//! version is valid until the next one of the same key. So the join is an ASOF join on the right side's key, with the
//! rest of ON as a condition on the version that was found:
//!
//! ```text
//!   o JOIN r FOR SYSTEM_TIME AS OF o.ts ON o.cur = r.cur AND r.rate > 1
//!     →  Filter r.rate > 1  over  AsofJoin o.cur = r.cur AND o.ts >= r.valid_from
//!   o LEFT JOIN …
//!     →  Projection o.*, CASE WHEN r.rate > 1 THEN r.rate END, …  over the same join, left
//! ```

use datafusion::common::{Column, Result as DfResult};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Case, Expr, JoinType, LogicalPlan, LogicalPlanBuilder, Operator};
use sqlparser::ast::{
    Expr as SqlExpr, Join, JoinConstraint, JoinOperator, Spanned, TableFactor, TableVersion,
};
use weir_catalog::ObjectKind;
use weir_common::{Error, RelationKey, Result, SqlState, SqlType};
use weir_exec::spec::Nearest;

use super::bind_asof_join::compared;
use super::bind_expr::ExprContext;
use super::bind_join::using_name;
use super::bind_lookup_join::lookup_plan;
use super::bind_operator::balanced;
use super::scope::{Relation, Scope, ScopeColumn, reference};
use super::{Binder, plan_error};
use crate::asof_join::AsofJoin;
use crate::logical::relation_source;
use crate::parser::is_processing_time;

/// A join with the versions of a relation as of a time.
pub(crate) struct TemporalClause<'j> {
    time: &'j SqlExpr,
    is_left: bool,
    constraint: &'j JoinConstraint,
    /// The relation, without the time.
    relation: TableFactor,
}

impl<'j> TemporalClause<'j> {
    /// Of a join, if it is one. 0A000 for a kind of join that keeps right rows.
    pub(crate) fn of(join: &'j Join) -> Result<Option<TemporalClause<'j>>> {
        let TableFactor::Table { version: Some(TableVersion::ForSystemTimeAsOf(time)), .. } = &join.relation
        else {
            return Ok(None);
        };
        use JoinOperator as J;
        let (is_left, constraint) = match &join.join_operator {
            J::Left(constraint) | J::LeftOuter(constraint) => (true, constraint),
            J::Join(constraint) | J::Inner(constraint) => (false, constraint),
            _ => {
                return Err(Error::unsupported("this kind of join with FOR SYSTEM_TIME AS OF")
                    .with_hint("Use JOIN or LEFT JOIN; the versions stand on the right."));
            }
        };
        let mut relation = join.relation.clone();
        if let TableFactor::Table { version, .. } = &mut relation {
            *version = None;
        }
        Ok(Some(TemporalClause { time, is_left, constraint, relation }))
    }
}

impl Binder<'_> {
    /// `left JOIN relation FOR SYSTEM_TIME AS OF …`.
    pub(crate) fn bind_temporal_join(
        &self,
        left: Relation,
        clause: &TemporalClause<'_>,
        scope: &Scope<'_>,
    ) -> Result<Relation> {
        let position = self.position(clause.time);
        let right = self.bind_factor(&clause.relation, None, JoinType::Inner, scope)?;
        let (condition, pairs) = self.temporal_condition(&left, &right, clause, scope)?;
        let plan = if is_processing_time(clause.time) {
            lookup_plan(left.plan, right.plan, condition, clause.is_left).map_err(|e| e.at(position))?
        } else {
            let from = self.valid_from(&right, &clause.relation).map_err(|e| e.at(position))?;
            let time = self.as_of(&left, &right, from, clause, scope)?;
            let condition = VersionCondition::of(condition, &left.plan, &right.plan, &from.column)
                .map_err(|e| e.at(position))?;
            let join = AsofJoin::inner(left.plan, right.plan, condition.on, time, Nearest::AtOrBefore);
            let join = if clause.is_left { join.and_then(AsofJoin::outer) } else { join };
            join.and_then(|join| meeting(join, condition.rest)).map_err(plan_error)?
        };
        let columns = match pairs.is_empty() {
            true => left.columns.into_iter().chain(right.columns).collect(),
            false => {
                self.beside_pairs(left.columns, right.columns, &pairs, JoinType::Left, &mut Vec::new())?
            }
        };
        Ok(Relation { plan, columns })
    }

    /// What ON or USING says, and the columns that USING merges.
    #[allow(clippy::type_complexity, reason = "two results of one look at the clause")]
    fn temporal_condition(
        &self,
        left: &Relation,
        right: &Relation,
        clause: &TemporalClause<'_>,
        scope: &Scope<'_>,
    ) -> Result<(Expr, Vec<(ScopeColumn, ScopeColumn)>)> {
        match clause.constraint {
            JoinConstraint::On(condition) => Ok((self.bind_on(left, right, condition, scope)?, Vec::new())),
            JoinConstraint::Using(names) => {
                let names: Vec<String> = names.iter().filter_map(using_name).collect();
                let pairs = self.using_pairs(left, right, &names)?;
                Ok((self.pairs_equal(&pairs)?, pairs))
            }
            JoinConstraint::Natural | JoinConstraint::None => {
                Err(Error::new(SqlState::SYNTAX_ERROR, "a join FOR SYSTEM_TIME AS OF needs ON or USING")
                    .at(self.span_position(clause.relation.span())))
            }
        }
    }

    /// The left side's time and the right side's in a common type.
    fn as_of(
        &self,
        left: &Relation,
        right: &Relation,
        from: &ScopeColumn,
        clause: &TemporalClause<'_>,
        scope: &Scope<'_>,
    ) -> Result<(Expr, Expr)> {
        let position = self.position(clause.time);
        let around = scope.with_columns(&left.columns);
        let time = self.bind_expr(clause.time, ExprContext::plain(&around, "FOR SYSTEM_TIME AS OF"))?;
        let order = self.operator(">=", time, reference(from, false, None), position)?.expr;
        match compared(&order, left.plan.schema(), right.plan.schema()) {
            Some((time, Operator::GtEq, from)) => Ok((time, from)),
            _ => {
                let what = "FOR SYSTEM_TIME AS OF something else than a time of the left side";
                Err(Error::unsupported(what)
                    .with_hint(format!(
                        "Use a column of the left side, of the type of \"{}\"; a relation has no other history than \
                         its rows.",
                        from.name
                    ))
                    .at(position))
            }
        }
    }

    /// The column that says from when on a row of the right side is valid: the one its watermark is of, or its only
    /// timestamp.
    fn valid_from<'r>(&self, right: &'r Relation, relation: &TableFactor) -> Result<&'r ScopeColumn> {
        if let Some(column) = right.columns.iter().find(|column| self.is_watermarked(column)) {
            return Ok(column);
        }
        let is_time = |column: &&ScopeColumn| matches!(column.ty, SqlType::Timestamp | SqlType::Timestamptz);
        let times: Vec<&ScopeColumn> = right.columns.iter().filter(is_time).collect();
        let name = match relation {
            TableFactor::Table { name, .. } => name.to_string(),
            other => other.to_string(),
        };
        match times.as_slice() {
            [time] => Ok(time),
            [] => Err(Error::new(
                SqlState::UNDEFINED_COLUMN,
                format!("\"{name}\" has no timestamp column from which its rows are valid"),
            )
            .with_hint(
                "FOR SYSTEM_TIME AS OF reads the rows of a relation as versions, each with its time.",
            )),
            [first, ..] => {
                let names: Vec<&str> = times.iter().map(|time| time.name.as_str()).collect();
                Err(Error::new(
                    SqlState::AMBIGUOUS_COLUMN,
                    format!("\"{name}\" has more than one timestamp column: {}", names.join(", ")),
                )
                .with_hint(format!(
                    "Say from which its rows are valid: ASOF JOIN {name} MATCH_CONDITION (… >= {}) ON ….",
                    first.name
                )))
            }
        }
    }

    /// Whether a column is the one that WATERMARK FOR names in its source.
    fn is_watermarked(&self, column: &ScopeColumn) -> bool {
        let Some((object, id)) = column.origin else { return false };
        let object = self.cx.catalog.object(object);
        let watermark = object.and_then(|object| match &object.kind {
            ObjectKind::Source(source) => source.watermark.as_ref(),
            ObjectKind::Table(table) => table.watermark.as_ref(),
            _ => None,
        });
        watermark.is_some_and(|watermark| watermark.column == id)
    }
}

/// What a version must fulfil.
struct VersionCondition {
    /// Keys by which it is found.
    on: Vec<(Expr, Expr)>,
    /// Conditions on the one that was found.
    rest: Vec<Expr>,
}

impl VersionCondition {
    /// Equalities on the right side's key find the version; where it has none, all equalities do. 0A000 if a column of the
    /// key is not compared: then a left row would have several versions.
    fn of(
        condition: Expr,
        left: &LogicalPlan,
        right: &LogicalPlan,
        from: &Column,
    ) -> Result<VersionCondition> {
        let key = version_key(right, from);
        let mut found = VersionCondition { on: Vec::new(), rest: Vec::new() };
        let mut covered: Vec<String> = Vec::new();
        for term in split_conjunction_owned(condition) {
            let Some((l, Operator::Eq, r)) = compared(&term, left.schema(), right.schema()) else {
                found.rest.push(term);
                continue;
            };
            let column = uncast(&r).map(|column| column.name.clone());
            match (&key, column) {
                (Some(key), Some(column)) if key.contains(&column) => covered.push(column),
                (Some(_), _) => {
                    found.rest.push(term);
                    continue;
                }
                (None, _) => {}
            }
            found.on.push((l, r));
        }
        let missing = |column: &&String| !covered.contains(column);
        match key.iter().flatten().find(missing) {
            None => Ok(found),
            Some(column) => Err(Error::unsupported(format!(
                "FOR SYSTEM_TIME AS OF without an equality on \"{column}\""
            ))
            .with_hint(format!(
                "\"{column}\" is part of the key that tells rows apart. ASOF JOIN takes the latest row \
                         whatever its key."
            ))),
        }
    }
}

/// The columns of a stored relation's key beside the one that tells versions apart, if they are known.
fn version_key(right: &LogicalPlan, from: &Column) -> Option<Vec<String>> {
    let scan = match right {
        LogicalPlan::TableScan(scan) => scan,
        LogicalPlan::Projection(projection) => match projection.input.as_ref() {
            LogicalPlan::TableScan(scan) => scan,
            _ => return None,
        },
        _ => return None,
    };
    let source = relation_source(scan).ok()?;
    let RelationKey::Columns(key) = &source.key else { return None };
    let names = key.iter().map(|position| source.columns[*position].name.clone());
    Some(names.filter(|name| *name != from.name).collect())
}

/// The column that a value is, whatever type it is compared in.
fn uncast(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Cast(cast) => uncast(&cast.expr),
        _ => None,
    }
}

/// The join's rows that meet further conditions; of a left join, what does not meet them becomes NULL.
fn meeting(join: AsofJoin, conditions: Vec<Expr>) -> DfResult<LogicalPlan> {
    if conditions.is_empty() {
        return Ok(join.into_plan());
    }
    let condition = balanced(conditions, Operator::And);
    let (is_outer, left_width) = (join.is_outer(), join.left.schema().fields().len());
    let plan = LogicalPlanBuilder::from(join.into_plan());
    if !is_outer {
        return plan.filter(condition)?.build();
    }
    let columns = plan.schema().columns().into_iter().enumerate();
    let shown = columns.map(|(position, column)| {
        let value = Expr::Column(column.clone());
        if position < left_width {
            return value;
        }
        let met = vec![(Box::new(condition.clone()), Box::new(value))];
        Expr::Case(Case::new(None, met, None)).alias_qualified(column.relation, column.name)
    });
    let shown: Vec<Expr> = shown.collect();
    plan.project(shown)?.build()
}
