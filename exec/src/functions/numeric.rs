//! Arithmetic and rounding of numeric (numeric.c) on 128-bit integers of a scale fixed by the types.
//!
//! Scales of results: `+ - %` the larger one, `*` the sum (at most 20, or the larger one), `/` and avg 20 digits
//! shown as a quotient. Intermediate results have 256 bits; what does not fit 38 digits is 22003.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Decimal128Type, i256};
use datafusion::logical_expr::ScalarUDF;
use weir_common::text::numeric::{LIMIT, overflow, power_of_ten, rescale, round_div};
use weir_common::types::{NumericDisplay, NumericType};
use weir_common::{Error, Result, SqlState, SqlType};

use super::call::{ArrowResult, Call, PgFunction};
use super::cast::{float_to_numeric, numeric_to_float};
use super::coerce::merge_display;
use super::kernels::{checked_binary, unary};
use super::registry::{NUMERIC, Param, Returns, Table};
use super::{FunctionKind, ResolvedFunction, float};

/// Digits after the point that a product keeps at most, unless an operand has more.
const PRODUCT_SCALE_MAX: i8 = 20;

pub(crate) fn register(t: &mut Table) {
    arithmetic(t);
    unary_functions(t);
    rounding(t);
    through_float(t);
}

const ONE: [Param; 1] = [Param::Is(NUMERIC)];
const TWO: [Param; 2] = [Param::Is(NUMERIC), Param::Is(NUMERIC)];

fn larger_scale(args: &[NumericType]) -> NumericType {
    let scale = args.iter().map(|n| n.scale).max().unwrap_or(0);
    NumericType { precision: 38, scale, display: merge_display(args) }
}

fn product_scale(args: &[NumericType]) -> NumericType {
    let sum = args.iter().map(|n| n.scale).fold(0i8, i8::saturating_add);
    let max = args.iter().map(|n| n.scale).max().unwrap_or(0);
    NumericType { precision: 38, scale: sum.min(PRODUCT_SCALE_MAX.max(max)), display: merge_display(args) }
}

fn quotient(_: &[NumericType]) -> NumericType {
    NumericType::QUOTIENT
}

fn whole(_: &[NumericType]) -> NumericType {
    NumericType::fixed(38, 0)
}

fn sixteen_digits(_: &[NumericType]) -> NumericType {
    NumericType::fixed(38, 16)
}

fn too_large() -> Error {
    overflow(&NumericType::UNCONSTRAINED)
}

fn arithmetic(t: &mut Table) {
    t.generic("+", "numeric_add", &TWO, Returns::Numeric(larger_scale), |call| {
        additive(call, |a, b| a.overflowing_add(b))
    });
    t.generic("-", "numeric_sub", &TWO, Returns::Numeric(larger_scale), |call| {
        additive(call, |a, b| a.overflowing_sub(b))
    });
    t.generic("*", "numeric_mul", &TWO, Returns::Numeric(product_scale), multiply);
    t.generic("/", "numeric_div", &TWO, Returns::Numeric(quotient), |call| {
        let (a, b) = (call.numeric(0), call.numeric(1));
        let shift = i32::from(call.result_scale()) - i32::from(call.scale(0)) + i32::from(call.scale(1));
        call.build_numeric(|row| divide(a.at(row), b.at(row), shift))
    });
    t.generic("%", "numeric_mod", &TWO, Returns::Numeric(larger_scale), |call| {
        aligned(call, |a, b| (b != 0).then(|| a % b).ok_or_else(Error::division_by_zero))
    });
    t.generic("mod", "mod_numeric", &TWO, Returns::Numeric(larger_scale), |call| {
        aligned(call, |a, b| (b != 0).then(|| a % b).ok_or_else(Error::division_by_zero))
    });
    t.generic("div", "numeric_div_trunc", &TWO, Returns::Numeric(whole), |call| {
        aligned(call, |a, b| (b != 0).then(|| a / b).ok_or_else(Error::division_by_zero))
    });
}

/// Addition and subtraction: a tight loop where the scales are equal.
fn additive(call: &Call<'_>, op: impl Fn(i128, i128) -> (i128, bool)) -> Result<ArrayRef> {
    let checked = |a: i128, b: i128| {
        let (value, over) = op(a, b);
        (value, over || value.unsigned_abs() >= LIMIT.unsigned_abs())
    };
    if call.scale(0) == call.scale(1) {
        return checked_binary::<Decimal128Type>(call, checked, too_large);
    }
    aligned(call, |a, b| {
        let (value, over) = checked(a, b);
        if over { Err(too_large()) } else { Ok(value) }
    })
}

/// Calls `op` with both operands at the larger scale.
fn aligned(call: &Call<'_>, op: impl Fn(i128, i128) -> Result<i128>) -> Result<ArrayRef> {
    let (a, b) = (call.numeric(0), call.numeric(1));
    let scale = call.scale(0).max(call.scale(1));
    let (up_a, up_b) = (call.scale(0), call.scale(1));
    call.build_numeric(|row| {
        let a = rescale(a.at(row), up_a, scale).ok_or_else(too_large)?;
        let b = rescale(b.at(row), up_b, scale).ok_or_else(too_large)?;
        op(a, b)
    })
}

fn multiply(call: &Call<'_>) -> Result<ArrayRef> {
    let exact = i32::from(call.scale(0)) + i32::from(call.scale(1));
    let drop = (exact - i32::from(call.result_scale())).max(0) as u32;
    if drop == 0 {
        return checked_binary::<Decimal128Type>(
            call,
            |a, b| {
                // Most values are small: one 64-bit multiplication.
                if let (Ok(a), Ok(b)) = (i64::try_from(a), i64::try_from(b)) {
                    return (i128::from(a) * i128::from(b), false);
                }
                let (value, over) = a.overflowing_mul(b);
                (value, over || value.unsigned_abs() >= LIMIT.unsigned_abs())
            },
            too_large,
        );
    }
    let (a, b) = (call.numeric(0), call.numeric(1));
    call.build_numeric(|row| match a.at(row).checked_mul(b.at(row)) {
        Some(product) => Ok(round_div(product, drop)),
        None => {
            let product = i256::from_i128(a.at(row)).wrapping_mul(i256::from_i128(b.at(row)));
            divide_wide(product, i256::from_i128(power_of_ten(drop)))
        }
    })
}

/// `a · 10^shift / b`, rounded half away from zero.
pub(crate) fn divide(a: i128, b: i128, shift: i32) -> Result<i128> {
    if b == 0 {
        return Err(Error::division_by_zero());
    }
    if shift < 0 {
        let scaled =
            i256::from_i128(b).wrapping_mul(i256::from_i128(power_of_ten(shift.unsigned_abs().min(38))));
        return divide_wide(i256::from_i128(a), scaled);
    }
    let narrow = (shift <= 38).then(|| a.checked_mul(power_of_ten(shift as u32))).flatten();
    if let Some(scaled) = narrow {
        let (value, rest) = (scaled / b, scaled % b);
        let up = rest.unsigned_abs() >= b.unsigned_abs() - rest.unsigned_abs();
        let sign = if (a < 0) == (b < 0) { 1 } else { -1 };
        let value = if up { value + sign } else { value };
        return if value.unsigned_abs() < LIMIT.unsigned_abs() { Ok(value) } else { Err(too_large()) };
    }
    let first = i256::from_i128(power_of_ten(shift.min(38) as u32));
    let mut scaled = i256::from_i128(a).checked_mul(first).ok_or_else(too_large)?;
    if shift > 38 {
        scaled =
            scaled.checked_mul(i256::from_i128(power_of_ten((shift - 38) as u32))).ok_or_else(too_large)?;
    }
    divide_wide(scaled, i256::from_i128(b))
}

fn divide_wide(a: i256, b: i256) -> Result<i128> {
    let (value, rest) = (a.wrapping_div(b), a.wrapping_rem(b));
    let (rest, divisor) = (rest.wrapping_abs(), b.wrapping_abs());
    let up = rest >= divisor.wrapping_sub(rest);
    let sign = if (a < i256::ZERO) == (b < i256::ZERO) { i256::ONE } else { i256::MINUS_ONE };
    let value = if up { value.wrapping_add(sign) } else { value };
    value.to_i128().filter(|value| value.unsigned_abs() < LIMIT.unsigned_abs()).ok_or_else(too_large)
}

fn unary_functions(t: &mut Table) {
    // Wrapping: below a NULL there can be any number, the least one too, which no value is.
    t.generic("-", "numeric_uminus", &ONE, Returns::SameAs(0), |call| {
        unary::<Decimal128Type>(call, i128::wrapping_neg)
    });
    t.generic("+", "numeric_uplus", &ONE, Returns::SameAs(0), |call| unary::<Decimal128Type>(call, |a| a));
    t.generic("abs", "numeric_abs", &ONE, Returns::SameAs(0), |call| {
        unary::<Decimal128Type>(call, i128::wrapping_abs)
    });
    t.alias("@", "numeric_abs", &[NUMERIC], Returns::SameAs(0));
    t.generic("sign", "numeric_sign", &ONE, Returns::Numeric(whole), |call| {
        unary::<Decimal128Type>(call, i128::signum)
    });
    t.add("scale", "numeric_scale", &[NUMERIC], SqlType::Int4, |call| {
        let scale = i32::from(call.scale(0));
        call.build::<arrow::datatypes::Int32Type>(|_| Ok(scale))
    });
}

fn rounding(t: &mut Table) {
    t.generic("ceil", "numeric_ceil", &ONE, Returns::Numeric(whole), |call| {
        let unit = power_of_ten(call.scale(0).max(0) as u32);
        unary::<Decimal128Type>(call, |a| a.div_euclid(unit) + i128::from(a.rem_euclid(unit) != 0))
    });
    t.alias("ceiling", "numeric_ceil", &[NUMERIC], Returns::Numeric(whole));
    t.generic("floor", "numeric_floor", &ONE, Returns::Numeric(whole), |call| {
        let unit = power_of_ten(call.scale(0).max(0) as u32);
        unary::<Decimal128Type>(call, |a| a.div_euclid(unit))
    });
    t.generic("round", "numeric_round", &ONE, Returns::Numeric(whole), |call| {
        let digits = call.scale(0).max(0) as u32;
        unary::<Decimal128Type>(call, |a| round_div(a, digits))
    });
    t.generic("trunc", "numeric_trunc", &ONE, Returns::Numeric(whole), |call| {
        let unit = power_of_ten(call.scale(0).max(0) as u32);
        unary::<Decimal128Type>(call, |a| a / unit)
    });
    // The digits are not known until the call: the scale stays, trailing zeros are not printed.
    fn trimmed(args: &[NumericType]) -> NumericType {
        NumericType { display: NumericDisplay::Trimmed, ..larger_scale(args) }
    }
    let params = [Param::Is(NUMERIC), Param::Is(SqlType::Int4)];
    t.generic("round", "numeric_round_to", &params, Returns::Numeric(trimmed), |call| {
        round_to_argument(call, round_at)
    });
    t.generic("trunc", "numeric_trunc_to", &params, Returns::Numeric(trimmed), |call| {
        round_to_argument(call, trunc_at)
    });
}

/// Makes digits after the `keep`th zero; `keep` below 0 counts before the point.
type Rounding = fn(i128, drop: u32) -> i128;

fn round_at(value: i128, drop: u32) -> i128 {
    if drop > 38 { 0 } else { round_div(value, drop) }
}

fn trunc_at(value: i128, drop: u32) -> i128 {
    if drop > 38 { 0 } else { value / power_of_ten(drop) }
}

fn round_to_argument(call: &Call<'_>, round: Rounding) -> Result<ArrayRef> {
    let (values, digits) = (call.numeric(0), call.int4(1));
    let scale = i32::from(call.scale(0));
    call.build_numeric(|row| {
        let drop = scale.saturating_sub(digits.at(row)).max(0) as u32;
        let kept = round(values.at(row), drop);
        if drop > 38 { Ok(0) } else { kept.checked_mul(power_of_ten(drop)).ok_or_else(too_large) }
    })
}

/// `round(x, 2)` with a literal: the result has that scale, as in PostgreSQL. The UDF is named
/// `numeric_round_to(2)`.
pub(crate) fn round_to_constant(
    name: &str,
    args: &[SqlType],
    constants: &[Option<i64>],
) -> Option<ResolvedFunction> {
    let ([first, SqlType::Int2 | SqlType::Int4 | SqlType::Unknown], Some(Some(digits))) =
        (args, constants.get(1))
    else {
        return None;
    };
    if !matches!(name, "round" | "trunc") || !(0..=38).contains(digits) {
        return None;
    }
    let from = match first {
        SqlType::Numeric(numeric) => *numeric,
        ty if ty.is_integer() => NumericType::fixed(38, 0),
        _ => return None,
    };
    let result = SqlType::Numeric(NumericType::fixed(38, *digits as i8));
    Some(ResolvedFunction {
        kind: FunctionKind::Udf(by_name(&format!("numeric_{name}_to({digits})"))?),
        arg_types: vec![SqlType::Numeric(from), SqlType::Int4],
        result,
        strict: true,
        volatile: false,
    })
}

/// The rounding function of this name: `numeric_round_to(2)`, `numeric_trunc_to(0)`.
pub(crate) fn by_name(name: &str) -> Option<Arc<ScalarUDF>> {
    let (function, digits) = name.strip_suffix(')')?.split_once('(')?;
    let digits: i8 = digits.parse().ok().filter(|digits| (0..=38).contains(digits))?;
    let round: Rounding = match function {
        "numeric_round_to" => round_at,
        "numeric_trunc_to" => trunc_at,
        _ => return None,
    };
    let result = SqlType::Numeric(NumericType::fixed(38, digits)).arrow();
    let eval = move |call: &Call<'_>| -> Result<ArrayRef> {
        let (values, scale) = (call.numeric(0), call.scale(0));
        call.build_numeric(|row| {
            if digits >= scale {
                return rescale(values.at(row), scale, digits).ok_or_else(too_large);
            }
            Ok(round(values.at(row), (scale - digits) as u32))
        })
    };
    let function = PgFunction::new(name.to_owned(), ArrowResult::Fixed(result), false, Arc::new(eval));
    Some(Arc::new(ScalarUDF::new_from_impl(function)))
}

/// A function of a float that fails for some.
type Function = fn(f64) -> Result<f64>;

/// Irrational functions compute in double precision and give 16 digits after the point.
fn through_float(t: &mut Table) {
    let roots: [(&'static str, &str, Function); 4] = [
        ("sqrt", "numeric_sqrt", |a| {
            if a < 0.0 {
                let message = "cannot take square root of a negative number";
                return Err(Error::new(SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION, message));
            }
            Ok(a.sqrt())
        }),
        ("exp", "numeric_exp", |a| Ok(a.exp())),
        ("ln", "numeric_ln", |a| float::logarithm(a).map(f64::ln)),
        ("log", "numeric_log10", |a| float::logarithm(a).map(f64::log10)),
    ];
    for (sql, udf, f) in roots {
        t.generic(sql, udf, &ONE, Returns::Numeric(sixteen_digits), move |call| {
            let (values, scale) = (call.numeric(0), call.scale(0));
            call.build_numeric(|row| to_sixteen(f(numeric_to_float(values.at(row), scale))?))
        });
    }
    t.generic("log", "numeric_log", &TWO, Returns::Numeric(sixteen_digits), |call| {
        let (base, value) = (call.numeric(0), call.numeric(1));
        let scales = (call.scale(0), call.scale(1));
        call.build_numeric(|row| {
            let base = float::logarithm(numeric_to_float(base.at(row), scales.0))?.ln();
            let value = float::logarithm(numeric_to_float(value.at(row), scales.1))?.ln();
            if base == 0.0 { Err(Error::division_by_zero()) } else { to_sixteen(value / base) }
        })
    });
    t.generic("power", "numeric_power", &TWO, Returns::Numeric(sixteen_digits), |call| {
        let (base, exponent) = (call.numeric(0), call.numeric(1));
        let scales = (call.scale(0), call.scale(1));
        call.build_numeric(|row| {
            let base = numeric_to_float(base.at(row), scales.0);
            to_sixteen(float::checked_power(base, numeric_to_float(exponent.at(row), scales.1))?)
        })
    });
    for sql in ["pow", "^"] {
        t.alias(sql, "numeric_power", &[NUMERIC, NUMERIC], Returns::Numeric(sixteen_digits));
    }
}

fn to_sixteen(value: f64) -> Result<i128> {
    float_to_numeric(value, 17, &NumericType::fixed(38, 16))
}
