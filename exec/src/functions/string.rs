//! Functions on text: case, length, parts, padding, trimming (varlena.c, oracle_compat.c).

use arrow::array::ArrayRef;
use arrow::datatypes::Int32Type;
use weir_common::{Error, Result, SqlState, SqlType};

use super::call::Call;
use super::registry::{Param, Returns, Table, is};

const T: SqlType = SqlType::Text;
const I: SqlType = SqlType::Int4;

/// Longest string that a function builds: PostgreSQL's 1 GB limit.
const LENGTH_MAX: usize = 1 << 30;

pub(crate) fn register(t: &mut Table) {
    case_and_length(t);
    parts(t);
    trimming(t);
    padding(t);
    building(t);
    concatenation(t);
}

fn case_and_length(t: &mut Table) {
    t.one("upper", &[T], T, |call| {
        let text = call.text(0);
        call.build_text(|row, out| {
            out.extend(text.at(row).chars().map(upper));
            Ok(())
        })
    });
    t.one("lower", &[T], T, |call| {
        let text = call.text(0);
        call.build_text(|row, out| {
            out.extend(text.at(row).chars().map(lower));
            Ok(())
        })
    });
    t.one("initcap", &[T], T, |call| {
        let text = call.text(0);
        call.build_text(|row, out| {
            let mut inside = false;
            for c in text.at(row).chars() {
                out.push(if inside { lower(c) } else { upper(c) });
                inside = c.is_alphanumeric();
            }
            Ok(())
        })
    });
    t.one("length", &[T], I, |call| {
        let text = call.text(0);
        call.build::<Int32Type>(|row| Ok(char_count(text.at(row)) as i32))
    });
    for sql in ["char_length", "character_length"] {
        t.alias(sql, "length", &[T], Returns::Is(I));
    }
    t.one("octet_length", &[T], I, |call| {
        let text = call.text(0);
        call.build::<Int32Type>(|row| Ok(text.at(row).len() as i32))
    });
    t.one("bit_length", &[T], I, |call| {
        let text = call.text(0);
        call.build::<Int32Type>(|row| Ok(text.at(row).len() as i32 * 8))
    });
    t.one("ascii", &[T], I, |call| {
        let text = call.text(0);
        call.build::<Int32Type>(|row| Ok(text.at(row).chars().next().map_or(0, |c| c as i32)))
    });
    t.one("chr", &[I], T, |call| {
        let code = call.int4(0);
        call.build_text(|row, out| {
            let code = code.at(row);
            let error = |what| Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, what);
            if code == 0 {
                return Err(error("null character not permitted".to_owned()));
            }
            if code < 0 {
                let message = "character number must be positive";
                return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
            let c = u32::try_from(code).ok().and_then(char::from_u32);
            out.push(c.ok_or_else(|| error(format!("requested character too large for encoding: {code}")))?);
            Ok(())
        })
    });
}

/// The one upper-case letter; what has several (ß) stays, as in C's `towupper`.
fn upper(c: char) -> char {
    single(c, c.to_uppercase())
}

/// The one lower-case letter.
fn lower(c: char) -> char {
    single(c, c.to_lowercase())
}

fn single(c: char, mut mapped: impl ExactSizeIterator<Item = char>) -> char {
    if mapped.len() == 1 { mapped.next().unwrap_or(c) } else { c }
}

fn char_count(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

/// The characters from `start` (0-based) on, at most `count`.
fn slice(text: &str, start: usize, count: usize) -> &str {
    if text.is_ascii() {
        let start = start.min(text.len());
        return &text[start..start.saturating_add(count).min(text.len())];
    }
    let at = |n: usize| text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
    let from = at(start);
    let rest = &text[from..];
    &rest[..rest.char_indices().nth(count).map_or(rest.len(), |(at, _)| at)]
}

/// SQL's substring: `start` counts from 1 and may be before the text.
pub(crate) fn substring(text: &str, start: i32, count: Option<i32>) -> Result<&str> {
    let begin = i64::from(start) - 1;
    let end = match count {
        None => i64::MAX,
        Some(count) if count < 0 => {
            return Err(Error::new(SqlState("22011"), "negative substring length not allowed"));
        }
        Some(count) => begin + i64::from(count),
    };
    let begin = begin.max(0);
    if end <= begin {
        return Ok("");
    }
    Ok(slice(text, begin as usize, (end - begin) as usize))
}

fn parts(t: &mut Table) {
    t.add("substring", "text_substr_no_len", &[T, I], T, |call| {
        let (text, start) = (call.text(0), call.int4(1));
        call.build_str(|row| substring(text.at(row), start.at(row), None))
    });
    t.add("substring", "text_substr", &[T, I, I], T, |call| {
        let (text, start, count) = (call.text(0), call.int4(1), call.int4(2));
        call.build_str(|row| substring(text.at(row), start.at(row), Some(count.at(row))))
    });
    t.alias("substr", "text_substr_no_len", &[T, I], Returns::Is(T));
    t.alias("substr", "text_substr", &[T, I, I], Returns::Is(T));
    t.one("left", &[T, I], T, |call| {
        let (text, count) = (call.text(0), call.int4(1));
        call.build_str(|row| {
            let (text, count) = (text.at(row), count.at(row));
            let keep = if count >= 0 {
                count as usize
            } else {
                char_count(text).saturating_sub(count.unsigned_abs() as usize)
            };
            Ok(slice(text, 0, keep))
        })
    });
    t.one("right", &[T, I], T, |call| {
        let (text, count) = (call.text(0), call.int4(1));
        call.build_str(|row| {
            let (text, count) = (text.at(row), count.at(row));
            let skip = if count >= 0 {
                char_count(text).saturating_sub(count as usize)
            } else {
                count.unsigned_abs() as usize
            };
            Ok(slice(text, skip, usize::MAX))
        })
    });
    t.one("reverse", &[T], T, |call| {
        let text = call.text(0);
        call.build_text(|row, out| {
            out.extend(text.at(row).chars().rev());
            Ok(())
        })
    });
    t.add("overlay", "textoverlay", &[T, T, I, I], T, |call| {
        let (text, new, start, count) = (call.text(0), call.text(1), call.int4(2), call.int4(3));
        call.build_text(|row, out| overlay(text.at(row), new.at(row), start.at(row), count.at(row), out))
    });
    t.add("overlay", "textoverlay_no_len", &[T, T, I], T, |call| {
        let (text, new, start) = (call.text(0), call.text(1), call.int4(2));
        call.build_text(|row, out| {
            overlay(text.at(row), new.at(row), start.at(row), char_count(new.at(row)) as i32, out)
        })
    });
}

fn overlay(text: &str, new: &str, start: i32, count: i32, out: &mut String) -> Result<()> {
    out.push_str(substring(text, 1, Some(start.saturating_sub(1)))?);
    out.push_str(new);
    out.push_str(substring(text, start.saturating_add(count), None)?);
    Ok(())
}

type Trimmer = fn(&str, &dyn Fn(char) -> bool) -> (usize, usize);

fn trimming(t: &mut Table) {
    fn left(text: &str, drop: &dyn Fn(char) -> bool) -> (usize, usize) {
        (text.len() - text.trim_start_matches(drop).len(), text.len())
    }
    fn right(text: &str, drop: &dyn Fn(char) -> bool) -> (usize, usize) {
        (0, text.trim_end_matches(drop).len())
    }
    fn both(text: &str, drop: &dyn Fn(char) -> bool) -> (usize, usize) {
        let start = left(text, drop).0;
        (start, right(text, drop).1.max(start))
    }
    let trimmers: [(&'static str, &'static str, Trimmer); 3] =
        [("ltrim", "ltrim1", left), ("rtrim", "rtrim1", right), ("btrim", "btrim1", both)];
    for (sql, one_argument, trim) in trimmers {
        t.add(sql, one_argument, &[T], T, move |call| {
            let text = call.text(0);
            call.build_str(|row| {
                let text = text.at(row);
                let (start, end) = trim(text, &|c| c == ' ');
                Ok(&text[start..end])
            })
        });
        t.add(sql, sql, &[T, T], T, move |call| {
            let (text, set) = (call.text(0), call.text(1));
            call.build_str(|row| {
                let (text, set) = (text.at(row), set.at(row));
                let (start, end) = trim(text, &|c| set.contains(c));
                Ok(&text[start..end])
            })
        });
    }
    t.alias("trim", "btrim1", &[T], Returns::Is(T));
    t.alias("trim", "btrim", &[T, T], Returns::Is(T));
}

fn padding(t: &mut Table) {
    t.add("lpad", "lpad", &[T, I, T], T, |call| {
        let (text, length, fill) = (call.text(0), call.int4(1), call.text(2));
        call.build_text(|row, out| pad(text.at(row), length.at(row), fill.at(row), Side::Left, out))
    });
    t.add("lpad", "lpad_blank", &[T, I], T, |call| {
        let (text, length) = (call.text(0), call.int4(1));
        call.build_text(|row, out| pad(text.at(row), length.at(row), " ", Side::Left, out))
    });
    t.add("rpad", "rpad", &[T, I, T], T, |call| {
        let (text, length, fill) = (call.text(0), call.int4(1), call.text(2));
        call.build_text(|row, out| pad(text.at(row), length.at(row), fill.at(row), Side::Right, out))
    });
    t.add("rpad", "rpad_blank", &[T, I], T, |call| {
        let (text, length) = (call.text(0), call.int4(1));
        call.build_text(|row, out| pad(text.at(row), length.at(row), " ", Side::Right, out))
    });
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Left,
    Right,
}

fn pad(text: &str, length: i32, fill: &str, side: Side, out: &mut String) -> Result<()> {
    let length = length.max(0) as usize;
    check_length(length)?;
    let text = slice(text, 0, length);
    let missing = if fill.is_empty() { 0 } else { length - char_count(text) };
    if side == Side::Right {
        out.push_str(text);
    }
    out.extend(fill.chars().cycle().take(missing));
    if side == Side::Left {
        out.push_str(text);
    }
    Ok(())
}

fn check_length(length: usize) -> Result<()> {
    if length > LENGTH_MAX {
        return Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "requested length too large"));
    }
    Ok(())
}

fn building(t: &mut Table) {
    t.one("repeat", &[T, I], T, |call| {
        let (text, count) = (call.text(0), call.int4(1));
        call.build_text(|row, out| {
            let count = count.at(row).max(0) as usize;
            check_length(text.at(row).len().saturating_mul(count))?;
            (0..count).for_each(|_| out.push_str(text.at(row)));
            Ok(())
        })
    });
    t.one("replace", &[T, T, T], T, |call| {
        let (text, from, to) = (call.text(0), call.text(1), call.text(2));
        call.build_text(|row, out| {
            let (text, from) = (text.at(row), from.at(row));
            if from.is_empty() {
                out.push_str(text);
            } else {
                out.push_str(&text.replace(from, to.at(row)));
            }
            Ok(())
        })
    });
    t.one("translate", &[T, T, T], T, |call| {
        let (text, from, to) = (call.text(0), call.text(1), call.text(2));
        call.build_text(|row, out| {
            let (from, to): (Vec<char>, Vec<char>) =
                (from.at(row).chars().collect(), to.at(row).chars().collect());
            out.extend(text.at(row).chars().filter_map(|c| match from.iter().position(|f| *f == c) {
                None => Some(c),
                Some(at) => to.get(at).copied(),
            }));
            Ok(())
        })
    });
    t.add("to_hex", "to_hex32", &[I], T, |call| {
        let value = call.int4(0);
        call.build_text(|row, out| {
            out.push_str(&format!("{:x}", value.at(row)));
            Ok(())
        })
    });
    t.add("to_hex", "to_hex64", &[SqlType::Int8], T, |call| {
        let value = call.int8(0);
        call.build_text(|row, out| {
            out.push_str(&format!("{:x}", value.at(row)));
            Ok(())
        })
    });
}

fn concatenation(t: &mut Table) {
    t.add("||", "textcat", &[T, T], T, |call| {
        let (a, b) = (call.text(0), call.text(1));
        call.build_text(|row, out| {
            out.push_str(a.at(row));
            out.push_str(b.at(row));
            Ok(())
        })
    });
    // `'a' || 1`: the other side is written as text.
    for params in [[is(T), Param::AnyNonArray], [Param::AnyNonArray, is(T)]] {
        t.generic_alias("||", "textcat", &params, Returns::Is(T)).all_text = true;
    }
    let params = [Param::Any];
    let concat = t.generic("concat", "text_concat", &params, Returns::Is(T), |call| {
        let texts: Vec<_> = (0..call.len()).map(|i| call.text(i)).collect();
        build_nullable(call, |row, out| {
            texts.iter().filter(|text| !text.is_null(row)).for_each(|text| out.push_str(text.at(row)));
            true
        })
    });
    (concat.variadic, concat.strict, concat.all_text) = (true, false, true);
    let params = [is(T), Param::Any];
    let concat_ws = t.generic("concat_ws", "text_concat_ws", &params, Returns::Is(T), |call| {
        let separator = call.text(0);
        let texts: Vec<_> = (1..call.len()).map(|i| call.text(i)).collect();
        build_nullable(call, |row, out| {
            if separator.is_null(row) {
                return false;
            }
            for (i, text) in texts.iter().filter(|text| !text.is_null(row)).enumerate() {
                out.push_str(if i > 0 { separator.at(row) } else { "" });
                out.push_str(text.at(row));
            }
            true
        })
    });
    (concat_ws.variadic, concat_ws.strict, concat_ws.all_text) = (true, false, true);
}

/// Builds text for a function that is not strict; `false` is NULL.
pub(crate) fn build_nullable(
    call: &Call<'_>,
    mut f: impl FnMut(usize, &mut String) -> bool,
) -> Result<ArrayRef> {
    let mut builder = arrow::array::StringBuilder::with_capacity(call.rows, call.rows * 8);
    let mut value = String::new();
    for row in 0..call.rows {
        value.clear();
        if f(row, &mut value) {
            builder.append_value(&value);
        } else {
            builder.append_null();
        }
    }
    Ok(std::sync::Arc::new(builder.finish()))
}
