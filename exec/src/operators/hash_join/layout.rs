//! Which columns a join keeps, and where each column of its output comes from.

use arrow::datatypes::DataType;

use crate::expr::ScalarExpr;
use crate::state::native::is_int_like;

/// The columns of a join. Positions of *joined* columns count left columns, then right ones.
pub(super) struct Layout {
    /// Key columns of each side.
    pub keys: [Vec<usize>; 2],
    /// Columns of each side that are stored.
    pub stored: [Vec<usize>; 2],
    /// The residual filter.
    pub filter: Option<Filter>,
    /// Joined columns of the output.
    project: Vec<usize>,
    types: [Vec<DataType>; 2],
}

/// The residual filter over only the columns it reads.
pub(super) struct Filter {
    /// With columns numbered by `columns`.
    pub expr: ScalarExpr,
    pub types: Vec<DataType>,
    columns: Vec<usize>,
}

/// Where a column of a pair comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A column of the batch.
    Batch(usize),
    /// A stored column of the other side.
    Stored(usize),
}

/// Where a column of one side's stored row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Among the stored columns of the side.
    Stored(usize),
    /// In the key, at this position.
    Key(usize),
}

/// A column of an output row that is made of one side's row alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lone {
    /// This column of the side.
    Own(usize),
    /// NULL, where the other side's column would be.
    Null(DataType),
    /// Whether there is a match.
    Mark,
}

impl Layout {
    /// The layout of a join.
    pub fn new(
        keys: [&Vec<usize>; 2],
        filter: Option<&ScalarExpr>,
        project: &[usize],
        times: [Option<usize>; 2],
        inputs: &[Vec<DataType>],
    ) -> Layout {
        let types = [inputs[0].clone(), inputs[1].clone()];
        let mut read = Vec::new();
        if let Some(filter) = filter {
            visit_columns(filter, &mut |column| read.push(column));
        }
        read.sort_unstable();
        read.dedup();
        let filter = filter.map(|filter| {
            let mut expr = filter.clone();
            renumber_columns(&mut expr, &|column| read.binary_search(&column).unwrap_or(column));
            let types = read
                .iter()
                .map(|c| inputs.iter().flatten().nth(*c).cloned().unwrap_or(DataType::Null))
                .collect();
            Filter { expr, types, columns: read.clone() }
        });
        let mut layout = Layout {
            keys: [keys[0].clone(), keys[1].clone()],
            stored: [Vec::new(), Vec::new()],
            filter,
            project: project.to_vec(),
            types,
        };
        read.extend_from_slice(project);
        // What tells when a row is forgotten.
        read.extend(times[0]);
        read.extend(times[1].map(|column| column + inputs[0].len()));
        let width = inputs[0].len() + inputs[1].len();
        for column in read.into_iter().filter(|column| *column < width) {
            let (side, column) = layout.side_of(column);
            if layout.key_twin(side, column).is_none() && !layout.stored[side].contains(&column) {
                layout.stored[side].push(column);
            }
        }
        layout.stored.iter_mut().for_each(|columns| columns.sort_unstable());
        layout
    }

    /// Types of the stored columns of a side.
    pub fn stored_types(&self, side: usize) -> Vec<(u16, DataType)> {
        let typed = |column: &usize| (*column as u16, self.types[side][*column].clone());
        self.stored[side].iter().map(typed).collect()
    }

    /// Where the output's columns come from when a batch of `side` is matched.
    pub fn output(&self, side: usize) -> Vec<Origin> {
        self.project.iter().map(|column| self.origin(side, *column)).collect()
    }

    /// Where the filter's columns come from when a batch of `side` is matched.
    pub fn filter_input(&self, side: usize) -> Vec<Origin> {
        self.filter
            .iter()
            .flat_map(|filter| &filter.columns)
            .map(|column| self.origin(side, *column))
            .collect()
    }

    /// The output's columns when a row of `side` is shown without a row of the other side.
    pub fn lone(&self, side: usize) -> Vec<Lone> {
        let width = self.types[0].len() + self.types[1].len();
        let lone = |column: &usize| match self.side_of(*column) {
            _ if *column >= width => Lone::Mark,
            (own, column) if own == side => Lone::Own(column),
            (other, column) => Lone::Null(self.types[other][column].clone()),
        };
        self.project.iter().map(lone).collect()
    }

    /// Where a column of a stored row is.
    pub fn place(&self, side: usize, column: usize) -> Place {
        match self.stored[side].binary_search(&column) {
            Ok(stored) => Place::Stored(stored),
            Err(_) => {
                let key = self.keys[side].iter().position(|key| *key == column);
                Place::Key(key.expect("a column that is read is stored or a key"))
            }
        }
    }

    /// The filter's columns as (side, column).
    pub fn filter_columns(&self) -> Vec<(usize, usize)> {
        self.filter.iter().flat_map(|filter| &filter.columns).map(|column| self.side_of(*column)).collect()
    }

    fn origin(&self, batch_side: usize, column: usize) -> Origin {
        let (side, column) = self.side_of(column);
        if side == batch_side {
            return Origin::Batch(column);
        }
        match self.key_twin(side, column) {
            Some(twin) => Origin::Batch(twin),
            None => Origin::Stored(self.stored[side].partition_point(|stored| *stored < column)),
        }
    }

    fn side_of(&self, column: usize) -> (usize, usize) {
        let left = self.types[0].len();
        if column < left { (0, column) } else { (1, column - left) }
    }

    /// The other side's key column that has the same value in every pair, if this is a key column of a type
    /// whose equal values are identical (unlike floats' zeros and intervals).
    fn key_twin(&self, side: usize, column: usize) -> Option<usize> {
        let exact = match &self.types[side][column] {
            DataType::Utf8 | DataType::Binary | DataType::FixedSizeBinary(_) | DataType::Decimal128(..) => {
                true
            }
            ty => is_int_like(ty),
        };
        let position = self.keys[side].iter().position(|key| *key == column)?;
        exact.then(|| self.keys[1 - side][position])
    }
}

/// Calls `visit` with each column that an expression reads.
fn visit_columns(expr: &ScalarExpr, visit: &mut dyn FnMut(usize)) {
    if let ScalarExpr::Column(column) = expr {
        visit(*column);
    }
    let mut expr = expr.clone();
    for child in children_mut(&mut expr) {
        visit_columns(child, visit);
    }
}

/// Replaces each column number.
fn renumber_columns(expr: &mut ScalarExpr, number: &dyn Fn(usize) -> usize) {
    if let ScalarExpr::Column(column) = expr {
        *column = number(*column);
    }
    for child in children_mut(expr) {
        renumber_columns(child, number);
    }
}

fn children_mut(expr: &mut ScalarExpr) -> Vec<&mut ScalarExpr> {
    match expr {
        ScalarExpr::Column(_) | ScalarExpr::Literal(..) => Vec::new(),
        ScalarExpr::Binary { left, right, .. } => vec![left, right],
        ScalarExpr::Not(expr) | ScalarExpr::IsNull(expr) | ScalarExpr::IsNotNull(expr) => vec![expr],
        ScalarExpr::Cast { expr, .. } => vec![expr],
        ScalarExpr::Call { args, .. } => args.iter_mut().collect(),
        ScalarExpr::Case { operand, branches, otherwise } => {
            let branches = branches.iter_mut().flat_map(|(when, then)| [when, then]);
            let ends = operand.iter_mut().chain(otherwise.iter_mut()).map(|expr| expr.as_mut());
            branches.chain(ends).collect()
        }
        ScalarExpr::InList { expr, list, .. } => std::iter::once(expr.as_mut()).chain(list).collect(),
        ScalarExpr::Like { expr, pattern, .. } => vec![expr, pattern],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::BinaryOp;

    #[test]
    fn only_columns_that_are_read_and_no_twin_key_is_stored() {
        use DataType::{Float64, Int64, Utf8};
        let filter = ScalarExpr::Binary {
            op: BinaryOp::Lt,
            left: Box::new(ScalarExpr::Column(2)),
            right: Box::new(ScalarExpr::Column(5)),
        };
        let inputs = [vec![Int64, Float64, Int64, Utf8], vec![Int64, Int64, Float64]];
        let layout =
            Layout::new([&vec![0, 1], &vec![0, 2]], Some(&filter), &[0, 4, 3, 6], [None, None], &inputs);
        assert_eq!(layout.stored, [vec![2, 3], vec![1, 2]]);
        let from_left = [Origin::Batch(0), Origin::Batch(0), Origin::Batch(3), Origin::Stored(1)];
        assert_eq!(layout.output(0), from_left);
        let from_right = [Origin::Batch(0), Origin::Batch(0), Origin::Stored(1), Origin::Batch(2)];
        assert_eq!(layout.output(1), from_right);
        assert_eq!(layout.filter_input(1), [Origin::Stored(0), Origin::Batch(1)]);
        let filter = layout.filter.unwrap();
        let renumbered = ScalarExpr::Binary {
            op: BinaryOp::Lt,
            left: Box::new(ScalarExpr::Column(0)),
            right: Box::new(ScalarExpr::Column(1)),
        };
        assert_eq!((filter.expr, filter.types), (renumbered, vec![Int64, Int64]));
    }
}
