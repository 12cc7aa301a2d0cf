//! The binder: names, types, operators and coercions by PostgreSQL's rules, onto DataFusion logical plans.
//!
//! ```text
//!   Statement ─ bind_* ─► Relation { plan, columns } / Typed { expr, ty } ─► BoundStatement
//! ```
//! Place in the flow: after the parser. One construct a file, `bind_<construct>.rs`; [`scope`] resolves column
//! names, [`typed`] converts between types. Invariants: every column of every plan node has a unique name in its
//! statement, so a column is found by name from anywhere above it; the Arrow type of an expression is that of its
//! `SqlType`; every cast is written out.

mod bind_aggregate;
mod bind_alter;
mod bind_alter_column;
mod bind_asof_join;
mod bind_case;
mod bind_columns;
mod bind_copy;
mod bind_create;
mod bind_cursor;
mod bind_datetime;
mod bind_dml;
mod bind_drop;
mod bind_expr;
mod bind_from;
mod bind_function;
mod bind_group_window;
mod bind_grouping;
mod bind_index;
mod bind_insert;
mod bind_join;
mod bind_lateral;
mod bind_literal;
mod bind_lookup_join;
mod bind_match_recognize;
mod bind_on_error;
mod bind_operator;
mod bind_order;
mod bind_ordered;
mod bind_query;
mod bind_relation;
mod bind_rules;
mod bind_select;
mod bind_sequence;
mod bind_session;
mod bind_set_function;
mod bind_set_operation;
mod bind_show;
mod bind_sink;
mod bind_state_ttl;
mod bind_statement;
mod bind_subquery;
mod bind_temporal_join;
mod bind_ties;
mod bind_time_window;
mod bind_type;
mod bind_update;
mod bind_values;
mod bind_watermark;
mod bind_window;
mod budget;
mod correlation;
mod decorrelate;
mod dependent_join;
mod domain_join;
mod grouping_sets;
mod interval;
mod match_aggregate;
mod match_navigation;
mod match_pattern;
mod match_values;
mod membership;
mod output_name;
mod scope;
mod single_value;
mod system_call;
mod time_window;
mod typed;

#[cfg(test)]
mod tests;

pub(crate) use self::bind_values::fold_constant;
pub(crate) use self::single_value::SINGLE_VALUE;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use datafusion::common::{Column, DataFusionError};
use datafusion::logical_expr::Expr;
use sqlparser::ast::{Expr as SqlExpr, Spanned};
use sqlparser::tokenizer::Span;
use weir_catalog::{CatalogSnapshot, IndexDef, WatermarkDef};
use weir_common::{Error, ObjectId, Result, SqlType};

use crate::ast::{Overriding, ParsedStatement, Watermark};
use crate::bound::BoundStatement;
use crate::context::{BindContext, SessionInfo};
use crate::position::SourceText;

use self::bind_group_window::GroupWindow;
use self::bind_subquery::KnownSubqueries;

pub use bind_type::sql_type;

/// Most expressions or queries inside one another: what a thread's stack of 2 MiB bears.
const DEPTH: usize = 200;
/// Most views inside views.
const VIEW_DEPTH: usize = 32;

/// Resolves all names and types of a statement.
///
/// # Errors
/// What PostgreSQL says to the same statement, with its SQLSTATE and position; 0A000 for what is not there.
pub fn bind(statement: &ParsedStatement, cx: &BindContext) -> Result<BoundStatement> {
    Binder::new(cx, Arc::clone(&statement.source)).bind_statement(statement)
}

/// The columns of an index as expressions over its relation's columns by name, with their types.
///
/// # Errors
/// When the relation has changed so that the index's text means nothing any more.
pub fn index_expressions(catalog: &Arc<CatalogSnapshot>, index: &IndexDef) -> Result<Vec<(Expr, SqlType)>> {
    let relation = catalog.object(index.relation);
    let relation = relation.ok_or_else(|| Error::internal("an index of a relation that is gone"))?;
    let cx = BindContext::new(Arc::clone(catalog), SessionInfo::default());
    Binder::new(&cx, SourceText::new("")).index_expressions(relation, index)
}

/// The watermark of a source whose columns its connector has named.
///
/// # Errors
/// When the columns have no such time, or the expression is not a monotone function of it.
pub fn bind_watermark(
    catalog: &Arc<CatalogSnapshot>,
    watermark: &Watermark,
    columns: &[weir_common::Column],
) -> Result<WatermarkDef> {
    let cx = BindContext::new(Arc::clone(catalog), SessionInfo::default());
    Binder::new(&cx, SourceText::new("")).bind_watermark(watermark, columns)
}

/// The state of binding one statement.
pub(crate) struct Binder<'a> {
    cx: &'a BindContext,
    /// The text that spans point into; a view's own text while it is expanded.
    source: RefCell<Arc<SourceText>>,
    next_name: Cell<usize>,
    scan_names: RefCell<HashSet<String>>,
    /// Tables, materialized views and sources read.
    relations: RefCell<BTreeSet<ObjectId>>,
    /// What the statement's own text names: as `relations`, but views instead of what is in them.
    depends_on: RefCell<BTreeSet<ObjectId>>,
    /// Sequences that the defaults of a table to be created use.
    used_sequences: RefCell<BTreeSet<ObjectId>>,
    depth: Cell<usize>,
    /// Plan nodes that are there because something is repeated.
    repeated: Cell<usize>,
    /// Correlated subqueries that were bound: one that is written again in the same place is the same.
    subqueries: RefCell<KnownSubqueries>,
    view_depth: Cell<usize>,
    /// Whether the query will run for ever: then it may not depend on the session or the time.
    continuous: Cell<bool>,
    /// Whether what is bound must mean the same always: then there is no clock either.
    immutable: Cell<bool>,
    overriding: Cell<Overriding>,
    /// How the user wrote each column that was resolved, and where first: for errors found later.
    mentions: RefCell<HashMap<Column, (String, Option<usize>)>>,
    /// Columns that are all of a function in FROM: its name stands for them too.
    whole_rows: RefCell<HashSet<Column>>,
    /// Windows that the selects being bound group by, the innermost last.
    group_windows: RefCell<Vec<GroupWindow>>,
}

impl<'a> Binder<'a> {
    fn new(cx: &'a BindContext, source: Arc<SourceText>) -> Binder<'a> {
        Binder {
            cx,
            source: RefCell::new(source),
            next_name: Cell::new(0),
            scan_names: RefCell::default(),
            relations: RefCell::default(),
            depends_on: RefCell::default(),
            used_sequences: RefCell::default(),
            depth: Cell::new(0),
            repeated: Cell::new(0),
            subqueries: RefCell::default(),
            view_depth: Cell::new(0),
            continuous: Cell::new(false),
            immutable: Cell::new(false),
            overriding: Cell::default(),
            mentions: RefCell::default(),
            whole_rows: RefCell::default(),
            group_windows: RefCell::default(),
        }
    }

    /// A column name that nothing else in the statement has.
    fn unique(&self, hint: &str) -> String {
        let n = self.next_name.get() + 1;
        self.next_name.set(n);
        format!("{hint}#{n}")
    }

    /// Runs one level deeper, or refuses (54001).
    fn deeper<T>(&self, bind: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.depth.get() >= DEPTH {
            return Err(crate::parser::too_deep());
        }
        self.depth.set(self.depth.get() + 1);
        let result = bind();
        self.depth.set(self.depth.get() - 1);
        result
    }

    /// Binds what must mean the same always.
    fn immutable<T>(&self, bind: impl FnOnce() -> T) -> T {
        let (continuous, immutable) = (self.continuous.replace(true), self.immutable.replace(true));
        let bound = bind();
        self.continuous.set(continuous);
        self.immutable.set(immutable);
        bound
    }

    /// Runs with spans pointing into another text.
    fn within_text<T>(&self, source: Arc<SourceText>, bind: impl FnOnce() -> Result<T>) -> Result<T> {
        let outer = self.source.replace(source);
        let result = bind();
        self.source.replace(outer);
        result
    }

    /// The position of an expression. Inside an expanded view there is none: the text is not the user's.
    fn position(&self, expr: &SqlExpr) -> Option<usize> {
        self.span_position(expr.span())
    }

    fn span_position(&self, span: Span) -> Option<usize> {
        if self.view_depth.get() > 0 {
            return None;
        }
        self.source.borrow().span_position(span)
    }

    fn operator_position(&self, left: Span) -> Option<usize> {
        if self.view_depth.get() > 0 {
            return None;
        }
        self.source.borrow().operator_position(left)
    }
}

/// A failure of DataFusion's plan builder: its own errors are ours to have prevented.
fn plan_error(error: DataFusionError) -> Error {
    weir_exec::error::from_datafusion(error)
}
