//! Types in UDF names, so that casts and other functions with a type as parameter can be found again by name.
//!
//! A type is written as its catalog name with modifiers: `int4`, `varchar(20)`, `numeric(10,2)`, `text[]`. A
//! numeric that does not print all its digits adds how: `numeric(38,16,trimmed)`, `numeric(38,20,quotient)`.

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;
use weir_common::SqlType;
use weir_common::text::scalar_types;
use weir_common::types::{NumericDisplay, NumericType};

use super::{any_text, cast, datetime_fields, numeric};

/// The UDF whose name carries parameters.
pub(crate) fn parametrised(name: &str) -> Option<Arc<ScalarUDF>> {
    cast::by_name(name)
        .or_else(|| numeric::by_name(name))
        .or_else(|| datetime_fields::by_name(name))
        .or_else(|| any_text::by_name(name))
}

/// A type as part of a name.
pub(crate) fn write(ty: &SqlType) -> String {
    match ty {
        SqlType::Numeric(NumericType { precision, scale, display }) => match display {
            NumericDisplay::Fixed => format!("numeric({precision},{scale})"),
            NumericDisplay::Trimmed => format!("numeric({precision},{scale},trimmed)"),
            NumericDisplay::Quotient => format!("numeric({precision},{scale},quotient)"),
            NumericDisplay::Variance => format!("numeric({precision},{scale},variance)"),
            NumericDisplay::Deviation => format!("numeric({precision},{scale},deviation)"),
            NumericDisplay::Mixed => format!("numeric({precision},{scale},mixed)"),
        },
        SqlType::Varchar(Some(limit)) => format!("varchar({limit})"),
        SqlType::Bpchar(Some(limit)) => format!("bpchar({limit})"),
        SqlType::Array(element) => format!("{}[]", write(element)),
        other => other.catalog_name(),
    }
}

/// Reads what [`write`] wrote; plain catalog names too.
pub(crate) fn parse(code: &str) -> Option<SqlType> {
    if let Some(element) = code.strip_suffix("[]") {
        return Some(SqlType::Array(Box::new(parse(element)?)));
    }
    let Some((name, modifiers)) = code.split_once('(') else {
        return scalar_types().into_iter().find(|ty| ty.catalog_name() == code);
    };
    let modifiers: Vec<&str> = modifiers.strip_suffix(')')?.split(',').collect();
    match (name, modifiers.as_slice()) {
        ("varchar", [limit]) => Some(SqlType::Varchar(Some(limit.parse().ok()?))),
        ("bpchar", [limit]) => Some(SqlType::Bpchar(Some(limit.parse().ok()?))),
        ("numeric", [precision, scale, display @ ..]) => {
            let display = match display {
                [] => NumericDisplay::Fixed,
                ["trimmed"] => NumericDisplay::Trimmed,
                ["quotient"] => NumericDisplay::Quotient,
                ["variance"] => NumericDisplay::Variance,
                ["deviation"] => NumericDisplay::Deviation,
                ["mixed"] => NumericDisplay::Mixed,
                _ => return None,
            };
            Some(SqlType::Numeric(NumericType {
                precision: precision.parse().ok()?,
                scale: scale.parse().ok()?,
                display,
            }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_back() {
        let mut types = scalar_types();
        types.extend([
            SqlType::Varchar(Some(20)),
            SqlType::Bpchar(Some(1)),
            SqlType::Numeric(NumericType::fixed(10, 2)),
            SqlType::Numeric(NumericType::QUOTIENT),
            SqlType::Array(Box::new(SqlType::Numeric(NumericType::fixed(5, 0)))),
        ]);
        for ty in types {
            assert_eq!(parse(&write(&ty)), Some(ty.clone()), "{ty}");
        }
        assert_eq!(parse("nonsense"), None);
    }
}
