//! `Union`: all rows of all inputs (UNION ALL); stateless, batches pass through untouched.

use weir_common::{ChangeBatch, Result};

use crate::operator::{Flow, Operator, Output, Port};

/// The UNION ALL operator.
#[derive(Debug, Default)]
pub struct Union;

impl Operator for Union {
    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, out: &mut Output) -> Result<Flow> {
        out.push(batch);
        Ok(Flow::Done)
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;
    use crate::testing::{changes, net};

    #[test]
    fn rows_of_every_port_pass() {
        let mut out = Output::new();
        let types = [DataType::Int64];
        let _ = Union.on_batch(Port(0), changes("+ 1\n- 2", &types).unwrap(), &mut out).unwrap();
        let _ = Union.on_batch(Port(1), changes("+ 1", &types).unwrap(), &mut out).unwrap();
        assert_eq!(net(&out.batches).unwrap(), net(&[changes("+ 1\n+ 1\n- 2", &types).unwrap()]).unwrap());
    }
}
