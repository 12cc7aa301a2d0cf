//! CREATE SEQUENCE, the sequences of columns, and the functions over them.
//!
//! A call closes over the session's sequences and is volatile: every row of a batch gets a value of its own, in the
//! order of the rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use datafusion::logical_expr::{Expr, Volatility, lit};
use weir_catalog::SequenceDef;
use weir_common::{Error, ObjectId, Result, SqlState, SqlType};

use super::Binder;
use super::bind_type::sql_type;
use super::scope::Relation;
use super::system_call::call;
use super::typed::Typed;
use crate::ast::{CreateSequence, SequenceOptions};
use crate::bound::BoundCreateSequence;
use crate::context::SequenceAccess;

impl Binder<'_> {
    pub(crate) fn bind_create_sequence(
        &self,
        create: &CreateSequence,
        sql: &str,
    ) -> Result<BoundCreateSequence> {
        let (name, exists) = self.new_name(&create.name, create.if_not_exists)?;
        let ty = create.ty.as_ref().map(sql_type).transpose()?.unwrap_or(SqlType::Int8);
        let def = sequence_def(&create.options, ty)?;
        let definition = sql.to_owned();
        Ok(BoundCreateSequence { name, if_not_exists: create.if_not_exists, exists, def, definition })
    }

    /// `nextval`, `currval`, `lastval`, `setval`.
    pub(crate) fn sequence_function(
        &self,
        name: &str,
        args: &[Typed],
        position: Option<usize>,
    ) -> Result<Option<Typed>> {
        let types: &[SqlType] = match (name, args.len()) {
            ("nextval" | "currval", 1) => &[SqlType::Regclass],
            ("lastval", 0) => &[],
            ("setval", 2) => &[SqlType::Regclass, SqlType::Int8],
            ("setval", 3) => &[SqlType::Regclass, SqlType::Int8, SqlType::Bool],
            _ => return Ok(None),
        };
        let access = self.sequences(name).map_err(|e| e.at(position))?;
        let mut exprs = Vec::with_capacity(args.len());
        for (arg, ty) in args.iter().zip(types) {
            exprs.push(match ty {
                SqlType::Regclass => self.cast_explicitly(arg.clone(), ty, position)?.expr,
                ty => self.coerce(arg.clone(), ty)?,
            });
        }
        let expr = match name {
            "nextval" => next_value(access, exprs),
            "currval" => sequence_call(name, exprs, move |args, row| access.current(sequence_at(args, row))),
            "lastval" => sequence_call(name, exprs, move |_, _| access.last()),
            _ => sequence_call(name, exprs, move |args, row| {
                let value = args[1].as_primitive::<Int64Type>().value(row);
                let is_called = args.get(2).is_none_or(|called| called.as_boolean().value(row));
                access.set(sequence_at(args, row), value, is_called).map(|()| value)
            }),
        };
        Ok(Some(Typed::new(expr, SqlType::Int8, position)))
    }

    /// The next value of an identity column's sequence.
    pub(crate) fn identity_value(&self, sequence: ObjectId) -> Result<Typed> {
        let access = self.sequences("an identity column")?;
        let expr = next_value(access, vec![lit(i64::from(sequence.0))]);
        Ok(Typed::new(expr, SqlType::Int8, None))
    }

    /// The one row of a sequence that is read like a table.
    pub(crate) fn sequence_row(&self, id: ObjectId) -> Result<Relation> {
        let (last, is_called) = self.sequences("a sequence")?.point(id)?;
        let columns = vec![
            (vec![lit(last)], SqlType::Int8),
            (vec![lit(0_i64)], SqlType::Int8),
            (vec![lit(is_called)], SqlType::Bool),
        ];
        let names: Vec<String> = SequenceDef::columns().into_iter().map(|c| c.name).collect();
        self.constant_rows(1, columns, &names)
    }

    fn sequences(&self, what: &str) -> Result<Arc<dyn SequenceAccess>> {
        match &self.cx.sequences {
            Some(access) if !self.continuous.get() => Ok(Arc::clone(access)),
            _ => Err(Error::unsupported(format!("{what} in a materialized view"))
                .with_hint("Write the value to a table and read that.")),
        }
    }
}

fn next_value(access: Arc<dyn SequenceAccess>, args: Vec<Expr>) -> Expr {
    call("nextval", args, SqlType::Int8.arrow(), Volatility::Volatile, move |args, rows| {
        let sequences = args[0].as_primitive::<Int64Type>();
        let first = (rows > 0).then(|| sequences.value(0));
        if sequences.null_count() == 0 && sequences.values().iter().all(|id| Some(*id) == first) {
            let values = first.map_or(Ok(Vec::new()), |id| access.next(ObjectId(id as u32), rows))?;
            return Ok(Arc::new(Int64Array::from(values)) as ArrayRef);
        }
        let values = sequences.iter().map(|id| {
            let next = |id: i64| Ok(access.next(ObjectId(id as u32), 1)?.first().copied());
            id.map_or(Ok(None), next)
        });
        Ok(Arc::new(values.collect::<Result<Int64Array>>()?) as ArrayRef)
    })
}

/// A strict function, row by row.
fn sequence_call(
    name: &str,
    args: Vec<Expr>,
    compute: impl Fn(&[ArrayRef], usize) -> Result<i64> + Send + Sync + 'static,
) -> Expr {
    call(name, args, SqlType::Int8.arrow(), Volatility::Volatile, move |args, rows| {
        let value = |row: usize| match args.iter().any(|arg| arg.is_null(row)) {
            true => Ok(None),
            false => compute(args, row).map(Some),
        };
        Ok(Arc::new((0..rows).map(value).collect::<Result<Int64Array>>()?) as ArrayRef)
    })
}

fn sequence_at(args: &[ArrayRef], row: usize) -> ObjectId {
    ObjectId(args[0].as_primitive::<Int64Type>().value(row) as u32)
}

/// A sequence's rules, with PostgreSQL's defaults and checks.
pub(crate) fn sequence_def(options: &SequenceOptions, ty: SqlType) -> Result<SequenceDef> {
    let invalid = |message: String| Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    let (least, most) = match ty {
        SqlType::Int2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        SqlType::Int4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        SqlType::Int8 => (i64::MIN, i64::MAX),
        _ => return invalid("sequence type must be smallint, integer, or bigint".into()),
    };
    let increment = options.increment.unwrap_or(1);
    if increment == 0 {
        return invalid("INCREMENT must not be zero".into());
    }
    let is_up = increment > 0;
    let min = options.min.unwrap_or(if is_up { 1 } else { least });
    let max = options.max.unwrap_or(if is_up { most } else { -1 });
    for (bound, word) in [(max, "MAXVALUE"), (min, "MINVALUE")] {
        if !(least..=most).contains(&bound) {
            return invalid(format!("{word} ({bound}) is out of range for sequence data type {}", ty.name()));
        }
    }
    if min >= max {
        return invalid(format!("MINVALUE ({min}) must be less than MAXVALUE ({max})"));
    }
    let start = options.start.unwrap_or(if is_up { min } else { max });
    if start < min {
        return invalid(format!("START value ({start}) cannot be less than MINVALUE ({min})"));
    }
    if start > max {
        return invalid(format!("START value ({start}) cannot be greater than MAXVALUE ({max})"));
    }
    Ok(SequenceDef { ty, start, increment, min, max, cycle: options.cycle, owned_by: None })
}
