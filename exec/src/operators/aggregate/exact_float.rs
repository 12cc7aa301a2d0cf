//! `ExactSum`: sums of floating-point numbers and of their products, without any rounding.
//!
//! A double is an integer of 53 bits times a power of two, a product of two one of 106 bits. Their sum is kept as an
//! integer of as many 32-bit digits as it needs, from the lowest bit that occurs to the highest (a superaccumulator,
//! Kulisch and Miranker 1986, that is only as wide as the data). So a value that was added can be subtracted again
//! without a trace, the order of summation does not matter, and only the result is rounded, once.
//!
//! ```text
//!   sum = Σ digits[i] · 2^(32 · (low + i))       digits are signed and may exceed 32 bits until they are settled
//! ```

use num_bigint::{BigInt, Sign};
use weir_common::{Error, Result};

const DIGIT_BITS: i32 = 32;
const DIGIT_MASK: i64 = (1 << DIGIT_BITS) - 1;
/// Additions after which digits are settled: each adds less than 2^33 to a digit of 63 bits.
const PENDING_MAX: u32 = 1 << 29;

/// An exact sum; the default is zero.
#[derive(Clone, Debug, Default)]
pub(super) struct ExactSum {
    /// Position of the first digit.
    low: i32,
    digits: Vec<i64>,
    /// Additions since digits were settled.
    pending: u32,
}

impl ExactSum {
    /// Bytes of a sum of values of similar size.
    pub const TYPICAL_BYTES: usize = size_of::<ExactSum>() + size_of::<[i64; 8]>();

    /// Adds `times · a · b`; both are finite, `times` is −1, 1, or a small count.
    pub fn add_product(&mut self, a: f64, b: f64, times: i64) {
        let ((ma, ea), (mb, eb)) = (decode(a), decode(b));
        self.add_scaled(i128::from(ma) * i128::from(mb), ea + eb, times);
    }

    /// Adds another sum.
    pub fn add_sum(&mut self, other: &ExactSum) {
        if other.digits.is_empty() {
            return;
        }
        let at = self.make_room(other.low, other.digits.len());
        for (digit, more) in self.digits[at..].iter_mut().zip(&other.digits) {
            *digit += more;
        }
        self.settle();
    }

    fn add_scaled(&mut self, mantissa: i128, exponent: i32, times: i64) {
        for _ in 0..times.unsigned_abs() {
            self.add_once(if times < 0 { -mantissa } else { mantissa }, exponent);
        }
    }

    fn add_once(&mut self, mantissa: i128, exponent: i32) {
        if mantissa == 0 {
            return;
        }
        let (mut rest, sign) = (mantissa.unsigned_abs(), mantissa.signum() as i64);
        let shift = exponent.rem_euclid(DIGIT_BITS);
        let count = (128 - rest.leading_zeros() as i32 + shift).div_euclid(DIGIT_BITS) as usize + 1;
        let at = self.make_room(exponent.div_euclid(DIGIT_BITS), count);
        let mut i = at;
        while rest != 0 {
            let part = ((rest as u64) & DIGIT_MASK as u64) << shift;
            self.digits[i] += sign * (part & DIGIT_MASK as u64) as i64;
            if part >> DIGIT_BITS != 0 {
                self.digits[i + 1] += sign * (part >> DIGIT_BITS) as i64;
            }
            rest >>= DIGIT_BITS;
            i += 1;
        }
        self.pending += 1;
        if self.pending >= PENDING_MAX {
            self.settle();
        }
    }

    /// Makes digits exist at `low..low + count`; where the first of them is.
    fn make_room(&mut self, low: i32, count: usize) -> usize {
        if self.digits.is_empty() {
            self.low = low;
        }
        if low < self.low {
            let missing = (self.low - low) as usize;
            self.digits.splice(0..0, std::iter::repeat_n(0, missing));
            self.low = low;
        }
        let at = (low - self.low) as usize;
        if self.digits.len() < at + count {
            self.digits.resize(at + count, 0);
        }
        at
    }

    /// Brings digits into 0..2^32 but for the sign of the topmost, and drops zeros at both ends.
    pub fn settle(&mut self) {
        let mut carry = 0;
        for digit in &mut self.digits {
            let total = *digit + carry;
            *digit = total & DIGIT_MASK;
            carry = total >> DIGIT_BITS;
        }
        while carry != 0 && carry != -1 {
            self.digits.push(carry & DIGIT_MASK);
            carry >>= DIGIT_BITS;
        }
        if carry == -1 {
            self.digits.push(-1);
        }
        while matches!(self.digits.as_slice(), [.., DIGIT_MASK, -1]) {
            // Of a negative sum, leading ones say nothing.
            self.digits.pop();
            self.digits.pop();
            self.digits.push(-1);
        }
        while self.digits.last() == Some(&0) {
            self.digits.pop();
        }
        let zeros = self.digits.iter().take_while(|digit| **digit == 0).count();
        self.digits.drain(..zeros);
        self.low += zeros as i32;
        self.pending = 0;
        if self.digits.is_empty() {
            self.low = 0;
        }
    }

    /// The sum as `integer · 2^exponent`.
    pub fn scaled(&self) -> Scaled {
        let mut settled = self.clone();
        settled.settle();
        let (negative, digits) = match settled.digits.split_last() {
            Some((-1, rest)) => (true, rest),
            _ => (false, settled.digits.as_slice()),
        };
        let magnitude = BigInt::from_slice(Sign::Plus, &digits.iter().map(|d| *d as u32).collect::<Vec<_>>());
        let borrowed = if negative { BigInt::from(1) << (32 * digits.len()) } else { BigInt::ZERO };
        Scaled { integer: magnitude - borrowed, exponent: DIGIT_BITS * settled.low }
    }

    /// The state as bytes: `low`, then the settled digits, 4 bytes little-endian each, then a byte for the sign.
    pub fn encode(&self) -> Vec<u8> {
        let mut settled = self.clone();
        settled.settle();
        let negative = settled.digits.last() == Some(&-1);
        let digits = settled.digits.iter().take(settled.digits.len() - usize::from(negative));
        let mut bytes = settled.low.to_le_bytes().to_vec();
        digits.for_each(|digit| bytes.extend((*digit as u32).to_le_bytes()));
        bytes.push(u8::from(negative));
        bytes
    }

    /// What `encode` made.
    pub fn decode(bytes: &[u8]) -> Result<ExactSum> {
        let corrupted = || Error::corrupted("an exact sum in an aggregate's state");
        let (sign, numbers) = bytes.split_last().ok_or_else(corrupted)?;
        let (numbers, rest) = numbers.as_chunks::<4>();
        let (low, digits) = numbers.split_first().ok_or_else(corrupted)?;
        if !rest.is_empty() || *sign > 1 {
            return Err(corrupted());
        }
        let digits = digits.iter().map(|digit| i64::from(u32::from_le_bytes(*digit)));
        let digits = digits.chain((*sign == 1).then_some(-1)).collect();
        Ok(ExactSum { low: i32::from_le_bytes(*low), digits, pending: 0 })
    }
}

/// `integer · 2^exponent`.
pub(super) struct Scaled {
    integer: BigInt,
    exponent: i32,
}

impl Scaled {
    /// The product.
    pub fn times(&self, other: &Scaled) -> Scaled {
        Scaled { integer: &self.integer * &other.integer, exponent: self.exponent + other.exponent }
    }

    /// The product with a count.
    pub fn times_count(&self, count: i64) -> Scaled {
        Scaled { integer: &self.integer * count, exponent: self.exponent }
    }

    /// The difference.
    pub fn minus(&self, other: &Scaled) -> Scaled {
        let exponent = self.exponent.min(other.exponent);
        let at = |scaled: &Scaled| &scaled.integer << (scaled.exponent - exponent) as u32;
        Scaled { integer: at(self) - at(other), exponent }
    }

    /// The quotient by a positive count, as the nearest double; infinite when it is too large.
    pub fn over(&self, count: i64) -> f64 {
        /// Bits of the quotient: those of a double, one to round by, and more.
        const QUOTIENT_BITS: i64 = 64;
        let spare = QUOTIENT_BITS + 64 - self.integer.bits() as i64;
        let shift = spare.max(0);
        let (mut quotient, divisor) = (self.integer.magnitude() << shift as u64, count.unsigned_abs());
        let rest = &quotient % divisor;
        quotient /= divisor;
        let excess = (quotient.bits() as i64 - QUOTIENT_BITS).max(0);
        let top = &quotient >> excess as u64;
        let is_exact = rest == 0u32.into() && (&top << excess as u64) == quotient;
        let top = top.iter_u64_digits().next().unwrap_or(0) | u64::from(!is_exact);
        let magnitude = scale(top as f64, i64::from(self.exponent) - shift + excess);
        if self.integer.sign() == Sign::Minus { -magnitude } else { magnitude }
    }
}

/// `value · 2^exponent`, in steps that are each a power of two.
fn scale(mut value: f64, mut exponent: i64) -> f64 {
    while exponent != 0 && value != 0.0 && value.is_finite() {
        let step = exponent.clamp(-1000, 1000);
        value *= 2f64.powi(step as i32);
        exponent -= step;
    }
    value
}

/// A finite double as `integer · 2^exponent`.
fn decode(value: f64) -> (i64, i32) {
    let bits = value.to_bits();
    let (biased, fraction) = ((bits >> 52 & 0x7FF) as i32, (bits & ((1 << 52) - 1)) as i64);
    let (magnitude, exponent) =
        if biased == 0 { (fraction, -1074) } else { (fraction | 1 << 52, biased - 1075) };
    (if value.is_sign_negative() { -magnitude } else { magnitude }, exponent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        values.iter().for_each(|value| sum.add_product(*value, 1.0, 1));
        sum
    }

    #[test]
    fn sums_round_once() {
        assert_eq!(sum(&[1e16, 1.0, -1e16]).scaled().over(1), 1.0);
        assert_eq!(sum(&[0.1, 0.2, 0.3]).scaled().over(1), 0.6);
        assert_eq!(sum(&[1e308, 1e308, -1e308]).scaled().over(1), 1e308);
        assert_eq!(sum(&[1e308, 1e308]).scaled().over(1), f64::INFINITY);
        assert_eq!(sum(&[5e-324, 5e-324]).scaled().over(1), 1e-323);
        assert_eq!(sum(&[-1.0, -2.0]).scaled().over(2), -1.5);
        assert_eq!(sum(&[]).scaled().over(1), 0.0);
    }

    proptest! {
        #[test]
        fn what_is_taken_back_leaves_no_trace(kept: Vec<f64>, gone: Vec<f64>) {
            let finite = |values: &[f64]| values.iter().copied().filter(|v| v.is_finite()).collect::<Vec<_>>();
            let (kept, gone) = (finite(&kept), finite(&gone));
            let mut all = ExactSum::default();
            for (k, value) in gone.iter().chain(&kept).enumerate() {
                all.add_product(*value, 1.0, 1);
                all.add_product(*value, k as f64, 1);
            }
            for (k, value) in gone.iter().enumerate() {
                all.add_product(*value, 1.0, -1);
                all.add_product(*value, k as f64, -1);
            }
            let mut expected = ExactSum::default();
            for (k, value) in kept.iter().enumerate() {
                expected.add_product(*value, (k + gone.len()) as f64, 1);
            }
            expected.add_sum(&sum(&kept));
            prop_assert_eq!(all.encode(), expected.encode());
            let decoded = ExactSum::decode(&all.encode()).unwrap();
            prop_assert_eq!(decoded.encode(), all.encode());
            prop_assert_eq!(decoded.scaled().over(3), expected.scaled().over(3));
        }

        #[test]
        fn one_value_is_itself(value: f64) {
            prop_assume!(value.is_finite());
            prop_assert_eq!(sum(&[value]).scaled().over(1), value);
        }

        #[test]
        fn a_product_is_rounded_as_a_float_product(a in -1e100f64..1e100, b in -1e100f64..1e100) {
            let mut product = ExactSum::default();
            product.add_product(a, b, 1);
            prop_assert_eq!(product.scaled().over(1), a * b);
        }
    }
}
