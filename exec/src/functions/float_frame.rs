//! `sum` and `avg` of floats over a window frame whose start moves.
//!
//! Taking a float away from a sum does not undo adding it: NaN and infinity stay, and so does what was rounded. So the
//! values of the frame are kept and added up anew for each row, from the first on, as PostgreSQL does; the result
//! depends on the rows of the frame alone.

use std::collections::VecDeque;

use arrow::array::{Array, ArrayRef};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::Accumulator;

use super::sum_avg::{Finish, Total};
use crate::error::into_datafusion;

/// The values of a frame in their order, without NULLs.
#[derive(Debug)]
pub(super) struct FloatFrame {
    finish: Finish,
    values: VecDeque<f64>,
}

impl FloatFrame {
    /// A frame of no rows.
    pub fn new(finish: Finish) -> FloatFrame {
        FloatFrame { finish, values: VecDeque::new() }
    }
}

impl Accumulator for FloatFrame {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let column = &values[0];
        let rows = f64::widen(column).into_iter().enumerate();
        self.values.extend(rows.filter(|(row, _)| column.is_valid(*row)).map(|(_, value)| value));
        Ok(())
    }

    /// The rows that leave a frame are its first.
    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let leaving = values[0].len() - values[0].null_count();
        self.values.drain(..leaving.min(self.values.len()));
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = self.values.iter().fold(0.0, |sum, value| sum + value);
        let count = self.values.len() as i64;
        let result = f64::results(&[sum], &[count], &self.finish).map_err(into_datafusion)?;
        ScalarValue::try_from_array(&result, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("a window frame has no partial state")
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        internal_err!("a window frame has no partial state")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Float64Array;
    use arrow::datatypes::DataType;

    use super::*;
    use crate::functions::sum_avg::What;

    #[test]
    fn what_left_the_frame_is_forgotten() {
        let finish = |what| Finish { what, scale: 0, result: DataType::Float64 };
        let column = |values: &[Option<f64>]| [Arc::new(Float64Array::from(values.to_vec())) as ArrayRef];
        let mut sum = FloatFrame::new(finish(What::Sum));
        assert_eq!(sum.evaluate().unwrap(), ScalarValue::Float64(None));
        sum.update_batch(&column(&[Some(f64::NAN), None, Some(1e300), Some(0.1)])).unwrap();
        sum.retract_batch(&column(&[Some(f64::NAN), None])).unwrap();
        assert_eq!(sum.evaluate().unwrap(), ScalarValue::Float64(Some(1e300)));
        sum.retract_batch(&column(&[Some(1e300)])).unwrap();
        assert_eq!(sum.evaluate().unwrap(), ScalarValue::Float64(Some(0.1)));
        let mut avg = FloatFrame::new(finish(What::Avg));
        avg.update_batch(&column(&[Some(1.0), Some(2.0), None])).unwrap();
        assert_eq!(avg.evaluate().unwrap(), ScalarValue::Float64(Some(1.5)));
    }
}
