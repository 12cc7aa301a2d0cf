//! Functions that take values of any type and work on their text: `text || any`, concat, concat_ws, format,
//! array_to_string; and those that work on their JSON.
//!
//! The function itself takes text; called with other types it gets a UDF of its own, named with them
//! (`text_concat(text,int4,date)`), which writes each argument as text first: as a cast does (`true`) for `||`, as
//! the type's output function does (`t`) for the others, as JSON for what builds JSON.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion::logical_expr::ScalarUDF;
use weir_common::text::{FormatOptions, Formatter};
use weir_common::{Result, SqlType};

use super::call::{Arg, ArrowResult, Call, PgFunction};
use super::json_build::{BUILDERS, JsonWriter};
use super::registry::evaluator;
use super::type_code;

const FUNCTIONS: [&str; 6] =
    ["textcat", "text_concat", "text_concat_ws", "text_format", "array_to_text", "array_to_text_null"];

/// Whether arguments of these types must be written as something else first.
pub(crate) fn needs_variant(function: &str, types: &[SqlType]) -> bool {
    BUILDERS.contains(&function) || types.iter().any(|ty| *ty != SqlType::Text)
}

/// The variant of the function for arguments of these types.
pub(crate) fn variant(function: &str, types: &[SqlType]) -> Option<Arc<ScalarUDF>> {
    let types: Vec<String> = types.iter().map(type_code::write).collect();
    by_name(&format!("{function}({})", types.join(",")))
}

/// The variant of this name.
pub(crate) fn by_name(name: &str) -> Option<Arc<ScalarUDF>> {
    let (function, types) = name.strip_suffix(')')?.split_once('(')?;
    let function = FUNCTIONS.into_iter().chain(BUILDERS).find(|known| *known == function)?;
    let eval = evaluator(function)?;
    let writer = |ty: SqlType| match BUILDERS.contains(&function) {
        true => Writer::Json(JsonWriter::new(&ty)),
        false => Writer::Text(TextWriter::new(&ty, function)),
    };
    let writers = split(types).map(|code| Some(writer(type_code::parse(code)?)));
    let writers: Vec<Writer> = writers.collect::<Option<_>>()?;
    let variant = move |call: &Call<'_>| -> Result<ArrayRef> {
        let texts: Vec<Arg> = writers.iter().enumerate().map(|(i, writer)| writer.write(call, i)).collect();
        eval(&call.with_args(&texts))
    };
    let function =
        PgFunction::new(name.to_owned(), ArrowResult::Fixed(DataType::Utf8), false, Arc::new(variant));
    Some(Arc::new(ScalarUDF::new_from_impl(function)))
}

/// Splits at commas that are not inside parentheses.
fn split(types: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    types.split(move |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    })
}

/// Writes one argument as what the function works on.
enum Writer {
    Text(TextWriter),
    Json(JsonWriter),
}

impl Writer {
    fn write(&self, call: &Call<'_>, i: usize) -> Arg {
        let writer = match self {
            Writer::Text(writer) => return writer.write(call, i),
            Writer::Json(writer) => writer,
        };
        let (array, constant) = call.array(i);
        let mut builder = StringBuilder::with_capacity(array.len(), array.len() * 8);
        let mut json = String::new();
        for row in 0..array.len() {
            json.clear();
            writer.write(array, row, &mut json);
            builder.append_value(&json);
        }
        Arg { array: Arc::new(builder.finish()), constant }
    }
}

/// Writes one argument as text, an array as an array of texts.
struct TextWriter {
    /// `None` for text.
    formatter: Option<Formatter>,
    /// The elements are written, not the array.
    keeps_array: bool,
    /// `true` instead of `t`.
    spells_booleans: bool,
}

impl TextWriter {
    fn new(ty: &SqlType, function: &str) -> TextWriter {
        let as_cast = function == "textcat";
        let element = match ty {
            SqlType::Array(element) if function.starts_with("array_to_text") => element.as_ref(),
            // Blanks that pad char(n) vanish in a cast.
            SqlType::Bpchar(_) if as_cast => &SqlType::Text,
            other => other,
        };
        let is_text = element.is_string() && !matches!(element, SqlType::Bpchar(Some(_)));
        let formatter = (!is_text).then(|| Formatter::new(element, &FormatOptions::default()));
        let keeps_array = element != ty && matches!(ty, SqlType::Array(_));
        TextWriter { formatter, keeps_array, spells_booleans: as_cast && *element == SqlType::Bool }
    }

    fn write(&self, call: &Call<'_>, i: usize) -> Arg {
        let (array, constant) = call.array(i);
        let Some(formatter) = &self.formatter else { return Arg { array: array.clone(), constant } };
        let array = match array.data_type() {
            DataType::List(_) if self.keeps_array => {
                let list = array.as_list::<i32>();
                let field = Arc::new(Field::new_list_field(DataType::Utf8, true));
                let values = self.texts(formatter, list.values());
                Arc::new(ListArray::new(field, list.offsets().clone(), values, list.nulls().cloned()))
            }
            _ => self.texts(formatter, array),
        };
        Arg { array, constant }
    }

    fn texts(&self, formatter: &Formatter, array: &ArrayRef) -> ArrayRef {
        let mut builder = StringBuilder::with_capacity(array.len(), array.len() * 8);
        let mut text = String::new();
        for row in 0..array.len() {
            text.clear();
            if array.is_null(row) {
                builder.append_null();
                continue;
            }
            match self.spells_booleans {
                true => text.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
                false => formatter.write(array, row, &mut text),
            }
            builder.append_value(&text);
        }
        Arc::new(builder.finish())
    }
}
