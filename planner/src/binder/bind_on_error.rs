//! ON ERROR of a materialized view or a source: which table gets the rows that are left out.

use std::collections::BTreeMap;

use sqlparser::ast::{ObjectName, Spanned};
use weir_catalog::{LETTER_COLUMNS, Object, TableDef};
use weir_common::{Error, ObjectId, Result, SqlState, SqlType};
use weir_exec::functions::length_micros;

use super::Binder;
use crate::ast::OnError;

impl Binder<'_> {
    /// The table of a view's policy, which the view depends on; `None` for FAIL.
    pub(crate) fn bind_on_error(
        &self,
        policy: &OnError,
        depends_on: &mut Vec<ObjectId>,
    ) -> Result<Option<ObjectId>> {
        match policy {
            OnError::Fail => Ok(None),
            OnError::Skip => Ok(Some(ObjectId::DEAD_LETTERS)),
            OnError::Into(name) => {
                let object = self.letter_table(name)?;
                self.check_no_cycle((object.0, &object.1), depends_on)?;
                depends_on.push(object.0);
                Ok(Some(object.0))
            }
        }
    }

    /// The table of LATE INTO, which the view depends on.
    pub(crate) fn bind_late_rows(
        &self,
        into: Option<&ObjectName>,
        depends_on: &mut Vec<ObjectId>,
    ) -> Result<Option<ObjectId>> {
        let policy = into.map_or(OnError::Fail, |table| OnError::Into(table.clone()));
        self.bind_on_error(&policy, depends_on)
    }

    /// The allowed lateness of a view, in microseconds.
    pub(crate) fn lateness(&self, written: Option<&String>) -> Result<i64> {
        written.map_or(Ok(0), |written| length_option("allowed_lateness", written))
    }

    /// A source's policy as the options of its connector; what the source depends on.
    pub(crate) fn set_error_options(
        &self,
        policy: &OnError,
        options: &mut BTreeMap<String, String>,
    ) -> Result<Vec<ObjectId>> {
        if options.contains_key("dead_letters") {
            let message = "unknown option \"dead_letters\"";
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
                .with_hint("Write ON ERROR INTO table behind the options."));
        }
        let table = match policy {
            OnError::Fail => return Ok(Vec::new()),
            OnError::Skip => None,
            OnError::Into(name) => Some(self.letter_table(name)?.0),
        };
        options.insert("on_error".to_owned(), "skip".to_owned());
        options.extend(table.map(|table| ("dead_letters".to_owned(), table.0.to_string())));
        Ok(table.into_iter().collect())
    }

    /// A table with columns for letters.
    fn letter_table(&self, name: &ObjectName) -> Result<(ObjectId, String)> {
        let (object, table) = self.target_table(name, "write into")?;
        check_columns(&object, &table).map_err(|error| error.at(self.span_position(name.span())))?;
        Ok((object.id, object.name.clone()))
    }
}

/// Error 42804 for a column of a letter's name that cannot take it, 42703 when there is none of them.
fn check_columns(object: &Object, table: &TableDef) -> Result<()> {
    let mut is_there = false;
    for (name, ty) in LETTER_COLUMNS {
        let Some(column) = table.columns.iter().find(|column| column.column.name == name) else { continue };
        is_there = true;
        if column.column.ty != ty
            && !(ty.arrow() == column.column.ty.arrow() && column.column.ty == SqlType::Text)
        {
            let message = format!("column \"{name}\" of table \"{}\" must be {ty}", object.name);
            return Err(Error::new(SqlState::DATATYPE_MISMATCH, message));
        }
    }
    if is_there {
        return Ok(());
    }
    let message = format!("table \"{}\" has no column for a row that is left out", object.name);
    let names: Vec<&str> = LETTER_COLUMNS.iter().map(|(name, _)| *name).collect();
    Err(Error::new(SqlState::UNDEFINED_COLUMN, message)
        .with_hint(format!("Give it some of: {}.", names.join(", "))))
}

/// An option that is a length of time, in microseconds; 22023 for one that is not.
pub(crate) fn length_option(name: &str, written: &str) -> Result<i64> {
    let length = weir_common::text::interval::parse(written)?;
    let micros = if length.months == 0 { length_micros(length)? } else { -1 };
    if micros < 0 {
        let message = format!("{name} must be a positive interval without months, not {written}");
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    Ok(micros)
}
