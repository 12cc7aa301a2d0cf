//! `Kind`: the physical layouts that keys and rows know, each of one or more Arrow types.

use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit, TimeUnit};

use crate::error::{Error, Result};

/// How values of an Arrow type lie in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int16,
    Int32,
    Int64,
    Date32,
    Time64,
    Timestamp,
    Float32,
    Float64,
    /// With its scale: numbers of different scales do not compare as integers.
    Decimal(i8),
    Interval,
    Text,
    Binary,
    Fixed(usize),
    List(Box<Kind>),
}

impl Kind {
    /// The layout of a type; 0A000 for a type that no `SqlType` maps to.
    pub(crate) fn of(ty: &DataType) -> Result<Kind> {
        Ok(match ty {
            DataType::Boolean => Kind::Bool,
            DataType::Int16 => Kind::Int16,
            DataType::Int32 => Kind::Int32,
            DataType::Int64 => Kind::Int64,
            DataType::Date32 => Kind::Date32,
            DataType::Time64(TimeUnit::Microsecond) => Kind::Time64,
            DataType::Timestamp(TimeUnit::Microsecond, _) => Kind::Timestamp,
            DataType::Float32 => Kind::Float32,
            DataType::Float64 => Kind::Float64,
            DataType::Decimal128(_, scale) => Kind::Decimal(*scale),
            DataType::Interval(IntervalUnit::MonthDayNano) => Kind::Interval,
            DataType::Utf8 => Kind::Text,
            DataType::Binary => Kind::Binary,
            DataType::FixedSizeBinary(width) => Kind::Fixed(usize::try_from(*width).unwrap_or(0)),
            DataType::List(element) => Kind::List(Box::new(Kind::of(element.data_type())?)),
            other => {
                return Err(Error::unsupported(format!(
                    "storing or grouping by values of Arrow type {other}"
                )));
            }
        })
    }

    /// Bytes of a value in a row or (without its marker) in a key; `None` when they vary.
    pub(crate) fn width(&self) -> Option<usize> {
        Some(match self {
            Kind::Bool => 1,
            Kind::Int16 => 2,
            Kind::Int32 | Kind::Date32 | Kind::Float32 => 4,
            Kind::Int64 | Kind::Time64 | Kind::Timestamp | Kind::Float64 => 8,
            Kind::Decimal(_) | Kind::Interval => 16,
            Kind::Fixed(width) => *width,
            Kind::Text | Kind::Binary | Kind::List(_) => return None,
        })
    }

    /// Bytes of a key column, marker included; `None` when they vary.
    pub(crate) fn key_width(&self) -> Option<usize> {
        self.width().map(|width| width + 1)
    }
}

const NANOS_PER_DAY: i128 = 86_400_000_000_000;

/// The length by which PostgreSQL compares intervals, in nanoseconds: a month is 30 days, a day 24 hours.
pub(crate) fn interval_span(interval: IntervalMonthDayNano) -> i128 {
    let days = i128::from(interval.months) * 30 + i128::from(interval.days);
    days * NANOS_PER_DAY + i128::from(interval.nanoseconds)
}

/// The interval that stands for all that equal this one; keys decode to it.
pub fn canonical_interval(interval: IntervalMonthDayNano) -> IntervalMonthDayNano {
    interval_of_span(interval_span(interval)).unwrap_or(interval)
}

/// The canonical interval of a span: days and the rest of a day; months only when days overflow.
pub(super) fn interval_of_span(span: i128) -> Option<IntervalMonthDayNano> {
    let days = span / NANOS_PER_DAY;
    let nanoseconds = i64::try_from(span % NANOS_PER_DAY).ok()?;
    if let Ok(days) = i32::try_from(days) {
        return Some(IntervalMonthDayNano::new(0, days, nanoseconds));
    }
    // A span beyond the range of days may need all three fields: carry whole months first.
    let months = (days / 30).clamp(i128::from(i32::MIN), i128::from(i32::MAX));
    let rest = i32::try_from(days - months * 30).ok()?;
    Some(IntervalMonthDayNano::new(i32::try_from(months).ok()?, rest, nanoseconds))
}
