//! Members of json and jsonb as lists, for the set-returning functions: jsonb_array_elements, jsonb_object_keys,
//! jsonb_each and their kin (jsonfuncs.c).
//!
//! `jsonb_each` here is the list of the values; its keys are `jsonb_object_keys`, in the same order.

use arrow::array::{ArrayRef, StringBuilder};
use weir_common::text::json::{Json, parse};
use weir_common::{Error, Result, SqlState, SqlType};

use super::call::Call;
use super::regex::lists;
use super::registry::{Param, Returns, Table};

const J: SqlType = SqlType::Jsonb;

pub(crate) fn register(t: &mut Table) {
    let elements: [(&'static str, SqlType, SqlType); 4] = [
        ("jsonb_array_elements", J, J),
        ("jsonb_array_elements_text", J, SqlType::Text),
        ("json_array_elements", SqlType::Json, SqlType::Json),
        ("json_array_elements_text", SqlType::Json, SqlType::Text),
    ];
    for (name, from, element) in elements {
        let write = writer(&element);
        add(t, name, from, element, move |call| {
            members(call, |json, out| match json {
                Json::Array(elements) => {
                    elements.iter().for_each(|element| write(element, out));
                    Ok(())
                }
                Json::Object(_) => Err(invalid("cannot extract elements from an object")),
                _ => Err(invalid("cannot extract elements from a scalar")),
            })
        });
    }
    add(t, "jsonb_object_keys", J, SqlType::Text, |call| {
        members(call, |json, out| match json {
            Json::Object(members) => {
                members.iter().for_each(|(key, _)| out.append_value(key));
                Ok(())
            }
            Json::Array(_) => Err(invalid("cannot call jsonb_object_keys on an array")),
            _ => Err(invalid("cannot call jsonb_object_keys on a scalar")),
        })
    });
    for (name, value) in [("jsonb_each", J), ("jsonb_each_text", SqlType::Text)] {
        let write = writer(&value);
        add(t, name, J, value, move |call| {
            members(call, |json, out| match json {
                Json::Object(members) => {
                    members.iter().for_each(|(_, value)| write(value, out));
                    Ok(())
                }
                _ => Err(invalid(&format!("cannot call {name} on a non-object"))),
            })
        });
    }
}

fn add(
    t: &mut Table,
    name: &'static str,
    from: SqlType,
    element: SqlType,
    eval: impl Fn(&Call<'_>) -> Result<ArrayRef> + Send + Sync + 'static,
) {
    let returns = Returns::Is(SqlType::Array(Box::new(element)));
    t.list_maker(name, name, &[Param::Is(from)], returns, eval);
}

/// A list for each row's json; `collect` appends the members.
fn members(call: &Call<'_>, collect: impl Fn(&Json, &mut StringBuilder) -> Result<()>) -> Result<ArrayRef> {
    let json = call.text(0);
    lists(call, |row, out| collect(&parse(json.at(row))?, out).map(|()| true))
}

/// How a member is written as a value of this type: text is what `->>` gives, with NULL for null.
fn writer(ty: &SqlType) -> fn(&Json, &mut StringBuilder) {
    match ty {
        SqlType::Text => |json, out| {
            let mut text = String::new();
            let value = json.write_unquoted(&mut text);
            out.append_option(value.map(|()| text));
        },
        _ => |json, out| {
            let mut text = String::new();
            json.write(&mut text);
            out.append_value(text);
        },
    }
}

fn invalid(message: &str) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
}
