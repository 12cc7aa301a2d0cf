//! EXTRACT, SUBSTRING, TRIM: functions with keywords among their arguments; and the constants that look like
//! columns, `current_date`, `current_user`.

use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;
use sqlparser::ast::{DateTimeField, Expr as SqlExpr, TrimWhereField};
use weir_common::{Error, Result, SqlType};
use weir_exec::functions;

use super::Binder;
use super::bind_expr::ExprContext;
use super::system_call::registered;
use super::typed::Typed;

impl Binder<'_> {
    pub(crate) fn bind_extract(
        &self,
        field: &DateTimeField,
        operand: &SqlExpr,
        position: Option<usize>,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        let name = field.to_string().trim_matches('\'').to_lowercase();
        let operand = self.bind_expr(operand, cx)?;
        let resolved = functions::resolve_extract(&name, &operand.ty).map_err(|e| e.at(position))?;
        self.apply(resolved, vec![operand])
    }

    pub(crate) fn bind_substring(
        &self,
        operand: &SqlExpr,
        from: Option<&SqlExpr>,
        length: Option<&SqlExpr>,
        position: Option<usize>,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        match (from, length) {
            (Some(from), Some(length)) => self.bind_call("substring", &[operand, from, length], position, cx),
            (Some(from), None) => self.bind_call("substring", &[operand, from], position, cx),
            (None, Some(length)) => {
                let one = SqlExpr::value(sqlparser::ast::Value::Number("1".into(), false));
                self.bind_call("substring", &[operand, &one, length], position, cx)
            }
            (None, None) => self.bind_call("substring", &[operand], position, cx),
        }
    }

    pub(crate) fn bind_trim(
        &self,
        expr: &SqlExpr,
        position: Option<usize>,
        cx: ExprContext<'_>,
    ) -> Result<Typed> {
        let SqlExpr::Trim { trim_where, trim_what, expr, trim_characters } = expr else {
            return Err(Error::internal("not TRIM"));
        };
        let name = match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            Some(TrimWhereField::Both) | None => "btrim",
        };
        let mut args = vec![expr.as_ref()];
        args.extend(trim_what.as_deref());
        args.extend(trim_characters.iter().flatten());
        self.bind_call(name, &args, position, cx)
    }

    /// `current_date`, `localtimestamp`, `current_user`, …; `None` for any other word.
    pub(crate) fn bind_keyword_constant(
        &self,
        word: &str,
        position: Option<usize>,
        cx: ExprContext<'_>,
    ) -> Result<Option<Typed>> {
        if let Some(now) = self.bind_now(word, position)? {
            return Ok(Some(now));
        }
        match word {
            "current_user" | "session_user" | "user" | "current_role" | "current_catalog"
            | "current_schema" => self.bind_call(word, &[], position, cx).map(Some),
            _ => Ok(None),
        }
    }

    /// The start of the transaction in one of its types. A view that is kept up to date has no such moment.
    pub(crate) fn bind_now(&self, name: &str, position: Option<usize>) -> Result<Option<Typed>> {
        let micros = self.cx.session.now_micros;
        let utc = ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()));
        let now = Typed::new(Expr::Literal(utc, None), SqlType::Timestamptz, position);
        let ty = match name {
            "now"
            | "current_timestamp"
            | "transaction_timestamp"
            | "statement_timestamp"
            | "clock_timestamp"
            | "proctime" => SqlType::Timestamptz,
            "current_date" => SqlType::Date,
            "current_time" | "localtime" => SqlType::Time,
            "localtimestamp" => SqlType::Timestamp,
            _ => return Ok(None),
        };
        if self.continuous.get() && !self.immutable.get() && ty == SqlType::Timestamptz {
            let function = if name == "proctime" { functions::PROCTIME } else { functions::EPOCH_NOW };
            let now = registered(function, Vec::new())?;
            return Ok(Some(Typed::new(now, SqlType::Timestamptz, position)));
        }
        if self.continuous.get() {
            return Err(Error::unsupported(format!("{name} in a materialized view"))
                .with_hint("Compare a time with now(), or store the time in a column.")
                .at(position));
        }
        if ty == SqlType::Timestamptz {
            return Ok(Some(now));
        }
        let offset = self.zone_offset_micros(micros);
        let local = ScalarValue::TimestampMicrosecond(Some(micros + offset), None);
        let local = Typed::new(Expr::Literal(local, None), SqlType::Timestamp, position);
        self.cast_explicitly(local, &ty, position).map(Some)
    }

    fn zone_offset_micros(&self, micros: i64) -> i64 {
        use chrono::{Offset, TimeZone};
        let zone = self.format_options().time_zone;
        let moment = chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default();
        let offset = zone.offset_from_utc_datetime(&moment.naive_utc());
        i64::from(offset.fix().local_minus_utc()) * 1_000_000
    }
}
