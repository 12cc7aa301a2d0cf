//! `Caller`: the session behind work that runs in a task of its own.
//!
//! ```text
//!   session ── spawns ──► task            the session waits; what the task tells it goes to the client at once
//!      │                   ▲  │
//!      │ gives up waiting  │  │ notices
//!      └──── interrupt ────┘  └─► prompt notices
//! ```
//! Work that changes the catalog and the running jobs must not be dropped half-way, so a session that is cancelled
//! raises an [`Interrupt`], and the work undoes what it did before it ends. [`Session::settle`] waits for that: when the
//! client hears that its statement was cancelled, nothing of it is left.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use weir_common::{Error, JobId, Result, SqlState};

use crate::outcome::Notice;
use crate::session::Session;

/// What work that runs in a task of its own knows of who waits for it.
pub(crate) struct Caller {
    interrupt: Interrupt,
    notices: mpsc::UnboundedSender<Notice>,
}

/// Asks work to end early.
#[derive(Clone)]
pub(crate) struct Interrupt(Arc<watch::Sender<bool>>);

/// Raises an interrupt when it is dropped.
struct RaiseOnDrop(Interrupt);

impl Interrupt {
    /// Asks; nothing happens when the work has ended.
    pub fn raise(&self) {
        self.0.send_replace(true);
    }

    /// Waits until somebody asks.
    pub async fn raised(&self) {
        // Cannot fail: the sender is in `self`.
        let _ = self.0.subscribe().wait_for(|raised| *raised).await;
    }

    /// Asks, and waits until the work has ended.
    pub async fn raise_and_wait(self) {
        self.raise();
        let mut ended = self.0.subscribe();
        drop(self);
        // The channel closes when the work and its session have let go of it.
        while ended.changed().await.is_ok() {}
    }
}

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.raise();
    }
}

impl Caller {
    /// Tells the client something while the statement runs.
    pub fn tell(&self, notice: Notice) {
        // A session that has gone needs to hear nothing.
        let _ = self.notices.send(notice);
    }

    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Work that may be dropped half-way: to its end, or 57014 once the caller is gone.
    pub async fn unless_interrupted<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.interrupt.raised() => Err(cancelled()),
        }
    }
}

/// 57014.
pub(crate) fn cancelled() -> Error {
    Error::new(SqlState::QUERY_CANCELED, "canceling statement due to user request")
}

impl Session {
    /// Runs work in a task of its own, which learns when nobody waits for it any more.
    pub(crate) async fn detached<T, F>(&mut self, work: impl FnOnce(Caller) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let interrupt = Interrupt(Arc::new(watch::Sender::new(false)));
        let work = work(Caller { interrupt: interrupt.clone(), notices: self.prompt_notices.0.clone() });
        let _gone = RaiseOnDrop(interrupt);
        let (reply, done) = oneshot::channel();
        self.unsettled = Some(tokio::spawn(async move {
            // Whoever gave up waiting wants no answer.
            let _ = reply.send(work.await);
        }));
        let done = done.await.map_err(|_| Error::internal("the task of a statement panicked"));
        self.unsettled = None;
        done
    }

    /// Waits until a statement that was cancelled has undone what it did. To be called before anybody hears of the
    /// cancel.
    pub async fn settle(&mut self) {
        // The handle stays until the task has ended: whoever waits here may itself be given up.
        if let Some(task) = &mut self.unsettled
            && let Err(error) = task.await
        {
            tracing::error!("the task of a cancelled statement: {error}");
        }
        self.unsettled = None;
        self.transaction.take_draft_back();
        if std::mem::take(&mut self.in_own_block) {
            self.transaction.end();
        }
    }

    /// Notices of statements that are under way, as they are made. Once; without it they come with the others.
    pub fn take_prompt_notices(&mut self) -> Option<mpsc::UnboundedReceiver<Notice>> {
        self.prompt_notices.1.take()
    }
}

/// The jobs that statements are waiting for.
#[derive(Default)]
pub(crate) struct Building(Mutex<BTreeMap<JobId, (String, Interrupt)>>);

/// A job's place among them, until it is dropped.
pub(crate) struct Listed<'a> {
    building: &'a Building,
    job: JobId,
}

impl Building {
    /// Lists a job, whose statement is interrupted by this.
    pub fn enter(&self, job: JobId, name: String, interrupt: &Interrupt) -> Listed<'_> {
        self.0.lock().insert(job, (name, interrupt.clone()));
        Listed { building: self, job }
    }

    /// What interrupts the statement that waits for this job, or without a job for the only one of this name.
    pub fn find(&self, job: Option<JobId>, name: &str) -> Option<Interrupt> {
        let jobs = self.0.lock();
        let found = match job {
            Some(job) => jobs.get(&job),
            None => jobs.values().find(|(found, _)| found == name),
        };
        found.map(|(_, interrupt)| interrupt.clone())
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.building.0.lock().remove(&self.job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_interrupts_can_wait_for_the_end() {
        let interrupt = Interrupt(Arc::new(watch::Sender::new(false)));
        let theirs = interrupt.clone();
        let work = tokio::spawn(async move {
            theirs.raised().await;
            tokio::task::yield_now().await;
            "ended"
        });
        interrupt.raise_and_wait().await;
        assert!(work.is_finished());
        assert_eq!(work.await.expect("no panic"), "ended");
    }
}
