//! The order of jsonb values, as bytes that compare as the values do (compareJsonbContainers in jsonb_util.c).
//!
//! ```text
//!   value       01 null  02 string  03 number  04 false  05 true  06 array  07 object
//!   array       number of elements u32, then each
//!   object      number of members u32, then each key and value
//!   string      bytes, 00 written as 00 FF, ended by 00 01
//!   number      00 negative | 01 zero | 02 positive; then exponent and digits, inverted when negative
//! ```
//! At the top PostgreSQL keeps a scalar as an array of one: it comes before every array but the empty one, which is the
//! least of all values.

use super::json::Json;

const EMPTY_ARRAY_AT_TOP: u8 = 0;

/// The value's place in the order.
pub fn sort_key(value: &Json) -> Vec<u8> {
    let mut key = Vec::new();
    match value {
        Json::Array(elements) if elements.is_empty() => key.push(EMPTY_ARRAY_AT_TOP),
        value => write_value(value, &mut key),
    }
    key
}

fn write_value(value: &Json, key: &mut Vec<u8>) {
    match value {
        Json::Null => key.push(1),
        Json::String(text) => {
            key.push(2);
            write_string(text, key);
        }
        Json::Number(digits) => {
            key.push(3);
            write_number(digits, key);
        }
        Json::Bool(value) => key.push(4 + u8::from(*value)),
        Json::Array(elements) => {
            key.push(6);
            write_count(elements.len(), key);
            elements.iter().for_each(|element| write_value(element, key));
        }
        Json::Object(members) => {
            key.push(7);
            write_count(members.len(), key);
            for (name, value) in members {
                // In an object, PostgreSQL meets the key as a string before the value.
                write_string(name, key);
                write_value(value, key);
            }
        }
    }
}

fn write_count(count: usize, key: &mut Vec<u8>) {
    key.extend(u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

fn write_string(text: &str, key: &mut Vec<u8>) {
    for byte in text.bytes() {
        key.push(byte);
        if byte == 0 {
            key.push(0xFF);
        }
    }
    key.extend([0, 1]);
}

/// A number in numeric's text form: 0.d₁d₂… · 10^exponent, without zeros at either end.
fn write_number(text: &str, key: &mut Vec<u8>) {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let zeros = all.iter().take_while(|digit| **digit == b'0').count();
    let digits = all[zeros..].trim_ascii_end();
    let last = digits.iter().rposition(|digit| *digit != b'0');
    let Some(last) = last else {
        key.push(1);
        return;
    };
    let exponent = whole.len() as i64 - zeros as i64;
    let mut magnitude = (i64::from(i32::MAX) + exponent).to_be_bytes().to_vec();
    magnitude.extend(&digits[..=last]);
    // Less than any digit.
    magnitude.push(0);
    if negative {
        key.push(0);
        key.extend(magnitude.iter().map(|byte| !byte));
    } else {
        key.push(2);
        key.extend(magnitude);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::json::parse;

    /// In PostgreSQL 15's order.
    const ORDERED: [&str; 31] = [
        "[]",
        "null",
        "\"\"",
        "\"a\"",
        "\"a\\u0001\"",
        "\"aa\"",
        "\"b\"",
        "-100",
        "-99.5",
        "-1",
        "-0.001",
        "0",
        "0.001",
        "0.01",
        "1",
        "1.5",
        "9",
        "10",
        "100000000000000000000",
        "false",
        "true",
        "[null]",
        "[1]",
        "[[]]",
        "[{}]",
        "[null, null]",
        "[1, 2]",
        "{}",
        "{\"a\": 1}",
        "{\"b\": null}",
        "{\"a\": 1, \"b\": 1}",
    ];

    #[test]
    fn keys_have_the_order_of_the_values() {
        let keys: Vec<Vec<u8>> = ORDERED.iter().map(|text| sort_key(&parse(text).unwrap())).collect();
        for (pair, text) in keys.windows(2).zip(ORDERED.windows(2)) {
            assert!(pair[0] < pair[1], "{text:?}");
        }
    }

    #[test]
    fn equal_numbers_have_equal_keys() {
        for (a, b) in [("1.0", "1"), ("-0", "0"), ("1e2", "100.00"), ("0.10", "0.1")] {
            assert_eq!(sort_key(&parse(a).unwrap()), sort_key(&parse(b).unwrap()), "{a} {b}");
        }
    }
}
