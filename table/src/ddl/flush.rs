//! FLUSH: waits until every healthy view reflects all writes acknowledged before it.

use std::collections::HashSet;

use weir_common::{ObjectId, Result};
use weir_runtime::JobState;

use crate::environment::Environment;
use crate::outcome::Outcome;
use crate::session::Session;
use crate::transaction::Block;

impl Environment {
    /// The objects whose jobs have failed.
    pub(crate) fn failed_jobs(&self) -> HashSet<ObjectId> {
        let failed = self.runtime.jobs().into_iter().filter(|job| job.state == JobState::Failed);
        failed.map(|job| ObjectId(job.job.0)).collect()
    }
}

impl Session {
    /// Runs FLUSH. A view that has failed, or fails meanwhile, is not waited for.
    pub(crate) async fn flush(&mut self) -> Result<Outcome> {
        if self.transaction.block() == Block::Implicit {
            self.commit_writes().await?;
        }
        self.env.runtime.flush().await?;
        Ok(Outcome::Command { tag: "FLUSH".to_string() })
    }
}
