//! `to_char` of timestamps, intervals and numbers by template (formatting.c).
//!
//! A template is taken apart once a batch when it is constant; quoted text and what is no pattern is copied.

use arrow::array::ArrayRef;
use weir_common::text::civil::is_finite;
use weir_common::text::interval::micros;
use weir_common::text::numeric::{rescale, write as write_numeric};
use weir_common::types::NumericType;
use weir_common::{Error, Result, SqlState, SqlType};

use super::call::Call;
use super::cast::{date_to_timestamp, float_to_numeric};
use super::registry::{NUMERIC, Table};
use super::time_template::{Moment, Template, Written};

const T: SqlType = SqlType::Text;

pub(crate) fn register(t: &mut Table) {
    for (ty, udf) in
        [(SqlType::Timestamp, "timestamp_to_char"), (SqlType::Timestamptz, "timestamptz_to_char")]
    {
        t.add("to_char", udf, &[ty, T], T, |call| {
            let (value, template, mut written) = (call.timestamp(0), call.text(1), Written::default());
            call.build_text_option(|row, out| {
                if !is_finite(value.at(row)) {
                    return Ok(None);
                }
                written.write(value.at(row), template.at(row), out);
                Ok(Some(()))
            })
        });
    }
    t.add("to_char", "date_to_char", &[SqlType::Date, T], T, |call| {
        let (value, template, mut written) = (call.date(0), call.text(1), Written::default());
        call.build_text(|row, out| {
            written.write(date_to_timestamp(value.at(row))?, template.at(row), out);
            Ok(())
        })
    });
    t.add("to_char", "interval_to_char", &[SqlType::Interval, T], T, |call| {
        let (value, template) = (call.interval(0), call.text(1));
        call.build_text(|row, out| {
            let span = value.at(row);
            let (year, month) = (i64::from(span.months / 12), span.months % 12);
            let moment = Moment {
                year,
                month: month.unsigned_abs(),
                day: span.days.unsigned_abs(),
                days: 0,
                time: micros(span),
            };
            Template::read(template.at(row)).write(&moment, out);
            Ok(())
        })
    });
    numbers(t);
}

fn numbers(t: &mut Table) {
    t.add("to_char", "int4_to_char", &[SqlType::Int4, T], T, |call| {
        let value = call.int4(0);
        number_to_char(call, move |row, picture| scaled(value.at(row).into(), 0, picture))
    });
    t.add("to_char", "int8_to_char", &[SqlType::Int8, T], T, |call| {
        let value = call.int8(0);
        number_to_char(call, move |row, picture| scaled(value.at(row).into(), 0, picture))
    });
    t.add("to_char", "numeric_to_char", &[NUMERIC, T], T, |call| {
        let (value, scale) = (call.numeric(0), call.scale(0));
        number_to_char(call, move |row, picture| scaled(value.at(row), scale, picture))
    });
    t.add("to_char", "float8_to_char", &[SqlType::Float8, T], T, |call| {
        let value = call.float8(0);
        number_to_char(call, move |row, picture| {
            let decimals = picture.decimals() as i8;
            float_to_numeric(value.at(row), 15, &NumericType::fixed(38, decimals))
        })
    });
}

fn scaled(value: i128, scale: i8, picture: &Picture) -> Result<i128> {
    rescale(value, scale, picture.decimals() as i8).ok_or_else(|| Error::out_of_range("numeric"))
}

/// `value` gives the number with the template's decimals.
fn number_to_char(call: &Call<'_>, value: impl Fn(usize, &Picture) -> Result<i128>) -> Result<ArrayRef> {
    let template = call.text(1);
    let mut parsed: Option<(String, Picture)> = None;
    call.build_text(|row, out| {
        let template = template.at(row);
        if !matches!(&parsed, Some((known, _)) if known == template) {
            parsed = Some((template.to_owned(), Picture::read(template)?));
        }
        if let Some((_, picture)) = &parsed {
            picture.write(value(row, picture)?, out);
        }
        Ok(())
    })
}

/// A number template.
struct Picture {
    fill: bool,
    pieces: Vec<Piece>,
    sign: Sign,
}

#[derive(Clone, PartialEq)]
enum Piece {
    /// `0` or `9`.
    Digit {
        zero: bool,
        decimal: bool,
    },
    Point,
    Group,
    Text(String),
}

#[derive(Clone, Copy, PartialEq)]
enum Sign {
    /// A blank or minus before the number.
    Before,
    /// `S` first.
    Anchored,
    /// `MI` last.
    After,
    /// `PR`.
    Brackets,
}

impl Picture {
    fn read(template: &str) -> Result<Picture> {
        let mut picture = Picture { fill: true, pieces: Vec::new(), sign: Sign::Before };
        let mut decimal = false;
        let mut rest = template;
        while let Some(first) = rest.chars().next() {
            let two = rest.get(..2).map(str::to_ascii_uppercase);
            let (length, piece) = match (first, two.as_deref()) {
                (_, Some("FM")) => {
                    picture.fill = false;
                    (2, None)
                }
                (_, Some("MI")) => {
                    picture.sign = Sign::After;
                    (2, None)
                }
                (_, Some("PR")) => {
                    picture.sign = Sign::Brackets;
                    (2, None)
                }
                (_, Some("EE" | "RN" | "TH")) | ('V' | 'v', _) => {
                    return Err(Error::unsupported(format!("the number template \"{template}\"")));
                }
                ('S' | 's', _) => {
                    picture.sign = Sign::Anchored;
                    (1, None)
                }
                ('0', _) => (1, Some(Piece::Digit { zero: true, decimal })),
                ('9', _) => (1, Some(Piece::Digit { zero: false, decimal })),
                ('.' | 'D' | 'd', _) => {
                    decimal = true;
                    (1, Some(Piece::Point))
                }
                (',' | 'G' | 'g', _) => (1, Some(Piece::Group)),
                ('"', _) => {
                    let end = rest[1..].find('"').map_or(rest.len(), |end| end + 2);
                    (end, Some(Piece::Text(rest[..end].trim_matches('"').to_owned())))
                }
                (other, _) => (other.len_utf8(), Some(Piece::Text(other.to_string()))),
            };
            picture.pieces.extend(piece);
            rest = &rest[length..];
        }
        if picture.decimals() > 30 {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "too many digits in a number template"));
        }
        Ok(picture)
    }

    fn decimals(&self) -> usize {
        self.pieces.iter().filter(|piece| matches!(piece, Piece::Digit { decimal: true, .. })).count()
    }

    fn write(&self, value: i128, out: &mut String) {
        let mut text = String::new();
        write_numeric(value.abs(), &NumericType::fixed(38, self.decimals() as i8), &mut text);
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let whole = if whole == "0" { "" } else { whole };
        let places = self.pieces.iter().filter(|p| matches!(p, Piece::Digit { decimal: false, .. })).count();
        let overflow = whole.len() > places;
        let zero_from = self
            .pieces
            .iter()
            .filter_map(|p| if let Piece::Digit { zero, decimal: false } = p { Some(*zero) } else { None })
            .position(|zero| zero)
            .unwrap_or(places);
        // `9` before the point shows a lone zero as blank, unless there are no decimals.
        let zero_from = if self.decimals() == 0 && whole.is_empty() {
            zero_from.min(places.saturating_sub(1))
        } else {
            zero_from
        };
        let started_at = if overflow { 0 } else { (places - whole.len()).min(zero_from) };
        let mut body = String::new();
        let (mut place, mut decimals) = (0, fraction.chars());
        let kept = self.kept_decimals(fraction);
        let mut shown_decimals = 0;
        for piece in &self.pieces {
            match piece {
                Piece::Digit { decimal: false, .. } => {
                    if overflow {
                        body.push('#');
                    } else if place >= started_at {
                        let at = (place + whole.len()).checked_sub(places);
                        body.push(at.and_then(|at| whole[at..].chars().next()).unwrap_or('0'));
                    } else if self.fill {
                        body.push(' ');
                    }
                    place += 1;
                }
                Piece::Digit { decimal: true, .. } => {
                    let digit = decimals.next().unwrap_or('0');
                    if self.fill || shown_decimals < kept {
                        body.push(if overflow { '#' } else { digit });
                    }
                    shown_decimals += 1;
                }
                Piece::Point => body.push('.'),
                Piece::Group if place > started_at => body.push(','),
                Piece::Group if self.fill => body.push(' '),
                Piece::Group => {}
                Piece::Text(text) => body.push_str(text),
            }
        }
        self.sign(value < 0, &body, out);
    }

    /// With FM, trailing zeros of `9` decimals vanish.
    fn kept_decimals(&self, fraction: &str) -> usize {
        let significant = fraction.trim_end_matches('0').len();
        let forced = self
            .pieces
            .iter()
            .filter_map(|p| if let Piece::Digit { zero, decimal: true } = p { Some(*zero) } else { None })
            .collect::<Vec<bool>>();
        let forced = forced.iter().rposition(|zero| *zero).map_or(0, |at| at + 1);
        significant.max(forced)
    }

    fn sign(&self, negative: bool, body: &str, out: &mut String) {
        let digits_at = body.find(|c| c != ' ').unwrap_or(body.len());
        let (blanks, digits) = body.split_at(digits_at);
        match (self.sign, negative) {
            (Sign::Before, true) => *out += &format!("{blanks}-{digits}"),
            (Sign::Before, false) if self.fill => *out += &format!(" {body}"),
            (Sign::Before, false) => *out += body,
            (Sign::Anchored, _) => *out += &format!("{blanks}{}{digits}", if negative { '-' } else { '+' }),
            (Sign::After, true) => *out += &format!("{body}-"),
            (Sign::After, false) => *out += &format!("{body}{}", if self.fill { " " } else { "" }),
            (Sign::Brackets, true) => *out += &format!("{blanks}<{digits}>"),
            (Sign::Brackets, false) if self.fill => *out += &format!(" {body} "),
            (Sign::Brackets, false) => *out += body,
        }
    }
}
