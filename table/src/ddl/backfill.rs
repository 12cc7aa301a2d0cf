//! Waiting for a new job's first epoch: telling the client how far it is, and ending it when nobody wants it any more.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use weir_common::{Error, JobId, ObjectId, Result, SqlState};
use weir_connector::Sink;
use weir_runtime::{BackfillStage, BackfillStatus, JobGraph};

use crate::caller::{Caller, cancelled};
use crate::environment::Environment;
use crate::outcome::{Notice, Outcome};
use crate::session::Session;

/// How often the client hears how far it is.
const REPORT_EVERY: Duration = Duration::from_secs(2);

impl Environment {
    /// Starts a job and waits for its first epoch. An interrupt stops the job, with 57014; nothing is left of it then.
    pub(super) async fn start_job(
        &self,
        graph: JobGraph,
        sink: Option<Arc<dyn Sink>>,
        caller: &Caller,
    ) -> Result<()> {
        let job = graph.job;
        let _listed = self.building.enter(job, graph.name.clone(), caller.interrupt());
        self.unless_cancelled(job, self.runtime.create_job(graph, sink), caller).await
    }

    /// Starts the job of a sink into a table, and waits until the table holds what its query gives now.
    pub(super) async fn start_table_sink(&self, graph: JobGraph, caller: &Caller) -> Result<()> {
        let job = graph.job;
        let _listed = self.building.enter(job, graph.name.clone(), caller.interrupt());
        let delivered = async {
            self.runtime.create_job(graph, None).await?;
            self.deliveries.start(self, job)?;
            let delivered = self.runtime.first_delivery(job).await;
            if delivered.is_err() {
                self.runtime.drop_objects(&[ObjectId(job.0)]).await?;
            }
            delivered
        };
        self.unless_cancelled(job, delivered, caller).await
    }

    /// Waits for a new job, and stops it when the caller does not want it any more.
    async fn unless_cancelled(
        &self,
        job: JobId,
        created: impl Future<Output = Result<()>>,
        caller: &Caller,
    ) -> Result<()> {
        tokio::select! {
            biased;
            created = created => return created,
            never = self.report_progress(job, caller) => match never {},
            () = caller.interrupt().raised() => {}
        }
        self.runtime.drop_objects(&[ObjectId(job.0)]).await?;
        Err(cancelled())
    }

    async fn report_progress(&self, job: JobId, caller: &Caller) -> Infallible {
        let mut is_first = true;
        loop {
            tokio::time::sleep(REPORT_EVERY).await;
            if let Some(status) = self.runtime.backfills().into_iter().find(|status| status.job == job) {
                let mut notice = Notice::notice(describe(&status));
                notice.hint = is_first
                    .then(|| format!("CANCEL JOB {}, or a cancel of the statement, ends it.", status.name));
                caller.tell(notice);
                is_first = false;
            }
        }
    }
}

/// `building "v": 120000 of 5000000 rows (2 %), about 00:01:13 left`.
fn describe(status: &BackfillStatus) -> String {
    let BackfillStatus { name, rows_done, rows_total, .. } = status;
    match status.stage {
        BackfillStage::Waiting => format!("building \"{name}\": waiting for its inputs"),
        BackfillStage::Finishing => format!("building \"{name}\": all {rows_done} rows are read, finishing"),
        BackfillStage::Reading => {
            let percent = u128::from(*rows_done) * 100 / u128::from((*rows_total).max(1));
            let left =
                status.remaining.map_or_else(String::new, |left| format!(", about {} left", clock(left)));
            format!("building \"{name}\": {rows_done} of {rows_total} rows ({percent} %){left}")
        }
    }
}

/// Hours, minutes and seconds.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

impl Session {
    /// Runs CANCEL JOB: ends the statement that creates a view or sink, and waits until nothing of it is left.
    /// Errors: 42704 when there is no such job, 55000 when no statement waits for it.
    pub(crate) async fn cancel_job(&mut self, object: Option<ObjectId>, name: &str) -> Result<Outcome> {
        let job = object.map(|id| JobId(id.0));
        match (self.env.building.find(job, name), job) {
            (Some(interrupt), _) => interrupt.raise_and_wait().await,
            (None, None) => {
                let message = format!("job \"{name}\" does not exist");
                return Err(Error::new(SqlState::UNDEFINED_OBJECT, message));
            }
            (None, Some(_)) => {
                let message = format!("job \"{name}\" is not being built by a statement");
                return Err(Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                    .with_hint("PAUSE lets a job rest; DROP removes it."));
            }
        }
        Ok(Outcome::Command { tag: "CANCEL JOB".to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(stage: BackfillStage, rows_done: u64, remaining: Option<u64>) -> BackfillStatus {
        BackfillStatus {
            job: JobId(7),
            name: "v".into(),
            stage,
            rows_done,
            rows_total: 400,
            started_micros: 0,
            remaining: remaining.map(Duration::from_secs),
        }
    }

    #[test]
    fn progress_in_words() {
        let cases = [
            (status(BackfillStage::Waiting, 0, None), "building \"v\": waiting for its inputs"),
            (status(BackfillStage::Reading, 0, None), "building \"v\": 0 of 400 rows (0 %)"),
            (
                status(BackfillStage::Reading, 99, Some(3_725)),
                "building \"v\": 99 of 400 rows (24 %), about 01:02:05 left",
            ),
            (status(BackfillStage::Finishing, 400, None), "building \"v\": all 400 rows are read, finishing"),
        ];
        for (status, expected) in cases {
            assert_eq!(describe(&status), expected);
        }
    }
}
