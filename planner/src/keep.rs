//! Whether a statement means the same at every execution, so that what was made of it once may be kept.
//!
//! Place in the flow: the session layer asks before it keeps the plan of a prepared statement. Invariant: a query that
//! may be kept depends on its parameters, the catalog and the settings alone: it calls no function, whose result might
//! be another at another time, and reads no view, whose text is not seen here.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, ObjectName, Query, visit_expressions, visit_relations};
use weir_catalog::{CatalogSnapshot, ObjectKind};

use crate::ast::{ParsedStatement, Statement};
use crate::parser::fold;

/// Whether the plan of a statement may be kept while catalog and settings stay.
pub fn may_be_kept(statement: &ParsedStatement, catalog: &CatalogSnapshot, search_path: &[String]) -> bool {
    match &statement.statement {
        Statement::Query(query) => !calls_function(query) && !reads_view(query, catalog, search_path),
        _ => false,
    }
}

fn calls_function(query: &Query) -> bool {
    let visited = visit_expressions(query, |e| match e {
        Expr::Function(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    visited.is_break()
}

fn reads_view(query: &Query, catalog: &CatalogSnapshot, search_path: &[String]) -> bool {
    let visited = visit_relations(query, |name: &ObjectName| {
        let mut parts = name.0.iter().rev().filter_map(|part| part.as_ident()).map(fold);
        let (name, schema) = (parts.next().unwrap_or_default(), parts.next());
        match catalog.find(schema.as_deref(), &name, search_path).map(|object| &object.kind) {
            Some(ObjectKind::View(_)) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    visited.is_break()
}
