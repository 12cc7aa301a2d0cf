//! Errors across the DataFusion boundary: PostgreSQL errors ride through DataFusion and Arrow and come out whole.
//!
//! A function fails with a [`weir_common::Error`]; [`into_datafusion`] packs it for the trip through DataFusion's
//! plans and [`from_datafusion`] unpacks it at the other end, however often it was wrapped on the way.

use std::error::Error as StdError;

use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use weir_common::{Error, SqlState};

/// Packs an error so that [`from_datafusion`] finds it again.
pub fn into_datafusion(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The user-visible error inside a DataFusion error: the one a function raised, else one with the nearest
/// SQLSTATE (22012, 22003, 22P02, 0A000, 53200), else XX000.
pub fn from_datafusion(error: DataFusionError) -> Error {
    if let Some(error) = embedded(&error) {
        return error;
    }
    match error.find_root() {
        DataFusionError::ArrowError(arrow, _) => arrow_error(arrow),
        DataFusionError::ResourcesExhausted(what) => {
            Error::new(SqlState::OUT_OF_MEMORY, "out of memory").with_detail(what)
        }
        DataFusionError::NotImplemented(what) => Error::unsupported(what),
        other => Error::internal(other.strip_backtrace()),
    }
}

/// The user-visible error inside an Arrow error.
pub fn from_arrow(error: ArrowError) -> Error {
    embedded(&error).unwrap_or_else(|| arrow_error(&error))
}

fn embedded(error: &(dyn StdError + 'static)) -> Option<Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<Error>() {
            return Some(found.clone());
        }
        next = match error.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::External(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner)) => {
                Some(inner.as_ref())
            }
            Some(DataFusionError::Shared(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::ArrowError(inner, _)) => Some(inner.as_ref()),
            Some(DataFusionError::Collection(errors)) => {
                errors.first().map(|first| first as &(dyn StdError + 'static))
            }
            _ => match error.downcast_ref::<ArrowError>() {
                Some(ArrowError::ExternalError(inner)) => Some(inner.as_ref()),
                _ => error.source(),
            },
        };
    }
    None
}

fn arrow_error(error: &ArrowError) -> Error {
    match error {
        ArrowError::DivideByZero => Error::division_by_zero(),
        ArrowError::ArithmeticOverflow(_) => {
            Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range")
                .with_detail(error.to_string())
        }
        ArrowError::CastError(what) => Error::new(SqlState::INVALID_TEXT_REPRESENTATION, what.clone()),
        ArrowError::NotYetImplemented(what) => Error::unsupported(what),
        ArrowError::MemoryError(what) => {
            Error::new(SqlState::OUT_OF_MEMORY, "out of memory").with_detail(what)
        }
        other => Error::internal(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn finds_an_error_under_every_wrapping() {
        let overflow = Error::out_of_range("integer");
        let packed = DataFusionError::ArrowError(
            Box::new(ArrowError::ExternalError(Box::new(into_datafusion(overflow.clone())))),
            None,
        );
        let shared = DataFusionError::Shared(Arc::new(packed)).context("while folding constants");
        assert_eq!(from_datafusion(shared), overflow);
    }

    #[test]
    fn maps_foreign_errors_to_states() {
        let zero = DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None);
        assert_eq!(from_datafusion(zero).state(), SqlState::DIVISION_BY_ZERO);
        let memory = DataFusionError::ResourcesExhausted("pool".into());
        assert_eq!(from_datafusion(memory).state(), SqlState::OUT_OF_MEMORY);
        assert_eq!(from_datafusion(DataFusionError::Internal("x".into())).state(), SqlState::INTERNAL_ERROR);
    }
}
