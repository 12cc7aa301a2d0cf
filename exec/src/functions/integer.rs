//! Arithmetic and bit operators of smallint, integer and bigint (int.c, int8.c).

use arrow::datatypes::{ArrowPrimitiveType, Int16Type, Int32Type, Int64Type};
use weir_common::{Error, SqlType};

use super::kernels::{binary, checked_binary, checked_unary, unary};
use super::registry::Table;

/// Registers the operators of one integer type.
macro_rules! integer {
    ($t:ident, $arrow:ty, $sql:expr, $prefix:literal, $name:literal) => {{
        let (one, two) = ([$sql], [$sql, $sql]);
        let overflow = || Error::out_of_range($name);
        $t.add("+", concat!($prefix, "pl"), &two, $sql, move |call| {
            checked_binary::<$arrow>(call, |a, b| a.overflowing_add(b), overflow)
        });
        $t.add("-", concat!($prefix, "mi"), &two, $sql, move |call| {
            checked_binary::<$arrow>(call, |a, b| a.overflowing_sub(b), overflow)
        });
        $t.add("*", concat!($prefix, "mul"), &two, $sql, move |call| {
            checked_binary::<$arrow>(call, |a, b| a.overflowing_mul(b), overflow)
        });
        $t.add("/", concat!($prefix, "div"), &two, $sql, |call| {
            let (a, b) = (call.prim::<$arrow>(0), call.prim::<$arrow>(1));
            call.build::<$arrow>(|row| match b.at(row) {
                0 => Err(Error::division_by_zero()),
                divisor => a.at(row).checked_div(divisor).ok_or_else(|| Error::out_of_range($name)),
            })
        });
        $t.add("%", concat!($prefix, "mod"), &two, $sql, remainder::<$arrow>);
        $t.alias("mod", concat!($prefix, "mod"), &two, super::registry::Returns::Is($sql));
        $t.add("-", concat!($prefix, "um"), &one, $sql, move |call| {
            checked_unary::<$arrow>(call, |a| a.overflowing_neg(), overflow)
        });
        $t.add("+", concat!($prefix, "up"), &one, $sql, |call| unary::<$arrow>(call, |a| a));
        $t.add("abs", concat!($prefix, "abs"), &one, $sql, move |call| {
            checked_unary::<$arrow>(call, |a| a.overflowing_abs(), overflow)
        });
        $t.alias("@", concat!($prefix, "abs"), &one, super::registry::Returns::Is($sql));
        $t.add("&", concat!($prefix, "and"), &two, $sql, |call| binary::<$arrow>(call, |a, b| a & b));
        $t.add("|", concat!($prefix, "or"), &two, $sql, |call| binary::<$arrow>(call, |a, b| a | b));
        $t.add("#", concat!($prefix, "xor"), &two, $sql, |call| binary::<$arrow>(call, |a, b| a ^ b));
        $t.add("~", concat!($prefix, "not"), &one, $sql, |call| unary::<$arrow>(call, |a| !a));
        $t.add("<<", concat!($prefix, "shl"), &[$sql, SqlType::Int4], $sql, |call| {
            let (a, by) = (call.prim::<$arrow>(0), call.int4(1));
            call.build::<$arrow>(|row| Ok(a.at(row).wrapping_shl(by.at(row) as u32)))
        });
        $t.add(">>", concat!($prefix, "shr"), &[$sql, SqlType::Int4], $sql, |call| {
            let (a, by) = (call.prim::<$arrow>(0), call.int4(1));
            call.build::<$arrow>(|row| Ok(a.at(row).wrapping_shr(by.at(row) as u32)))
        });
    }};
}

pub(crate) fn register(t: &mut Table) {
    integer!(t, Int16Type, SqlType::Int2, "int2", "smallint");
    integer!(t, Int32Type, SqlType::Int4, "int4", "integer");
    integer!(t, Int64Type, SqlType::Int8, "int8", "bigint");
    common_divisors(t);
}

fn remainder<T>(call: &super::call::Call<'_>) -> weir_common::Result<arrow::array::ArrayRef>
where
    T: ArrowPrimitiveType,
    T::Native: WrappingRemainder,
{
    let (a, b) = (call.prim::<T>(0), call.prim::<T>(1));
    call.build::<T>(|row| a.at(row).remainder(b.at(row)).ok_or_else(Error::division_by_zero))
}

/// The remainder with the sign of the dividend; none for divisor 0. `MIN % -1` is 0.
trait WrappingRemainder: Sized {
    fn remainder(self, divisor: Self) -> Option<Self>;
}

macro_rules! remainder {
    ($($ty:ty),*) => {
        $(impl WrappingRemainder for $ty {
            fn remainder(self, divisor: Self) -> Option<Self> {
                (divisor != 0).then(|| self.wrapping_rem(divisor))
            }
        })*
    };
}

remainder!(i16, i32, i64);

fn common_divisors(t: &mut Table) {
    let (int4, int8) = ([SqlType::Int4, SqlType::Int4], [SqlType::Int8, SqlType::Int8]);
    t.add("gcd", "int4gcd", &int4, SqlType::Int4, |call| {
        let (a, b) = (call.int4(0), call.int4(1));
        call.build::<Int32Type>(|row| {
            let divisor = gcd(a.at(row).unsigned_abs().into(), b.at(row).unsigned_abs().into());
            i32::try_from(divisor).map_err(|_| Error::out_of_range("integer"))
        })
    });
    t.add("gcd", "int8gcd", &int8, SqlType::Int8, |call| {
        let (a, b) = (call.int8(0), call.int8(1));
        call.build::<Int64Type>(|row| {
            i64::try_from(gcd(a.at(row).unsigned_abs(), b.at(row).unsigned_abs()))
                .map_err(|_| Error::out_of_range("bigint"))
        })
    });
    t.add("lcm", "int8lcm", &int8, SqlType::Int8, |call| {
        let (a, b) = (call.int8(0), call.int8(1));
        call.build::<Int64Type>(|row| {
            let (a, b) = (a.at(row).unsigned_abs(), b.at(row).unsigned_abs());
            if a == 0 || b == 0 {
                return Ok(0);
            }
            let multiple = (a / gcd(a, b)).checked_mul(b).and_then(|multiple| i64::try_from(multiple).ok());
            multiple.ok_or_else(|| Error::out_of_range("bigint"))
        })
    });
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
