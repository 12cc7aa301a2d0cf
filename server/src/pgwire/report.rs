//! What a client is told that is not a row: errors, notices, row descriptions.
//!
//! Place in the flow: pure functions from Weir's types to pgwire's messages.

use pgwire::messages::data::{FieldDescription, RowDescription};
use pgwire::messages::response::{
    CommandComplete, ErrorResponse, NoticeResponse, ReadyForQuery, TransactionStatus as WireStatus,
};
use weir_common::Error;
use weir_table::{Notice, OutputColumn, TransactionStatus};

/// How bad an error is for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed.
    Error,
    /// The connection ends.
    Fatal,
}

/// The ErrorResponse for an error.
pub fn error(severity: Severity, error: &Error) -> ErrorResponse {
    let word = match severity {
        Severity::Error => "ERROR",
        Severity::Fatal => "FATAL",
    };
    let mut fields = heading(word, error.state().0, error.message());
    optional(&mut fields, b'D', error.detail());
    optional(&mut fields, b'H', error.hint());
    optional(&mut fields, b'P', error.position().map(|p| p.to_string()).as_deref());
    optional(&mut fields, b'W', error.context());
    ErrorResponse::new(fields)
}

/// The NoticeResponse for a notice or warning.
pub fn notice(notice: &Notice) -> NoticeResponse {
    let mut fields = heading(notice.severity.word(), notice.state.0, &notice.message);
    optional(&mut fields, b'D', notice.detail.as_deref());
    optional(&mut fields, b'H', notice.hint.as_deref());
    NoticeResponse::new(fields)
}

fn heading(severity: &str, state: &str, message: &str) -> Vec<(u8, String)> {
    vec![
        (b'S', severity.to_string()),
        (b'V', severity.to_string()),
        (b'C', state.to_string()),
        (b'M', without_nul(message)),
    ]
}

fn optional(fields: &mut Vec<(u8, String)>, code: u8, text: Option<&str>) {
    if let Some(text) = text {
        fields.push((code, without_nul(text)));
    }
}

/// A zero byte would end the field early.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\\0")
}

/// The RowDescription of these columns in these formats (one a column).
pub fn row_description(columns: &[OutputColumn], formats: &[i16]) -> RowDescription {
    let field = |(column, format): (&OutputColumn, &i16)| {
        let (table, number) = column.origin.map_or((0, 0), |(table, number)| (table.0 as i32, number as i16));
        FieldDescription::new(
            column.name.clone(),
            table,
            number,
            column.ty.oid(),
            column.ty.type_len(),
            column.ty.type_mod(),
            *format,
        )
    };
    RowDescription::new(columns.iter().zip(formats).map(field).collect())
}

/// The CommandComplete with this tag.
pub fn complete(tag: String) -> CommandComplete {
    CommandComplete::new(tag)
}

/// The ReadyForQuery of a session in this state.
pub fn ready(status: TransactionStatus) -> ReadyForQuery {
    ReadyForQuery::new(match status {
        TransactionStatus::Idle => WireStatus::Idle,
        TransactionStatus::InTransaction => WireStatus::Transaction,
        TransactionStatus::Failed => WireStatus::Error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_common::{ObjectId, SqlState, SqlType};

    #[test]
    fn an_error_carries_all_its_fields() {
        let weir = Error::new(SqlState::SYNTAX_ERROR, "bad\0word")
            .with_detail("detail")
            .with_hint("hint")
            .with_context("context")
            .at(Some(7));
        let fields = error(Severity::Fatal, &weir).fields;
        let text: Vec<String> =
            fields.iter().map(|(code, text)| format!("{}{text}", *code as char)).collect();
        assert_eq!(text, ["SFATAL", "VFATAL", "C42601", "Mbad\\0word", "Ddetail", "Hhint", "P7", "Wcontext"]);
    }

    #[test]
    fn a_column_says_where_it_comes_from() {
        let column = OutputColumn {
            name: "v".into(),
            ty: SqlType::Varchar(Some(20)),
            origin: Some((ObjectId(16_400), 3)),
        };
        let field = &row_description(&[column], &[1]).fields[0];
        assert_eq!((field.table_id, field.column_id, field.type_id), (16_400, 3, 1043));
        assert_eq!((field.type_size, field.type_modifier, field.format_code), (-1, 24, 1));
    }
}
