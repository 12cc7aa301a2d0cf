//! Names of result columns by PostgreSQL's rule (`FigureColname`): the column, the function, the type of a cast,
//! `case`, `array`, `exists`, else `?column?`.

use sqlparser::ast::{Expr as SqlExpr, Query, SelectItem, SetExpr};

use super::bind_expr::{qualified_column, strip};
use super::bind_function::function_name;
use super::bind_type::sql_type;
use crate::parser::fold;

/// The name of an expression in a select list without AS.
pub(crate) fn output_name(expr: &SqlExpr) -> String {
    strong(expr).or_else(|| weak(expr)).unwrap_or_else(|| "?column?".to_owned())
}

/// Names that a cast around the expression does not change.
fn strong(expr: &SqlExpr) -> Option<String> {
    Some(match strip(expr) {
        SqlExpr::Identifier(ident) => fold(ident),
        SqlExpr::CompoundIdentifier(parts) => fold(parts.last()?),
        SqlExpr::CompoundFieldAccess { root, access_chain } => match qualified_column(root, access_chain).0 {
            Some(parts) => fold(parts.last()?),
            None => return strong(root),
        },
        SqlExpr::Collate { expr, .. } => return strong(expr),
        SqlExpr::Function(function) => function_name(&function.name).ok()?,
        SqlExpr::AtTimeZone { .. } => "timezone".into(),
        SqlExpr::Extract { .. } => "extract".into(),
        SqlExpr::Position { .. } => "position".into(),
        SqlExpr::Substring { .. } => "substring".into(),
        SqlExpr::Overlay { .. } => "overlay".into(),
        SqlExpr::Ceil { .. } => "ceil".into(),
        SqlExpr::Floor { .. } => "floor".into(),
        SqlExpr::Trim { trim_where, .. } => match trim_where {
            Some(sqlparser::ast::TrimWhereField::Leading) => "ltrim".into(),
            Some(sqlparser::ast::TrimWhereField::Trailing) => "rtrim".into(),
            _ => "btrim".into(),
        },
        SqlExpr::Exists { .. } => "exists".into(),
        SqlExpr::Array(_) => "array".into(),
        SqlExpr::Subquery(query) => return subquery_name(query),
        SqlExpr::Cast { expr, .. } => return strong(expr),
        _ => return None,
    })
}

fn weak(expr: &SqlExpr) -> Option<String> {
    match strip(expr) {
        SqlExpr::Cast { expr, data_type, .. } => weak(expr).or_else(|| {
            sql_type(data_type).ok().map(|ty| ty.catalog_name().trim_start_matches('_').to_owned())
        }),
        SqlExpr::TypedString(typed) => sql_type(&typed.data_type).ok().map(|ty| ty.catalog_name()),
        SqlExpr::Interval(_) => Some("interval".into()),
        SqlExpr::Case { else_result, .. } => {
            Some(else_result.as_deref().and_then(strong).unwrap_or_else(|| "case".to_owned()))
        }
        SqlExpr::Value(value) if matches!(value.value, sqlparser::ast::Value::Boolean(_)) => {
            Some("bool".into())
        }
        _ => None,
    }
}

fn subquery_name(query: &Query) -> Option<String> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    match select.projection.first()? {
        SelectItem::ExprWithAlias { alias, .. } => Some(fold(alias)),
        SelectItem::UnnamedExpr(expr) => Some(output_name(expr)),
        _ => None,
    }
}
