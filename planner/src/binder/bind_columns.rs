//! The columns of a table's definition, with what is written beside them: defaults, keys, sequences.

use sqlparser::ast::{
    CheckConstraint, ColumnOption, DataType, Expr as SqlExpr, GeneratedAs, Ident, IndexColumn,
    NullsDistinctOption, SequenceOptions as SqlSequenceOptions, TableConstraint, UniqueConstraint,
};
use weir_catalog::{ColumnDef, Generation, IdentityKind, ObjectKind};
use weir_common::{Column, Error, ObjectId, Result, SqlState, SqlType};

use super::Binder;
use super::bind_expr::{ExprContext, strip};
use super::bind_sequence::sequence_def;
use super::bind_type::sql_type;
use super::scope::Scope;
use crate::ast::SequenceOptions;
use crate::bound::{NewName, OwnedSequence};
use crate::parser::fold;

/// A key as written: its name, its columns.
#[derive(Default)]
pub(crate) struct Key {
    pub constraint: Option<String>,
    pub columns: Vec<Ident>,
}

/// The columns of a table with everything that is written beside them.
#[derive(Default)]
pub(crate) struct Elements<'d> {
    pub columns: Vec<ColumnDef>,
    pub keys: Vec<Key>,
    /// UNIQUE constraints.
    pub unique_keys: Vec<Key>,
    pub checks: Vec<&'d CheckConstraint>,
    pub sequences: Vec<OwnedSequence>,
}

impl Binder<'_> {
    pub(crate) fn bind_columns<'d>(
        &self,
        table: &NewName,
        definitions: &'d [sqlparser::ast::ColumnDef],
        constraints: &'d [TableConstraint],
    ) -> Result<Elements<'d>> {
        let mut elements = Elements::default();
        for definition in definitions {
            let column = self.bind_column(table, definition, &mut elements)?;
            let columns = &mut elements.columns;
            if columns.iter().any(|c| c.column.name == column.column.name) {
                let message = format!("column \"{}\" specified more than once", column.column.name);
                let position = self.span_position(definition.name.span);
                return Err(Error::new(SqlState::DUPLICATE_COLUMN, message).at(position));
            }
            columns.push(column);
        }
        if elements.columns.len() > 1600 {
            return Err(Error::new(SqlState::TOO_MANY_COLUMNS, "tables can have at most 1600 columns"));
        }
        for constraint in constraints {
            match constraint {
                TableConstraint::PrimaryKey(key) => {
                    elements.keys.push(key_of(key.name.as_ref(), &key.columns)?);
                }
                TableConstraint::Unique(key) => elements.unique_keys.push(unique_key_of(key)?),
                TableConstraint::Check(check) => elements.checks.push(check),
                other => return Err(unsupported_constraint(other)),
            }
        }
        Ok(elements)
    }

    pub(crate) fn bind_column<'d>(
        &self,
        table: &NewName,
        definition: &'d sqlparser::ast::ColumnDef,
        elements: &mut Elements<'d>,
    ) -> Result<ColumnDef> {
        let name = fold(&definition.name);
        let position = self.span_position(definition.name.span);
        let serial = serial_type(&definition.data_type);
        let ty = serial.clone().map_or_else(|| sql_type(&definition.data_type), Ok);
        let ty = ty.map_err(|e| e.at(position))?;
        let ty = storable(ty, &name).map_err(|e| e.at(position))?;
        let id = u16::try_from(elements.columns.len() + 1).unwrap_or(u16::MAX);
        let mut column = Column { id, name: name.clone(), ty, nullable: serial.is_none() };
        let mut default_sql = None;
        let mut generation = Generation::Nothing;
        if let Some(ty) = serial {
            let sequence = self.column_sequence(table, &column, &SequenceOptions::default(), ty)?;
            default_sql = Some(format!("nextval('{}'::regclass)", quoted(&sequence.name)));
            elements.sequences.push(sequence);
        }
        for option in &definition.options {
            match &option.option {
                ColumnOption::Null => {}
                ColumnOption::NotNull => column.nullable = false,
                ColumnOption::Default(expr) => {
                    self.check_default(expr, &column)?;
                    default_sql = Some(expr.to_string());
                }
                ColumnOption::PrimaryKey(_) => {
                    let constraint = option.name.as_ref().map(fold);
                    elements.keys.push(Key { constraint, columns: vec![definition.name.clone()] });
                }
                ColumnOption::Unique(unique) => {
                    check_nulls_distinct(unique)?;
                    let constraint = option.name.as_ref().map(fold);
                    let columns = vec![definition.name.clone()];
                    elements.unique_keys.push(Key { constraint, columns });
                }
                ColumnOption::Collation(_) => {}
                ColumnOption::Check(check) => elements.checks.push(check),
                ColumnOption::Generated { generation_expr: Some(expr), .. } => {
                    generation = Generation::Stored(expr.to_string());
                }
                ColumnOption::Generated { generated_as, sequence_options, .. } => {
                    let options = identity_options(sequence_options.as_deref().unwrap_or_default())?;
                    let sequence = self.column_sequence(table, &column, &options, column.ty.clone())?;
                    let kind = match generated_as {
                        GeneratedAs::ByDefault => IdentityKind::ByDefault,
                        _ => IdentityKind::Always,
                    };
                    generation = Generation::Identity { kind, sequence: ObjectId(0) };
                    column.nullable = false;
                    elements.sequences.push(sequence);
                }
                other => return Err(unsupported_option(other).at(position)),
            }
        }
        if default_sql.is_some() && generation != Generation::Nothing {
            let message = format!(
                "both default and generation expression specified for column \"{name}\" of table \"{}\"",
                table.name
            );
            return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(position));
        }
        Ok(ColumnDef { column, default_sql, generation })
    }

    /// The sequence that a serial or identity column brings along: `t_c_seq`.
    fn column_sequence(
        &self,
        table: &NewName,
        column: &Column,
        options: &SequenceOptions,
        ty: SqlType,
    ) -> Result<OwnedSequence> {
        if !matches!(ty, SqlType::Int2 | SqlType::Int4 | SqlType::Int8) {
            let message = "identity column type must be smallint, integer, or bigint";
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let name = self.cx.catalog.free_name(table.schema, &format!("{}_{}_seq", table.name, column.name));
        Ok(OwnedSequence { column: column.id, name, def: sequence_def(options, ty)? })
    }

    pub(crate) fn check_default(&self, expr: &SqlExpr, column: &Column) -> Result<()> {
        let scope = Scope::default();
        self.note_sequences(expr);
        let typed = self.bind_expr(expr, ExprContext::plain(&scope, "DEFAULT expressions")).map_err(|e| {
            match (e.state(), strip(expr)) {
                (SqlState::UNDEFINED_COLUMN, SqlExpr::Identifier(_)) => Error::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "cannot use column reference in DEFAULT expression",
                )
                .at(self.position(expr)),
                _ => e,
            }
        })?;
        let from = typed.ty.clone();
        self.assign(typed, &column.name, &column.ty).map(|_| ()).map_err(|e| match e.state() {
            SqlState::DATATYPE_MISMATCH => {
                let message = format!(
                    "column \"{}\" is of type {} but default expression is of type {}",
                    column.name,
                    column.ty.name(),
                    from.name()
                );
                Error::new(SqlState::DATATYPE_MISMATCH, message)
                    .with_hint("You will need to rewrite or cast the expression.")
            }
            _ => e,
        })
    }

    /// Notes the sequences that a default names as `nextval('s')`.
    fn note_sequences(&self, expr: &SqlExpr) {
        let _ = sqlparser::ast::visit_expressions(expr, |e| {
            if let SqlExpr::Value(value) = e
                && let sqlparser::ast::Value::SingleQuotedString(text) = &value.value
                && let Ok((SqlExpr::Identifier(name), _)) = crate::parser::parse_expression(text)
                && let Some(object) = self.cx.catalog.find(None, &fold(&name), &self.cx.session.search_path)
                && matches!(object.kind, ObjectKind::Sequence(_))
            {
                self.used_sequences.borrow_mut().insert(object.id);
            }
            std::ops::ControlFlow::<()>::Continue(())
        });
    }

    pub(crate) fn bind_key_columns(&self, key: &Key, columns: &mut [ColumnDef]) -> Result<Vec<u16>> {
        let mut ids = Vec::with_capacity(key.columns.len());
        for ident in &key.columns {
            let wanted = fold(ident);
            let position = self.span_position(ident.span);
            let column = columns.iter_mut().find(|c| c.column.name == wanted).ok_or_else(|| {
                let message = format!("column \"{wanted}\" named in key does not exist");
                Error::new(SqlState::UNDEFINED_COLUMN, message).at(position)
            })?;
            column.column.nullable = false;
            if ids.contains(&column.column.id) {
                let message = format!("column \"{wanted}\" appears twice in primary key constraint");
                return Err(Error::new(SqlState::DUPLICATE_COLUMN, message).at(position));
            }
            ids.push(column.column.id);
        }
        Ok(ids)
    }
}

/// A UNIQUE constraint as written.
pub(crate) fn unique_key_of(key: &UniqueConstraint) -> Result<Key> {
    check_nulls_distinct(key)?;
    key_of(key.name.as_ref(), &key.columns)
}

fn check_nulls_distinct(key: &UniqueConstraint) -> Result<()> {
    match key.nulls_distinct {
        NullsDistinctOption::NotDistinct => Err(Error::unsupported("NULLS NOT DISTINCT")
            .with_hint("Declare the columns NOT NULL, or leave NULLs distinct.")),
        _ => Ok(()),
    }
}

fn key_of(name: Option<&Ident>, columns: &[IndexColumn]) -> Result<Key> {
    let columns: Result<Vec<Ident>> = columns
        .iter()
        .map(|c| match &c.column.expr {
            SqlExpr::Identifier(name) => Ok(name.clone()),
            other => Err(Error::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{other}\""))),
        })
        .collect();
    Ok(Key { constraint: name.map(fold), columns: columns? })
}

/// Types a stored column can have.
/// 42P16 for a type that no column can have.
pub(crate) fn storable(ty: SqlType, column: &str) -> Result<SqlType> {
    match ty {
        SqlType::Unknown | SqlType::Void => {
            let message = format!("column \"{column}\" has pseudo-type {}", ty.name());
            Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message))
        }
        ty => Ok(ty),
    }
}

fn unsupported_option(option: &ColumnOption) -> Error {
    match option {
        ColumnOption::ForeignKey(_) => references(),
        other => Error::unsupported(format!("column option {other}")),
    }
}

pub(crate) fn unsupported_constraint(constraint: &TableConstraint) -> Error {
    match constraint {
        TableConstraint::ForeignKey(_) => references(),
        other => Error::unsupported(format!("constraint {other}")),
    }
}

fn references() -> Error {
    Error::unsupported("REFERENCES").with_hint("Leave the foreign key out; join on the column.")
}

/// `serial` and its kin: the integer type.
fn serial_type(ty: &DataType) -> Option<SqlType> {
    let DataType::Custom(name, _) = ty else { return None };
    match name.to_string().to_lowercase().as_str() {
        "smallserial" | "serial2" => Some(SqlType::Int2),
        "serial" | "serial4" => Some(SqlType::Int4),
        "bigserial" | "serial8" => Some(SqlType::Int8),
        _ => None,
    }
}

/// A sequence's name inside of a string literal.
fn quoted(name: &str) -> String {
    weir_catalog::quote_identifier(name).replace('\'', "''")
}

fn identity_options(options: &[SqlSequenceOptions]) -> Result<SequenceOptions> {
    let mut read = SequenceOptions::default();
    let number = |expr: &SqlExpr| {
        expr.to_string()
            .parse::<i64>()
            .map_err(|_| Error::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{expr}\"")))
    };
    for option in options {
        match option {
            SqlSequenceOptions::IncrementBy(expr, _) => read.increment = Some(number(expr)?),
            SqlSequenceOptions::MinValue(expr) => read.min = expr.as_ref().map(number).transpose()?,
            SqlSequenceOptions::MaxValue(expr) => read.max = expr.as_ref().map(number).transpose()?,
            SqlSequenceOptions::StartWith(expr, _) => read.start = Some(number(expr)?),
            SqlSequenceOptions::Cache(_) => {}
            SqlSequenceOptions::Cycle(no) => read.cycle = !no,
        }
    }
    Ok(read)
}
