//! Arithmetic and mathematics of real and double precision (float.c).
//!
//! Results are canonical: no negative zero, one NaN. What is infinite without an infinite operand overflowed
//! (22003), as in PostgreSQL.

use arrow::array::ArrayRef;
use arrow::datatypes::{Float32Type, Float64Type};
use weir_common::text::number::{canonical_float4, canonical_float8};
use weir_common::{Error, Result, SqlState, SqlType};

use super::call::Call;
use super::kernels::{binary, checked_binary, unary};
use super::registry::{Returns, Table};

fn overflow() -> Error {
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow")
}

/// Registers the operators of one float type.
macro_rules! float {
    ($t:ident, $arrow:ty, $sql:expr, $prefix:literal, $canonical:ident) => {{
        let (one, two) = ([$sql], [$sql, $sql]);
        $t.add("+", concat!($prefix, "pl"), &two, $sql, |call| {
            checked_binary::<$arrow>(
                call,
                |a, b| checked(a + b, a.is_infinite() || b.is_infinite()),
                overflow,
            )
        });
        $t.add("-", concat!($prefix, "mi"), &two, $sql, |call| {
            checked_binary::<$arrow>(
                call,
                |a, b| checked(a - b, a.is_infinite() || b.is_infinite()),
                overflow,
            )
        });
        $t.add("*", concat!($prefix, "mul"), &two, $sql, |call| {
            checked_binary::<$arrow>(
                call,
                |a, b| checked(a * b, a.is_infinite() || b.is_infinite()),
                overflow,
            )
        });
        $t.add("/", concat!($prefix, "div"), &two, $sql, |call| {
            let (a, b) = (call.prim::<$arrow>(0), call.prim::<$arrow>(1));
            call.build::<$arrow>(|row| {
                let (a, b) = (a.at(row), b.at(row));
                if b == 0.0 && !a.is_nan() {
                    return Err(Error::division_by_zero());
                }
                let value = a / b;
                if value.is_infinite() && !a.is_infinite() { Err(overflow()) } else { Ok($canonical(value)) }
            })
        });
        $t.add("-", concat!($prefix, "um"), &one, $sql, |call| unary::<$arrow>(call, |a| $canonical(-a)));
        $t.add("+", concat!($prefix, "up"), &one, $sql, |call| unary::<$arrow>(call, |a| a));
        $t.add("abs", concat!($prefix, "abs"), &one, $sql, |call| unary::<$arrow>(call, |a| a.abs()));
        $t.alias("@", concat!($prefix, "abs"), &one, Returns::Is($sql));
    }};
}

/// A value with whether it overflowed; `x + 0.0` turns −0 into 0.
fn checked<F: Canonical>(value: F, infinite_operand: bool) -> (F, bool) {
    (value.canonical(), !infinite_operand && value.is_infinite())
}

trait Canonical: Copy {
    fn canonical(self) -> Self;
    fn is_infinite(self) -> bool;
}

impl Canonical for f32 {
    fn canonical(self) -> f32 {
        canonical_float4(self)
    }
    fn is_infinite(self) -> bool {
        f32::is_infinite(self)
    }
}

impl Canonical for f64 {
    fn canonical(self) -> f64 {
        canonical_float8(self)
    }
    fn is_infinite(self) -> bool {
        f64::is_infinite(self)
    }
}

pub(crate) fn register(t: &mut Table) {
    float!(t, Float32Type, SqlType::Float4, "float4", canonical_float4);
    float!(t, Float64Type, SqlType::Float8, "float8", canonical_float8);
    mixed(t);
    rounding(t);
    powers(t);
    trigonometry(t);
    t.volatile("random", &[], SqlType::Float8, |call| {
        let values = (0..call.rows).map(|_| random()).collect();
        Ok(call.finish::<Float64Type>(values, None))
    });
}

/// real with double precision computes in double precision.
fn mixed(t: &mut Table) {
    use SqlType::{Float4, Float8};
    for (sql, udf) in [("+", "float8pl"), ("-", "float8mi"), ("*", "float8mul"), ("/", "float8div")] {
        for params in [[Float4, Float8], [Float8, Float4]] {
            t.alias(sql, udf, &params, Returns::Is(Float8)).cast_to = Some(vec![Float8, Float8]);
        }
    }
}

/// A function that cannot fail.
type Function = fn(f64) -> f64;

fn rounding(t: &mut Table) {
    let f8 = [SqlType::Float8];
    let rounders: [(&'static str, &str, Function); 6] = [
        ("round", "dround", f64::round_ties_even),
        ("ceil", "dceil", f64::ceil),
        ("floor", "dfloor", f64::floor),
        ("trunc", "dtrunc", f64::trunc),
        ("degrees", "degrees", f64::to_degrees),
        ("radians", "radians", f64::to_radians),
    ];
    for (sql, udf, round) in rounders {
        t.add(sql, udf, &f8, SqlType::Float8, move |call| {
            unary::<Float64Type>(call, |a| canonical_float8(round(a)))
        });
    }
    t.alias("ceiling", "dceil", &f8, Returns::Is(SqlType::Float8));
    t.add("sign", "dsign", &f8, SqlType::Float8, |call| {
        unary::<Float64Type>(call, |a| {
            if a > 0.0 {
                1.0
            } else if a < 0.0 {
                -1.0
            } else {
                canonical_float8(a)
            }
        })
    });
    t.one("pi", &[], SqlType::Float8, |call| {
        Ok(call.finish::<Float64Type>(vec![std::f64::consts::PI; call.rows], None))
    });
}

/// A function of one float that fails for some.
fn one(t: &mut Table, sql: &'static str, udf: &str, f: impl Fn(f64) -> Result<f64> + Send + Sync + 'static) {
    t.add(sql, udf, &[SqlType::Float8], SqlType::Float8, move |call| {
        let values = call.float8(0);
        call.build::<Float64Type>(|row| {
            let a = values.at(row);
            let value = f(a)?;
            if value.is_infinite() && !a.is_infinite() {
                Err(overflow())
            } else {
                Ok(canonical_float8(value))
            }
        })
    });
}

fn powers(t: &mut Table) {
    one(t, "sqrt", "dsqrt", |a| {
        if a < 0.0 {
            return Err(Error::new(
                SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION,
                "cannot take square root of a negative number",
            ));
        }
        Ok(a.sqrt())
    });
    one(t, "cbrt", "dcbrt", |a| Ok(a.cbrt()));
    one(t, "exp", "dexp", |a| Ok(a.exp()));
    one(t, "ln", "dlog1", |a| logarithm(a).map(f64::ln));
    one(t, "log", "dlog10", |a| logarithm(a).map(f64::log10));
    t.alias("log10", "dlog10", &[SqlType::Float8], Returns::Is(SqlType::Float8));
    let two = [SqlType::Float8, SqlType::Float8];
    t.add("power", "dpow", &two, SqlType::Float8, power);
    for sql in ["pow", "^"] {
        t.alias(sql, "dpow", &two, Returns::Is(SqlType::Float8));
    }
}

/// The argument of a logarithm, checked.
pub(crate) fn logarithm(a: f64) -> Result<f64> {
    let what = if a == 0.0 { "zero" } else { "a negative number" };
    if a <= 0.0 {
        return Err(Error::new(
            SqlState::INVALID_ARGUMENT_FOR_LOGARITHM,
            format!("cannot take logarithm of {what}"),
        ));
    }
    Ok(a)
}

fn power(call: &Call<'_>) -> Result<ArrayRef> {
    let (base, exponent) = (call.float8(0), call.float8(1));
    call.build::<Float64Type>(|row| checked_power(base.at(row), exponent.at(row)))
}

/// `base ^ exponent` with PostgreSQL's errors.
pub(crate) fn checked_power(base: f64, exponent: f64) -> Result<f64> {
    let bad = |message| Err(Error::new(SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION, message));
    if base == 0.0 && exponent < 0.0 {
        return bad("zero raised to a negative power is undefined");
    }
    if base < 0.0 && exponent.is_finite() && exponent.fract() != 0.0 {
        return bad("a negative number raised to a non-integer power yields a complex result");
    }
    let value = base.powf(exponent);
    if value.is_infinite() && base.is_finite() && exponent.is_finite() {
        return Err(overflow());
    }
    if value == 0.0 && base != 0.0 && base.is_finite() && exponent.is_finite() {
        return Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: underflow"));
    }
    Ok(canonical_float8(value))
}

fn trigonometry(t: &mut Table) {
    let plain: [(&'static str, &str, Function); 11] = [
        ("sin", "dsin", f64::sin),
        ("cos", "dcos", f64::cos),
        ("tan", "dtan", f64::tan),
        ("cot", "dcot", |a| 1.0 / a.tan()),
        ("atan", "datan", f64::atan),
        ("sinh", "dsinh", f64::sinh),
        ("cosh", "dcosh", f64::cosh),
        ("tanh", "dtanh", f64::tanh),
        ("asinh", "dasinh", f64::asinh),
        ("sind", "dsind", |a| a.to_radians().sin()),
        ("cosd", "dcosd", |a| a.to_radians().cos()),
    ];
    for (sql, udf, f) in plain {
        one(t, sql, udf, move |a| Ok(f(a)));
    }
    for (sql, udf, f) in [("asin", "dasin", f64::asin as Function), ("acos", "dacos", f64::acos)] {
        one(t, sql, udf, move |a| {
            if a.abs() > 1.0 {
                return Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "input is out of range"));
            }
            Ok(f(a))
        });
    }
    t.add("atan2", "datan2", &[SqlType::Float8, SqlType::Float8], SqlType::Float8, |call| {
        binary::<Float64Type>(call, |a, b| canonical_float8(a.atan2(b)))
    });
}

/// A random float in [0, 1), from the operating system's seed.
fn random() -> f64 {
    (super::uuid::random_u64() >> 11) as f64 / (1u64 << 53) as f64
}
