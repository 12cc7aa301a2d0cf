//! `obj_description`, `col_description`, `shobj_description`: comments.

use weir_common::Result;
use weir_common::SqlType::{Int4, Name, Oid, Text};

use super::row::Row;
use super::{FunctionContext, SystemFunction, strict};
use crate::object::ObjectKind;
use crate::system::rows::Value;

pub(super) fn functions() -> Vec<SystemFunction> {
    vec![
        strict("obj_description", &[Oid], Text, |cx, row| Ok(comment(cx, row)?.into())),
        strict("obj_description", &[Oid, Name], Text, comment_in_catalog),
        strict("col_description", &[Oid, Int4], Text, column_comment),
        // Databases and roles have no comments.
        strict("shobj_description", &[Oid, Name], Text, |_, _| Ok(Value::Null)),
    ]
}

fn comment<'a>(cx: &'a FunctionContext, row: &Row<'_>) -> Result<Option<&'a str>> {
    Ok(cx.catalog.object(row.oid(0)?).and_then(|object| object.comment.as_deref()))
}

fn comment_in_catalog(cx: &FunctionContext, row: &Row<'_>) -> Result<Value> {
    let wanted = row.text(1)?;
    let in_catalog = cx.catalog.object(row.oid(0)?).map(|object| match object.kind {
        ObjectKind::Schema => "pg_namespace",
        _ => "pg_class",
    });
    if in_catalog != Some(wanted) {
        return Ok(Value::Null);
    }
    Ok(comment(cx, row)?.into())
}

fn column_comment(cx: &FunctionContext, row: &Row<'_>) -> Result<Value> {
    let Some(object) = cx.catalog.object(row.oid(0)?) else { return Ok(Value::Null) };
    let column = u16::try_from(row.int(1)?).unwrap_or(0);
    Ok(object.column_comments.get(&column).into())
}
