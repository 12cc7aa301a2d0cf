//! `blackhole`: a sink that takes everything and keeps nothing, for measuring.

use weir_common::{ChangeBatch, Epoch, Result, WorkerId};

use crate::sink::{Sink, SinkWriter};

/// The sink.
pub struct Blackhole;

struct Void;

impl Sink for Blackhole {
    fn recover(&self, _: Epoch) -> Result<()> {
        Ok(())
    }

    fn writer(&self, _: WorkerId) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(Void))
    }

    fn commit(&self, _: Epoch) -> Result<()> {
        Ok(())
    }
}

impl SinkWriter for Void {
    fn write(&mut self, _: Epoch, _: &ChangeBatch) -> Result<()> {
        Ok(())
    }

    fn prepare(&mut self, _: Epoch) -> Result<()> {
        Ok(())
    }
}
