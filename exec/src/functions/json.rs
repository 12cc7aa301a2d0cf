//! json and jsonb: `-> ->> #> #>> @> <@ ? ?| ?& || -`, jsonb_typeof and the like (jsonfuncs.c, jsonb_op.c).
//!
//! Values are text; each call parses what it looks at.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::Int32Type;
use weir_common::text::json::{Json, parse, write_string};
use weir_common::{Error, Result, SqlState, SqlType};

use super::call::Call;
use super::registry::{Returns, Table, is};

const T: SqlType = SqlType::Text;
const J: SqlType = SqlType::Jsonb;

pub(crate) fn register(t: &mut Table) {
    access(t);
    containment(t);
    changes(t);
    inspection(t);
}

fn texts() -> SqlType {
    SqlType::Array(Box::new(T))
}

/// Access operators of both types; json keeps the text form jsonb has.
fn access(t: &mut Table) {
    for (json, prefix) in [(J, "jsonb"), (SqlType::Json, "json")] {
        let member = [json.clone(), T];
        let element = [json.clone(), SqlType::Int4];
        let path = [json.clone(), texts()];
        t.add("->", &format!("{prefix}_object_field"), &member, json.clone(), |call| {
            get_member(call, write_json)
        });
        t.add("->>", &format!("{prefix}_object_field_text"), &member, T, |call| {
            get_member(call, Json::write_unquoted)
        });
        t.add("->", &format!("{prefix}_array_element"), &element, json.clone(), |call| {
            get_element(call, write_json)
        });
        t.add("->>", &format!("{prefix}_array_element_text"), &element, T, |call| {
            get_element(call, Json::write_unquoted)
        });
        t.add("#>", &format!("{prefix}_extract_path"), &path, json.clone(), |call| {
            get_path(call, write_json)
        });
        t.add("#>>", &format!("{prefix}_extract_path_text"), &path, T, |call| {
            get_path(call, Json::write_unquoted)
        });
    }
    let steps = [is(J), is(T)];
    let paths: [(&'static str, &str, SqlType, Write); 2] = [
        ("jsonb_extract_path", "jsonb_extract_path_variadic", J, write_json),
        ("jsonb_extract_path_text", "jsonb_extract_path_text_variadic", T, Json::write_unquoted),
    ];
    for (sql, udf, result, write) in paths {
        let overload = t.generic(sql, udf, &steps, Returns::Is(result), move |call| {
            let json = call.text(0);
            let steps: Vec<_> = (1..call.len()).map(|i| call.text(i)).collect();
            call.build_text_option(|row, out| {
                let root = parse(json.at(row))?;
                let found = steps.iter().try_fold(&root, |at, step| at.step(step.at(row)));
                Ok(found.and_then(|found| write(found, out)))
            })
        });
        overload.variadic = true;
    }
}

type Write = fn(&Json, &mut String) -> Option<()>;

fn write_json(value: &Json, out: &mut String) -> Option<()> {
    value.write(out);
    Some(())
}

fn get_member(call: &Call<'_>, write: Write) -> Result<ArrayRef> {
    let (json, key) = (call.text(0), call.text(1));
    call.build_text_option(|row, out| {
        Ok(parse(json.at(row))?.member(key.at(row)).and_then(|member| write(member, out)))
    })
}

fn get_element(call: &Call<'_>, write: Write) -> Result<ArrayRef> {
    let (json, index) = (call.text(0), call.int4(1));
    call.build_text_option(|row, out| {
        Ok(parse(json.at(row))?.element(i64::from(index.at(row))).and_then(|element| write(element, out)))
    })
}

fn get_path(call: &Call<'_>, write: Write) -> Result<ArrayRef> {
    let (json, path) = (call.text(0), call.list(1));
    call.build_text_option(|row, out| {
        let (root, steps) = (parse(json.at(row))?, path.at(row));
        let mut steps = steps.as_string::<i32>().iter();
        let found = steps.try_fold(&root, |at, step| at.step(step?));
        Ok(found.and_then(|found| write(found, out)))
    })
}

fn containment(t: &mut Table) {
    t.add("@>", "jsonb_contains", &[J, J], SqlType::Bool, |call| {
        let (a, b) = (call.text(0), call.text(1));
        call.build_bool(|row| Ok(parse(a.at(row))?.contains(&parse(b.at(row))?)))
    });
    t.add("<@", "jsonb_contained", &[J, J], SqlType::Bool, |call| {
        let (a, b) = (call.text(0), call.text(1));
        call.build_bool(|row| Ok(parse(b.at(row))?.contains(&parse(a.at(row))?)))
    });
    t.add("?", "jsonb_exists", &[J, T], SqlType::Bool, |call| {
        let (json, key) = (call.text(0), call.text(1));
        call.build_bool(|row| Ok(exists(&parse(json.at(row))?, key.at(row))))
    });
    let any: fn(&Json, &ArrayRef) -> bool =
        |json, keys| keys.as_string::<i32>().iter().flatten().any(|key| exists(json, key));
    let all: fn(&Json, &ArrayRef) -> bool =
        |json, keys| keys.as_string::<i32>().iter().flatten().all(|key| exists(json, key));
    for (sql, udf, test) in [("?|", "jsonb_exists_any", any), ("?&", "jsonb_exists_all", all)] {
        t.add(sql, udf, &[J, texts()], SqlType::Bool, move |call| {
            let (json, keys) = (call.text(0), call.list(1));
            call.build_bool(|row| Ok(test(&parse(json.at(row))?, &keys.at(row))))
        });
    }
}

/// A top-level key, or a string element.
fn exists(json: &Json, key: &str) -> bool {
    match json {
        Json::Object(_) => json.member(key).is_some(),
        Json::Array(elements) => {
            elements.iter().any(|element| matches!(element, Json::String(text) if text == key))
        }
        Json::String(text) => text == key,
        _ => false,
    }
}

fn changes(t: &mut Table) {
    t.add("||", "jsonb_concat", &[J, J], J, |call| {
        let (a, b) = (call.text(0), call.text(1));
        call.build_text(|row, out| {
            joined(parse(a.at(row))?, parse(b.at(row))?).write(out);
            Ok(())
        })
    });
    t.add("-", "jsonb_delete", &[J, T], J, |call| {
        let (json, key) = (call.text(0), call.text(1));
        call.build_text(|row, out| {
            let key = key.at(row);
            let kept = match parse(json.at(row))? {
                Json::Object(members) => {
                    Json::Object(members.into_iter().filter(|(name, _)| name != key).collect())
                }
                Json::Array(elements) => Json::Array(
                    elements
                        .into_iter()
                        .filter(|e| !matches!(e, Json::String(text) if text == key))
                        .collect(),
                ),
                _ => return Err(scalar_error("cannot delete from scalar")),
            };
            kept.write(out);
            Ok(())
        })
    });
}

fn joined(a: Json, b: Json) -> Json {
    match (a, b) {
        (Json::Object(mut a), Json::Object(b)) => {
            a.extend(b);
            Json::object(a)
        }
        (a, b) => {
            let elements = |json| match json {
                Json::Array(elements) => elements,
                other => vec![other],
            };
            let mut both = elements(a);
            both.extend(elements(b));
            Json::Array(both)
        }
    }
}

fn scalar_error(what: &str) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, what)
}

fn inspection(t: &mut Table) {
    for (json, prefix) in [(J, "jsonb"), (SqlType::Json, "json")] {
        let (typeof_name, length_name): (&'static str, &'static str) = match prefix {
            "jsonb" => ("jsonb_typeof", "jsonb_array_length"),
            _ => ("json_typeof", "json_array_length"),
        };
        t.one(typeof_name, std::slice::from_ref(&json), T, |call| {
            let json = call.text(0);
            call.build_text(|row, out| {
                out.push_str(parse(json.at(row))?.type_name());
                Ok(())
            })
        });
        t.one(length_name, &[json], SqlType::Int4, |call| {
            let json = call.text(0);
            call.build::<Int32Type>(|row| match parse(json.at(row))? {
                Json::Array(elements) => Ok(elements.len() as i32),
                Json::Object(_) => Err(scalar_error("cannot get array length of a non-array")),
                _ => Err(scalar_error("cannot get array length of a scalar")),
            })
        });
    }
    t.one("jsonb_pretty", &[J], T, |call| {
        let json = call.text(0);
        call.build_text(|row, out| {
            pretty(&parse(json.at(row))?, 0, out);
            Ok(())
        })
    });
    t.one("jsonb_strip_nulls", &[J], J, |call| {
        let json = call.text(0);
        call.build_text(|row, out| {
            without_nulls(parse(json.at(row))?).write(out);
            Ok(())
        })
    });
}

fn without_nulls(json: Json) -> Json {
    match json {
        Json::Object(members) => Json::Object(
            members
                .into_iter()
                .filter(|(_, value)| *value != Json::Null)
                .map(|(key, value)| (key, without_nulls(value)))
                .collect(),
        ),
        Json::Array(elements) => Json::Array(elements.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

fn pretty(json: &Json, depth: usize, out: &mut String) {
    let indent = |depth: usize, out: &mut String| {
        out.push('\n');
        out.push_str(&"    ".repeat(depth));
    };
    match json {
        Json::Array(elements) => {
            out.push('[');
            for (i, element) in elements.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                indent(depth + 1, out);
                pretty(element, depth + 1, out);
            }
            indent(depth, out);
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (i, (key, value)) in members.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                indent(depth + 1, out);
                write_string(key, out);
                out.push_str(": ");
                pretty(value, depth + 1, out);
            }
            indent(depth, out);
            out.push('}');
        }
        scalar => scalar.write(out),
    }
}
