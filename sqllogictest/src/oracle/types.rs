//! The types of the grammar, and values of them that meet often: few, equal across types, at the edges, NULL.
//!
//! Equal values have the same text within a column, or else what DISTINCT keeps would be anybody's choice: numerics
//! have one scale. Intervals do not (`1 mon` equals `30 days`), and take no part where that matters. Floats are small
//! multiples of 1/8, so that sums are exact in any order.

use super::rng::Rng;

/// Rows that any relation has at most, for the bounds of sums.
const ROWS_MAX: f64 = 20_000.0;

/// A SQL type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int2,
    Int4,
    Int8,
    /// With this scale.
    Numeric(u8),
    /// A numeric whose scale depends on its value, as averages are.
    Decimal,
    Float4,
    Float8,
    Text,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Uuid,
    Jsonb,
    Bytea,
}

/// A type, and what is known of the values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kind {
    pub ty: Type,
    /// No number is further from zero, no text is longer.
    pub bound: f64,
    /// Floats are multiples of 2^-grain.
    pub grain: u8,
    /// Equal values have the same text.
    pub plain: bool,
}

impl Type {
    /// Types of columns, the frequent ones several times.
    pub const COLUMNS: [Type; 26] = [
        Type::Bool,
        Type::Int2,
        Type::Int2,
        Type::Int4,
        Type::Int4,
        Type::Int4,
        Type::Int4,
        Type::Int8,
        Type::Int8,
        Type::Int8,
        Type::Numeric(2),
        Type::Numeric(2),
        Type::Float4,
        Type::Float8,
        Type::Float8,
        Type::Text,
        Type::Text,
        Type::Text,
        Type::Date,
        Type::Time,
        Type::Timestamp,
        Type::Timestamptz,
        Type::Interval,
        Type::Uuid,
        Type::Jsonb,
        Type::Bytea,
    ];

    /// As SQL writes it.
    pub fn sql(self) -> String {
        let name = match self {
            Type::Bool => "boolean",
            Type::Int2 => "int2",
            Type::Int4 => "int4",
            Type::Int8 => "int8",
            Type::Numeric(scale) => return format!("numeric(18,{scale})"),
            Type::Decimal => "numeric",
            Type::Float4 => "float4",
            Type::Float8 => "float8",
            Type::Text => "text",
            Type::Date => "date",
            Type::Time => "time",
            Type::Timestamp => "timestamp",
            Type::Timestamptz => "timestamptz",
            Type::Interval => "interval",
            Type::Uuid => "uuid",
            Type::Jsonb => "jsonb",
            Type::Bytea => "bytea",
        };
        name.to_string()
    }

    pub fn is_integer(self) -> bool {
        matches!(self, Type::Int2 | Type::Int4 | Type::Int8)
    }

    pub fn is_number(self) -> bool {
        self.is_integer() || matches!(self, Type::Numeric(_) | Type::Decimal | Type::Float4 | Type::Float8)
    }

    /// Whether min, max, greatest and least take it.
    pub fn has_extremes(self) -> bool {
        !matches!(self, Type::Bool | Type::Uuid | Type::Jsonb | Type::Bytea)
    }

    /// Whether `=` and `<` take this and that.
    pub fn is_comparable(self, other: Type) -> bool {
        let at_a_time = |ty| matches!(ty, Type::Date | Type::Timestamp | Type::Timestamptz);
        self == other || (self.is_number() && other.is_number()) || (at_a_time(self) && at_a_time(other))
    }

    /// What computations must stay within.
    pub fn limit(self) -> f64 {
        match self {
            Type::Int2 => 32_000.0,
            Type::Int4 => 2e9,
            Type::Int8 => 9e18,
            Type::Numeric(scale) => 10f64.powi(15 - i32::from(scale)),
            Type::Float4 => 2f64.powi(22),
            Type::Float8 => 2f64.powi(50),
            _ => f64::INFINITY,
        }
    }

    /// A value for somebody who shrinks.
    pub fn least(self) -> String {
        match self {
            Type::Bool => "true::boolean".to_string(),
            Type::Text => "''::text".to_string(),
            ty if ty.is_number() => format!("0::{}", ty.sql()),
            ty => format!("NULL::{}", ty.sql()),
        }
    }

    /// A value that is not NULL, as a row of INSERT writes it.
    pub fn literal(self, rng: &mut Rng) -> String {
        let quoted = |rng: &mut Rng, values: &[&str]| format!("'{}'", rng.pick(values));
        match self {
            Type::Bool => rng.pick(&["true", "false"]).to_string(),
            Type::Int2 | Type::Int4 | Type::Int8 => rng.range(-3, 9).to_string(),
            Type::Numeric(scale) => {
                let whole = rng.range(-4, 9);
                let fraction = ["0", "0", "0", "5", "25"][rng.below(5)];
                let digits = usize::from(scale);
                format!("{whole}{dot}{fraction:0<digits$.digits$}", dot = if scale == 0 { "" } else { "." })
            }
            Type::Decimal => rng.range(-3, 9).to_string(),
            Type::Float4 | Type::Float8 => match rng.below(24) {
                0 => "'NaN'".to_string(),
                1 => "'-0'".to_string(),
                2 => rng.pick(&["'Infinity'", "'-Infinity'"]).to_string(),
                _ => (rng.range(-16, 24) as f64 / rng.pick(&[1.0, 2.0, 8.0])).to_string(),
            },
            Type::Text => quoted(rng, &["", "a", "A", "b", "ab", "Bc", "a b", "1", "日", "%", "zz", " a"]),
            Type::Date => {
                quoted(rng, &["2024-02-28", "2024-02-29", "2024-03-01", "2023-12-31", "1999-01-01"])
            }
            Type::Time => quoted(rng, &["00:00:00", "12:30:00", "23:59:59.999999"]),
            Type::Timestamp | Type::Timestamptz => {
                let (day, time) = (
                    rng.pick(&["2024-02-29", "2024-03-01", "2023-12-31", "1969-12-31"]),
                    rng.pick(&["00:00:00", "00:00:00", "13:45:30", "23:59:59.5"]),
                );
                format!("'{day} {time}'")
            }
            Type::Interval => {
                quoted(rng, &["1 day", "2 mons", "03:00:00", "-1 day", "00:00:00", "1 year 2 days"])
            }
            Type::Uuid => format!("'00000000-0000-4000-8000-00000000000{}'", rng.below(6)),
            Type::Jsonb => {
                quoted(rng, &["1", "null", "{\"a\": 1}", "{\"a\": \"x\", \"b\": [1, 2]}", "[1, 2]", "\"a\""])
            }
            Type::Bytea => quoted(rng, &["\\\\x", "\\\\x00", "\\\\xff61", "\\\\x61"]).replace("\\\\", "\\"),
        }
    }

    /// A value that is not NULL and has this type anywhere.
    pub fn typed_literal(self, rng: &mut Rng) -> String {
        let literal = self.literal(rng);
        // -3::int2 is -(3::int2), which is another thing at the edges.
        let literal = if literal.starts_with('-') { format!("({literal})") } else { literal };
        format!("{literal}::{}", self.sql())
    }
}

impl Kind {
    /// What columns of tables hold.
    pub fn of(ty: Type) -> Kind {
        Kind { ty, bound: if ty == Type::Text { 3.0 } else { 25.0 }, grain: 3, plain: true }
    }

    /// Whether computations in this type keep to it and are exact.
    pub fn fits(self) -> bool {
        let grain = if matches!(self.ty, Type::Float4 | Type::Float8) { self.grain } else { 0 };
        self.bound * 2f64.powi(i32::from(grain)) < self.ty.limit()
    }

    /// What holds values of both.
    pub fn or(self, other: Kind) -> Kind {
        Kind {
            ty: self.ty,
            bound: self.bound.max(other.bound),
            grain: self.grain.max(other.grain),
            plain: self.plain && other.plain,
        }
    }

    /// What `sum` makes of it, unless it would not be exact.
    pub fn summed(self) -> Option<Kind> {
        let ty = match self.ty {
            Type::Int2 | Type::Int4 => Type::Int8,
            Type::Int8 => Type::Numeric(0),
            ty @ (Type::Numeric(_) | Type::Float4 | Type::Float8) => ty,
            _ => return None,
        };
        let sum = Kind { ty, bound: self.bound * ROWS_MAX, ..self };
        sum.fits().then_some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_have_their_scale_and_type() {
        let mut rng = Rng::new(1);
        for _ in 0..200 {
            let numeric = Type::Numeric(2).literal(&mut rng);
            assert_eq!(numeric.split_once('.').unwrap().1.len(), 2, "{numeric}");
            assert!(!Type::Numeric(0).literal(&mut rng).contains('.'));
        }
        assert!(Type::Int4.typed_literal(&mut rng).ends_with("::int4"));
    }

    #[test]
    fn bounds_stop_what_would_overflow() {
        assert!(Kind::of(Type::Int4).fits());
        assert!(!Kind { bound: 1e10, ..Kind::of(Type::Int4) }.fits());
        assert_eq!(Kind { grain: 40, ..Kind::of(Type::Float8) }.summed(), None);
        assert_eq!(Kind::of(Type::Int8).summed().map(|kind| kind.ty), Some(Type::Numeric(0)));
    }
}
