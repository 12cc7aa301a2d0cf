//! Between arrays and text: string_to_array, array_to_string.

use weir_common::SqlType;

use super::regex::lists;
use super::registry::{Param, Returns, Table, is};
use super::string::build_nullable;

const T: SqlType = SqlType::Text;

pub(crate) fn register(t: &mut Table) {
    let texts = SqlType::Array(Box::new(T));
    t.add("string_to_array", "text_to_array", &[T, T], texts.clone(), |call| {
        let (text, delimiter) = (call.text(0), call.text(1));
        lists(call, |row, items| {
            split(text.at(row), delimiter.at(row), |part| items.append_value(part));
            Ok(true)
        })
    });
    t.add("string_to_array", "text_to_array_null", &[T, T, T], texts.clone(), |call| {
        let (text, delimiter, null) = (call.text(0), call.text(1), call.text(2));
        lists(call, |row, items| {
            let null = null.at(row);
            split(text.at(row), delimiter.at(row), |part| {
                items.append_option((part != null).then_some(part))
            });
            Ok(true)
        })
    });
    t.rows_of("string_to_table", "text_to_array", &[T, T], texts.clone());
    t.rows_of("string_to_table", "text_to_array_null", &[T, T, T], texts);
    let params = [Param::AnyArray, is(T)];
    let plain = t.generic("array_to_string", "array_to_text", &params, Returns::Is(T), |call| {
        let (list, delimiter) = (call.list(0), call.text(1));
        call.build_text(|row, out| {
            join(&list.at(row), delimiter.at(row), None, out);
            Ok(())
        })
    });
    plain.all_text = true;
    let params = [Param::AnyArray, is(T), is(T)];
    let with_null = t.generic("array_to_string", "array_to_text_null", &params, Returns::Is(T), |call| {
        let (list, delimiter, null) = (call.list(0), call.text(1), call.text(2));
        build_nullable(call, |row, out| {
            if list.is_null(row) || delimiter.is_null(row) {
                return false;
            }
            let null = (!null.is_null(row)).then(|| null.at(row));
            join(&list.at(row), delimiter.at(row), null, out);
            true
        })
    });
    with_null.strict = false;
    with_null.all_text = true;
}

fn split<'a>(text: &'a str, delimiter: &str, mut each: impl FnMut(&'a str)) {
    if text.is_empty() {
        return;
    }
    if delimiter.is_empty() {
        return each(text);
    }
    text.split(delimiter).for_each(each);
}

fn join(values: &arrow::array::ArrayRef, delimiter: &str, null: Option<&str>, out: &mut String) {
    use arrow::array::AsArray;
    let present = values.as_string::<i32>().iter().filter_map(|value| value.or(null));
    for (i, value) in present.enumerate() {
        out.push_str(if i > 0 { delimiter } else { "" });
        out.push_str(value);
    }
}
