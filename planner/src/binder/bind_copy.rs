//! COPY: its table or query, and its options with PostgreSQL's checks.

use datafusion::logical_expr::Expr;
use sqlparser::ast::{Ident, ObjectName};
use weir_catalog::{ColumnDef, Generation, ObjectKind};
use weir_common::{Error, Result, SqlState};

use super::Binder;
use super::bind_dml::no_such_column;
use super::bind_query::Bound;
use super::bind_select::Projected;
use super::scope::Relation;
use crate::ast::{Copy, CopyDirection, CopyEnd, CopySource, CopyValue};
use crate::bound::{BoundQuery, BoundStatement};
use crate::copy::{BoundCopyFrom, BoundCopyTo, CopyFormat, CopyHeader, CopyOptions};
use crate::parser::fold;

impl Binder<'_> {
    pub(crate) fn bind_copy(&self, copy: &Copy) -> Result<BoundStatement> {
        check_end(copy)?;
        match (&copy.source, copy.direction) {
            (CopySource::Statement(_), CopyDirection::From) => {
                Err(Error::new(SqlState::SYNTAX_ERROR, "COPY FROM needs a table"))
            }
            (CopySource::Statement(statement), CopyDirection::To) => {
                let statement = Box::new(self.bind_statement(statement)?);
                let Some(columns) = statement.columns() else {
                    return Err(Error::unsupported("COPY of a statement without RETURNING"));
                };
                let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
                let options = self.copy_options(copy, &names)?;
                Ok(BoundStatement::CopyTo(BoundCopyTo { statement, options }))
            }
            (CopySource::Table { name, columns }, CopyDirection::To) => {
                let query = self.copied_table(name, columns)?;
                let names: Vec<&str> = query.columns.iter().map(|c| c.name.as_str()).collect();
                let options = self.copy_options(copy, &names)?;
                let statement = Box::new(BoundStatement::Query(query));
                Ok(BoundStatement::CopyTo(BoundCopyTo { statement, options }))
            }
            (CopySource::Table { name, columns }, CopyDirection::From) => {
                self.bind_copy_from(copy, name, columns).map(BoundStatement::CopyFrom)
            }
        }
    }

    fn bind_copy_from(&self, copy: &Copy, name: &ObjectName, columns: &[Ident]) -> Result<BoundCopyFrom> {
        if copy.filtered {
            return Err(Error::unsupported("COPY … WHERE")
                .with_hint("COPY into a table of its own and INSERT … SELECT from it."));
        }
        let (object, table) = self.target_table(name, "copy to")?;
        let names: Vec<&str> = table.columns.iter().map(|c| c.column.name.as_str()).collect();
        let shown = table.shown();
        let positions = match columns.is_empty() {
            // Generated columns are not part of the text, as in PostgreSQL.
            true => shown.iter().filter(|c| !is_stored(c.def)).map(|c| c.position).collect(),
            false => self.copied_columns(columns, &object.name, &names)?,
        };
        if let Some(position) = positions.iter().find(|i| is_stored(&table.columns[**i])) {
            return Err(generated(names[*position]));
        }
        let mut defaults: Vec<(usize, Expr)> = Vec::new();
        for (i, column) in table.columns.iter().enumerate().filter(|(i, _)| !positions.contains(i)) {
            defaults.push((i, self.default_value(column)?));
        }
        let copied: Vec<&str> = positions.iter().map(|i| names[*i]).collect();
        let options = self.copy_options(copy, &copied)?;
        let rules = self.row_rules(&object, &table)?;
        Ok(BoundCopyFrom { table: object.id, columns: positions, rules, defaults, options })
    }

    /// The rows of a stored relation.
    fn copied_table(&self, name: &ObjectName, columns: &[Ident]) -> Result<BoundQuery> {
        let object = self.find_object(name)?;
        if !matches!(object.kind, ObjectKind::Table(_) | ObjectKind::MaterializedView(_)) {
            let message = format!("cannot copy from {} \"{}\"", object.kind.noun(), object.name);
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message)
                .with_hint("Try the COPY (SELECT ...) TO variant."));
        }
        let scanned = self.bind_object(object, None)?;
        let names: Vec<&str> = scanned.columns.iter().map(|c| c.name.as_str()).collect();
        let shown = match &object.kind {
            ObjectKind::Table(table) => table.shown(),
            _ => Vec::new(),
        };
        let is_generated = |i: usize| shown.get(i).is_some_and(|c| is_stored(c.def));
        let positions = match columns.is_empty() {
            true => (0..names.len()).filter(|i| !is_generated(*i)).collect(),
            false => self.copied_columns(columns, &object.name, &names)?,
        };
        if let Some(position) = positions.iter().find(|i| is_generated(**i)) {
            return Err(generated(names[*position]));
        }
        let mut projected = Projected::default();
        let mut columns = Vec::with_capacity(positions.len());
        for position in positions {
            let column = &scanned.columns[position];
            projected.add(self, Expr::Column(column.column.clone()), &column.name);
            columns.push(column.clone());
        }
        let input = Relation { plan: scanned.plan, columns: Vec::new() };
        let relation = self.project(input, projected, columns)?;
        self.bound_query(Bound { relation, ordered: false })
    }

    /// Positions of the columns named; of all when none is.
    fn copied_columns(&self, columns: &[Ident], relation: &str, names: &[&str]) -> Result<Vec<usize>> {
        if columns.is_empty() {
            return Ok((0..names.len()).collect());
        }
        let mut positions = Vec::with_capacity(columns.len());
        for ident in columns {
            let wanted = fold(ident);
            let at = self.span_position(ident.span);
            let position = names.iter().position(|name| *name == wanted);
            let position = position.ok_or_else(|| no_such_column(&wanted, relation).at(at))?;
            if positions.contains(&position) {
                let message = format!("column \"{wanted}\" specified more than once");
                return Err(Error::new(SqlState::DUPLICATE_COLUMN, message).at(at));
            }
            positions.push(position);
        }
        Ok(positions)
    }

    fn copy_options(&self, copy: &Copy, columns: &[&str]) -> Result<CopyOptions> {
        let given = Given::read(copy)?;
        let is_csv = given.format == Some(CopyFormat::Csv);
        let force = |value: &Option<CopyValue>, what: &str| self.forced(value, columns, what);
        let options = CopyOptions {
            format: given.format.unwrap_or(CopyFormat::Text),
            delimiter: one_byte(
                given.delimiter.as_deref().unwrap_or(if is_csv { "," } else { "\t" }),
                "delimiter",
            )?,
            null: given.null.clone().unwrap_or_else(|| if is_csv { "" } else { "\\N" }.to_owned()),
            header: given.header.unwrap_or(CopyHeader::Absent),
            quote: one_byte(given.quote.as_deref().unwrap_or("\""), "quote")?,
            escape: one_byte(given.escape.as_deref().or(given.quote.as_deref()).unwrap_or("\""), "escape")?,
            force_quote: force(&given.force_quote, "FORCE_QUOTE")?,
            force_not_null: force(&given.force_not_null, "FORCE_NOT_NULL")?,
            force_null: force(&given.force_null, "FORCE_NULL")?,
        };
        given.check(&options, copy.direction)?;
        Ok(options)
    }

    fn forced(&self, value: &Option<CopyValue>, columns: &[&str], what: &str) -> Result<Vec<bool>> {
        match value {
            None => Ok(vec![false; columns.len()]),
            Some(CopyValue::AllColumns) => Ok(vec![true; columns.len()]),
            Some(CopyValue::Columns(idents)) => {
                let mut forced = vec![false; columns.len()];
                for ident in idents {
                    let wanted = fold(ident);
                    let position = columns.iter().position(|name| *name == wanted).ok_or_else(|| {
                        let message = format!("{what} column \"{wanted}\" not referenced by COPY");
                        Error::new(SqlState::INVALID_COLUMN_REFERENCE, message)
                            .at(self.span_position(ident.span))
                    })?;
                    forced[position] = true;
                }
                Ok(forced)
            }
            Some(_) => {
                let message =
                    format!("argument to option \"{}\" must be a list of column names", what.to_lowercase());
                Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message))
            }
        }
    }
}

fn generated(column: &str) -> Error {
    let message = format!("column \"{column}\" is a generated column");
    Error::new(SqlState::INVALID_COLUMN_REFERENCE, message)
        .with_detail("Generated columns cannot be used in COPY.")
}

fn is_stored(column: &ColumnDef) -> bool {
    matches!(column.generation, Generation::Stored(_))
}

fn check_end(copy: &Copy) -> Result<()> {
    let verb = match copy.direction {
        CopyDirection::From => "read",
        CopyDirection::To => "write",
    };
    match copy.end {
        CopyEnd::Client => Ok(()),
        CopyEnd::File => Err(Error::new(
            SqlState::INSUFFICIENT_PRIVILEGE,
            format!("COPY may not {verb} files of the server"),
        )
        .with_hint("Use COPY FROM STDIN or COPY TO STDOUT; psql's \\copy does, with files of the client.")),
        CopyEnd::Program => {
            Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, "COPY may not run programs on the server")
                .with_hint(
                    "Use COPY FROM STDIN or COPY TO STDOUT; psql's \\copy does, with programs of the client.",
                ))
        }
    }
}

/// Options as written, each at most once.
#[derive(Default)]
struct Given {
    format: Option<CopyFormat>,
    delimiter: Option<String>,
    null: Option<String>,
    header: Option<CopyHeader>,
    quote: Option<String>,
    escape: Option<String>,
    force_quote: Option<CopyValue>,
    force_not_null: Option<CopyValue>,
    force_null: Option<CopyValue>,
}

impl Given {
    fn read(copy: &Copy) -> Result<Given> {
        let mut given = Given::default();
        let mut seen: Vec<&str> = Vec::new();
        for (name, value) in &copy.options {
            if seen.contains(&name.as_str()) {
                return Err(Error::new(SqlState::SYNTAX_ERROR, "conflicting or redundant options"));
            }
            seen.push(name);
            match name.as_str() {
                "format" => given.format = Some(format_of(&text_of(name, value)?)?),
                "delimiter" => given.delimiter = Some(text_of(name, value)?),
                "null" => given.null = Some(text_of(name, value)?),
                "header" => given.header = Some(header_of(value, copy.direction)?),
                "quote" => given.quote = Some(text_of(name, value)?),
                "escape" => given.escape = Some(text_of(name, value)?),
                "encoding" => check_encoding(&text_of(name, value)?)?,
                "freeze" => {}
                "force_quote" => given.force_quote = Some(value.clone()),
                "force_not_null" => given.force_not_null = Some(value.clone()),
                "force_null" => given.force_null = Some(value.clone()),
                other => {
                    let message = format!("option \"{other}\" not recognized");
                    return Err(Error::new(SqlState::SYNTAX_ERROR, message));
                }
            }
        }
        Ok(given)
    }

    /// PostgreSQL's rules on what goes with what.
    fn check(&self, options: &CopyOptions, direction: CopyDirection) -> Result<()> {
        let unsupported = |message: &str| Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        let invalid = |message: String| Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        let is_csv = options.format == CopyFormat::Csv;
        let delimiter = char::from(options.delimiter);
        if matches!(delimiter, '\n' | '\r') {
            return invalid("COPY delimiter cannot be newline or carriage return".into());
        }
        if options.null.contains(['\n', '\r']) {
            return invalid("COPY null representation cannot use newline or carriage return".into());
        }
        if !is_csv
            && (matches!(delimiter, '\\' | '.')
                || delimiter.is_ascii_lowercase()
                || delimiter.is_ascii_digit())
        {
            return invalid(format!("COPY delimiter cannot be \"{delimiter}\""));
        }
        if !is_csv {
            let only_csv = [
                (self.quote.is_some(), "COPY quote available only in CSV mode"),
                (self.escape.is_some(), "COPY escape available only in CSV mode"),
                (self.force_quote.is_some(), "COPY force quote available only in CSV mode"),
                (self.force_not_null.is_some(), "COPY force not null available only in CSV mode"),
                (self.force_null.is_some(), "COPY force null available only in CSV mode"),
            ];
            if let Some((_, message)) = only_csv.into_iter().find(|(given, _)| *given) {
                return unsupported(message);
            }
        }
        if is_csv && options.delimiter == options.quote {
            return invalid("COPY delimiter and quote must be different".into());
        }
        match direction {
            CopyDirection::From if self.force_quote.is_some() => {
                return unsupported("COPY force quote only available using COPY TO");
            }
            CopyDirection::To if self.force_not_null.is_some() => {
                return unsupported("COPY force not null only available using COPY FROM");
            }
            CopyDirection::To if self.force_null.is_some() => {
                return unsupported("COPY force null only available using COPY FROM");
            }
            _ => {}
        }
        if options.null.contains(delimiter) {
            return unsupported("COPY delimiter must not appear in the NULL specification");
        }
        if is_csv && options.null.contains(char::from(options.quote)) {
            return unsupported("CSV quote character must not appear in the NULL specification");
        }
        Ok(())
    }
}

fn text_of(name: &str, value: &CopyValue) -> Result<String> {
    match value {
        CopyValue::Text(text) => Ok(text.clone()),
        _ => Err(Error::new(SqlState::SYNTAX_ERROR, format!("{name} requires a parameter"))),
    }
}

fn format_of(name: &str) -> Result<CopyFormat> {
    match name {
        "text" => Ok(CopyFormat::Text),
        "csv" => Ok(CopyFormat::Csv),
        "binary" => {
            Err(Error::unsupported("COPY in binary format").with_hint("Use FORMAT text or FORMAT csv."))
        }
        other => {
            let message = format!("COPY format \"{other}\" not recognized");
            Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message))
        }
    }
}

fn header_of(value: &CopyValue, direction: CopyDirection) -> Result<CopyHeader> {
    let word = match value {
        CopyValue::Absent => return Ok(CopyHeader::Present),
        CopyValue::Text(word) => word.to_lowercase(),
        _ => String::new(),
    };
    match word.as_str() {
        "true" | "on" | "1" => Ok(CopyHeader::Present),
        "false" | "off" | "0" => Ok(CopyHeader::Absent),
        "match" if direction == CopyDirection::To => {
            let message = "cannot use \"match\" with HEADER in COPY TO";
            Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message))
        }
        "match" => Ok(CopyHeader::Match),
        _ => {
            let message = "header requires a Boolean value or \"match\"";
            Err(Error::new(SqlState::SYNTAX_ERROR, message))
        }
    }
}

fn check_encoding(name: &str) -> Result<()> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    match plain.to_uppercase().as_str() {
        "UTF8" | "UNICODE" | "SQLASCII" => Ok(()),
        _ => Err(Error::unsupported(format!("COPY with encoding \"{name}\"")).with_hint("Send UTF8.")),
    }
}

fn one_byte(text: &str, what: &str) -> Result<u8> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => {
            let message = format!("COPY {what} must be a single one-byte character");
            Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message))
        }
    }
}
