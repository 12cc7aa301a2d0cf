//! `WATERMARK FOR column AS expression`: what a table or source says of its event time.
//!
//! The expression is a monotone function of the column alone. So the greatest value of the column that was seen is all
//! that has to be known of an input, and what the watermark is of it is computed where it is needed.

use std::sync::Arc;

use datafusion::common::{Column as PlanColumn, DFSchema};
use sqlparser::ast::Expr as SqlExpr;
use weir_catalog::{Object, ObjectKind, WatermarkDef};
use weir_common::{Column, Error, ObjectId, Result, SqlState, SqlType};
use weir_exec::event_time::{EventTime, WatermarkExpr};
use weir_exec::expr::{ScalarExpr, from_logical};

use super::Binder;
use super::bind_expr::ExprContext;
use super::bind_on_error::length_option;
use super::scope::{Scope, ScopeColumn};
use crate::ast::{Options, Watermark};
use crate::parser::{fold, parse_expression};
use crate::stream::event_time::{map, monotone};

/// Those of `WATERMARK … WITH (…)`.
fn set_options(def: &mut WatermarkDef, options: &Options) -> Result<()> {
    for (name, written) in options {
        match name.as_str() {
            "max_jump" => def.max_jump_micros = Some(length_option(name, written)?),
            "idle_timeout" => def.idle_timeout_micros = Some(length_option(name, written)?),
            "max_drift" => def.max_drift_micros = Some(length_option(name, written)?),
            "alignment_group" => def.alignment_group = Some(written.clone()),
            _ => {
                let hint = "The options there are: max_jump, idle_timeout, alignment_group, max_drift.";
                return Err(Error::unsupported(format!("the option {name} of a watermark")).with_hint(hint));
            }
        }
    }
    if def.alignment_group.is_some() != def.max_drift_micros.is_some() {
        let message = "alignment_group and max_drift of a watermark must be given together";
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message).with_hint(
            "Sources of one group wait for each other: max_drift says how far one may be ahead.",
        ));
    }
    Ok(())
}

/// What the watermark of a source has no meaning for, or that of a table.
pub(super) fn check_options(options: &Options, of_source: bool) -> Result<()> {
    let refused: &[&str] = if of_source { &["max_jump"] } else { &["alignment_group", "max_drift"] };
    let Some((name, _)) = options.iter().find(|(name, _)| refused.contains(&name.as_str())) else {
        return Ok(());
    };
    let (whose, hint) = match of_source {
        true => ("a source", "Leave rows from the far future out in the query."),
        false => {
            ("a table", "Rows of a table are there when they are inserted; sources are read when it suits.")
        }
    };
    let what = format!("the option {name} of the watermark of {whose}");
    Err(Error::unsupported(what).with_hint(hint))
}

impl Binder<'_> {
    /// The watermark of a relation with these columns, checked.
    pub(crate) fn bind_watermark(&self, watermark: &Watermark, columns: &[Column]) -> Result<WatermarkDef> {
        let wanted = fold(&watermark.column);
        let position = self.span_position(watermark.column.span);
        let column = columns.iter().find(|c| c.name == wanted).ok_or_else(|| {
            Error::new(SqlState::UNDEFINED_COLUMN, format!("column \"{wanted}\" does not exist")).at(position)
        })?;
        if !matches!(column.ty, SqlType::Timestamp | SqlType::Timestamptz) {
            let message = format!("a watermark column must be a timestamp, \"{wanted}\" is {}", column.ty);
            return Err(Error::new(SqlState::DATATYPE_MISMATCH, message).at(position));
        }
        let expr = self.watermark_value(&watermark.expression, column, columns)?;
        if monotone(&expr) != Some(0) {
            let message = format!("the watermark must be a monotone function of \"{wanted}\" alone");
            return Err(Error::new(SqlState::INVALID_OBJECT_DEFINITION, message)
                .with_hint(format!(
                    "Write {wanted} less the time that rows may be late: {wanted} - INTERVAL '5 seconds'."
                ))
                .at(self.position(&watermark.expression)));
        }
        let mut def = WatermarkDef::new(column.id, watermark.expression.to_string());
        set_options(&mut def, &watermark.options)?;
        Ok(def)
    }

    /// The expression over the column, which is column 0 of it. Another column is no part of it, so the name is unknown
    /// to the result: it comes out as another number.
    fn watermark_value(&self, expr: &SqlExpr, column: &Column, columns: &[Column]) -> Result<ScalarExpr> {
        let own_first = std::iter::once(column).chain(columns.iter().filter(|c| c.id != column.id));
        let own_first: Vec<&Column> = own_first.collect();
        let scope_columns: Vec<ScopeColumn> = own_first
            .iter()
            .map(|c| ScopeColumn {
                table: None,
                schema: None,
                name: c.name.clone(),
                column: PlanColumn::new_unqualified(c.name.clone()),
                ty: c.ty.clone(),
                origin: None,
                merged: false,
            })
            .collect();
        let scope = Scope { columns: &scope_columns, ..Scope::default() };
        let typed = self.bind_expr(expr, ExprContext::plain(&scope, "WATERMARK"))?;
        let value = self.assign(typed, &column.name, &column.ty)?;
        let fields: Vec<arrow::datatypes::Field> =
            own_first.iter().map(|c| arrow::datatypes::Field::new(&c.name, c.ty.arrow(), true)).collect();
        let schema = DFSchema::try_from(arrow::datatypes::Schema::new(fields)).map_err(super::plan_error)?;
        from_logical(&value, &schema)
    }

    /// The columns of a stored relation or source that have a watermark.
    pub(crate) fn watermarks_of(&self, object: &Arc<Object>) -> Result<Vec<(usize, WatermarkExpr)>> {
        match &object.kind {
            ObjectKind::MaterializedView(view) => Ok(view
                .watermarks
                .iter()
                .filter_map(|id| view.schema.columns.iter().position(|c| c.id == *id))
                .map(|column| (column, WatermarkExpr::Of(EventTime { object: object.id, column })))
                .collect()),
            ObjectKind::Source(source) => {
                self.declared(object.id, source.watermark.as_ref(), &source.columns)
            }
            ObjectKind::Table(table) => {
                let columns: Vec<Column> = table.columns.iter().map(|c| c.column.clone()).collect();
                self.declared(object.id, table.watermark.as_ref(), &columns)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn declared(
        &self,
        object: ObjectId,
        watermark: Option<&WatermarkDef>,
        columns: &[Column],
    ) -> Result<Vec<(usize, WatermarkExpr)>> {
        let Some(def) = watermark else { return Ok(Vec::new()) };
        let position = columns.iter().position(|c| c.id == def.column);
        let position = position.ok_or_else(|| Error::internal("the watermark of a column that is gone"))?;
        let (expr, source) = parse_expression(&def.expression_sql)?;
        let column = &columns[position];
        let value = self.within_text(source, || self.watermark_value(&expr, column, columns))?;
        let time = WatermarkExpr::Of(EventTime { object, column: position });
        Ok(vec![(position, map(time, &column.ty.arrow(), value))])
    }
}
