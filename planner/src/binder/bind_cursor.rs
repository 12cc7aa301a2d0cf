//! SUBSCRIBE and cursors: which relation, which options.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use sqlparser::ast::Spanned;
use weir_catalog::ObjectKind;
use weir_common::{Error, Result, SqlState, SqlType};

use super::Binder;
use super::scope::edit_distance;
use super::typed::Typed;
use crate::ast::{Options, Statement, Subscribe};
use crate::bound::{BoundStatement, BoundSubscribe, OutputColumn, SubscribeFrom};

const SUBSCRIBE_OPTIONS: [&str; 3] = ["after", "progress", "snapshot"];
const FETCH_OPTIONS: [&str; 1] = ["timeout"];

impl Binder<'_> {
    pub(crate) fn bind_cursor_statement(&self, statement: &Statement) -> Result<BoundStatement> {
        Ok(match statement {
            Statement::Subscribe(subscribe) => BoundStatement::Subscribe(self.bind_subscribe(subscribe)?),
            Statement::DeclareCursor { name, hold, statement } => {
                let statement = Box::new(self.bind_statement(statement)?);
                BoundStatement::DeclareCursor { name: name.clone(), hold: *hold, statement }
            }
            Statement::Fetch { name, kind, count, options } => {
                check_known(options, &FETCH_OPTIONS)?;
                let timeout_ms = options.get("timeout").map(|text| self.milliseconds(text)).transpose()?;
                BoundStatement::Fetch { name: name.clone(), kind: *kind, count: *count, timeout_ms }
            }
            Statement::CloseCursor { name } => BoundStatement::CloseCursor { name: name.clone() },
            _ => return Err(Error::internal("a statement was not recognised")),
        })
    }

    fn bind_subscribe(&self, subscribe: &Subscribe) -> Result<BoundSubscribe> {
        let object = self.find_object(&subscribe.name)?;
        if !matches!(object.kind, ObjectKind::Table(_) | ObjectKind::MaterializedView(_)) {
            let message = format!("cannot subscribe to {} \"{}\"", object.kind.noun(), object.name);
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message)
                .with_hint("Subscribe to a table or a materialized view; create a materialized view over it.")
                .at(self.span_position(subscribe.name.span())));
        }
        let options = &subscribe.options;
        check_known(options, &SUBSCRIBE_OPTIONS)?;
        let flag =
            |name: &str, default: bool| options.get(name).map_or(Ok(default), |text| boolean(name, text));
        let from = match (options.get("after"), flag("snapshot", true)?) {
            (Some(_), true) if options.contains_key("snapshot") => {
                let message = "a subscription begins with a snapshot or after a change, not with both";
                return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
            (Some(token), _) => SubscribeFrom::After(self.microseconds(token)?),
            (None, true) => SubscribeFrom::Snapshot,
            (None, false) => SubscribeFrom::Now,
        };
        let meta = |name: &str, ty| OutputColumn { name: name.into(), ty, origin: None };
        let own = object.columns().into_iter().map(|c| OutputColumn {
            name: c.name.clone(),
            ty: c.ty.clone(),
            origin: Some((object.id, c.id)),
        });
        let columns = [meta("op", SqlType::Text), meta("ts", SqlType::Timestamptz)].into_iter().chain(own);
        let positions = match &object.kind {
            ObjectKind::Table(table) => table.shown().iter().map(|shown| shown.position).collect(),
            _ => (0..object.columns().len()).collect(),
        };
        let (relation, progress) = (object.id, flag("progress", false)?);
        Ok(BoundSubscribe { relation, columns: columns.collect(), positions, from, progress })
    }

    /// A time as SQL reads it, in microseconds since 1970.
    fn microseconds(&self, text: &str) -> Result<i64> {
        match self.constant(text, &SqlType::Timestamptz)? {
            ScalarValue::TimestampMicrosecond(Some(micros), _) => Ok(micros),
            _ => Err(invalid("after", text)),
        }
    }

    /// An interval as SQL reads it; it has no months.
    fn milliseconds(&self, text: &str) -> Result<u64> {
        match self.constant(text, &SqlType::Interval)? {
            ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
                let millis = i64::from(interval.days) * 86_400_000 + interval.nanoseconds / 1_000_000;
                u64::try_from(millis).map_err(|_| invalid("timeout", text))
            }
            _ => Err(invalid("timeout", text)),
        }
    }

    fn constant(&self, text: &str, ty: &SqlType) -> Result<ScalarValue> {
        let literal = Expr::Literal(ScalarValue::Utf8(Some(text.to_owned())), None);
        let typed = self.cast_explicitly(Typed::new(literal, SqlType::Unknown, None), ty, None)?;
        match typed.expr {
            Expr::Literal(value, _) => Ok(value),
            _ => Err(Error::internal("a literal of an option is not constant")),
        }
    }
}

/// An unknown option (22023) names the nearest known one.
fn check_known(options: &Options, known: &[&str]) -> Result<()> {
    let Some(unknown) = options.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    let nearest = known.iter().min_by_key(|name| edit_distance(name, unknown));
    let hint = nearest.map(|name| format!("Did you mean \"{name}\"?")).unwrap_or_default();
    Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("unknown option \"{unknown}\""))
        .with_hint(hint))
}

fn boolean(name: &str, text: &str) -> Result<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(invalid(name, text)),
    }
}

fn invalid(name: &str, text: &str) -> Error {
    let message = format!("invalid value for option \"{name}\": \"{text}\"");
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
}
