//! FLUSH and WAIT: until views reflect all writes acknowledged before; PAUSE and RESUME of a job.

use std::collections::HashSet;

use weir_common::{JobId, ObjectId, Result};
use weir_runtime::{Consistency, JobState, JobStatus};

use crate::environment::Environment;
use crate::outcome::Outcome;
use crate::session::Session;
use crate::transaction::Block;

impl Environment {
    /// The objects whose jobs have failed or are paused.
    pub(crate) fn resting_jobs(&self) -> HashSet<ObjectId> {
        let rests = |job: &JobStatus| job.state == JobState::Failed || job.is_paused;
        self.runtime.jobs().into_iter().filter(rests).map(|job| ObjectId(job.job.0)).collect()
    }
}

impl Session {
    /// Runs WAIT FOR MATERIALIZED VIEW: as a read of it would wait.
    pub(crate) async fn wait_for_view(&mut self, view: ObjectId) -> Result<Outcome> {
        if self.transaction.block() == Block::Implicit {
            self.commit_writes().await?;
        }
        self.env.check_not_broken(&self.catalog(), view)?;
        self.env.runtime.read(&[view], Consistency::Strict).await?;
        Ok(Outcome::Command { tag: "WAIT".to_string() })
    }

    /// Runs PAUSE.
    pub(crate) fn pause(&mut self, object: ObjectId) -> Result<Outcome> {
        self.env.runtime.pause_job(JobId(object.0))?;
        Ok(Outcome::Command { tag: "PAUSE".to_string() })
    }

    /// Runs RESUME.
    pub(crate) async fn resume(&mut self, object: ObjectId) -> Result<Outcome> {
        self.env.runtime.resume_job(JobId(object.0)).await?;
        Ok(Outcome::Command { tag: "RESUME".to_string() })
    }

    /// Runs FLUSH. A view that is paused or has failed, or fails meanwhile, is not waited for.
    pub(crate) async fn flush(&mut self) -> Result<Outcome> {
        if self.transaction.block() == Block::Implicit {
            self.commit_writes().await?;
        }
        self.env.runtime.flush().await?;
        Ok(Outcome::Command { tag: "FLUSH".to_string() })
    }
}
