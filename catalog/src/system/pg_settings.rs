//! `pg_settings`: the session's settings, and the limits clients ask for that nobody can set.

use super::rows::{Rows, Value};
use super::{Setting, SystemContext};

/// PostgreSQL's compile-time settings that drivers read, with the values Weir has.
const PRESET: [(&str, &str, &str); 5] = [
    ("block_size", "8192", "Shows the size of a disk block."),
    ("max_function_args", "100", "Shows the maximum number of function arguments."),
    ("max_identifier_length", "63", "Shows the maximum identifier length."),
    ("max_index_keys", "32", "Shows the maximum number of index keys."),
    ("server_encoding", "UTF8", "Shows the server (database) character set encoding."),
];

pub(super) fn pg_settings(cx: &SystemContext, rows: &mut Rows<'_>) {
    let mut settings: Vec<Setting> = cx.settings.clone();
    let known = |name: &str| cx.settings.iter().any(|setting| setting.name == name);
    settings.extend(PRESET.iter().filter(|(name, ..)| !known(name)).map(preset_setting));
    settings.sort_by_key(|setting| setting.name.to_lowercase());
    for setting in &settings {
        push(rows, setting);
    }
}

fn preset_setting((name, value, description): &(&str, &str, &str)) -> Setting {
    let text = |s: &str| s.to_owned();
    Setting { name: text(name), value: text(value), default: text(value), description: text(description) }
}

fn push(rows: &mut Rows<'_>, setting: &Setting) {
    let is_preset = preset(&setting.name).is_some();
    let (context, category) = if is_preset { ("internal", "Preset Options") } else { ("user", "Session") };
    let source = if setting.value == setting.default { "default" } else { "session" };
    rows.push([
        ("name", (&setting.name).into()),
        ("setting", (&setting.value).into()),
        ("category", category.into()),
        ("short_desc", (&setting.description).into()),
        ("context", context.into()),
        ("vartype", value_type(&setting.default).into()),
        ("source", source.into()),
        ("boot_val", (&setting.default).into()),
        ("reset_val", (&setting.default).into()),
        ("pending_restart", Value::Bool(false)),
    ]);
}

fn value_type(default: &str) -> &'static str {
    match default {
        "on" | "off" => "bool",
        number if number.parse::<i64>().is_ok() => "integer",
        _ => "string",
    }
}

/// The value of a setting that nobody can change.
pub(crate) fn preset(name: &str) -> Option<&'static str> {
    PRESET.iter().find(|(known, ..)| *known == name).map(|(_, value, _)| *value)
}
