//! `Plan`: what a DDL statement changes in the catalog, and what starts and stops with it.
//!
//! ```text
//!   statement on its own   catalog (durable) ─► start ─► stop      an error of start takes the objects out again
//!   in a block             start ─► … COMMIT: catalog ─► stop      ROLLBACK stops what was started
//! ```
//! On its own, an object is in the catalog first: after a crash it goes on to be built. In a block nobody else may
//! see it, so what runs is started first, and a crash leaves nothing of it.

use std::sync::Arc;

use weir_catalog::{CatalogChange, Object};
use weir_common::{Error, JobId, ObjectId, RelationSchema, Result, SqlState};
use weir_connector::Sink;
use weir_planner::bound::NewName;
use weir_runtime::{JobGraph, RelationIndex, SourceSpec, TableSpec};

use crate::caller::Caller;
use crate::environment::Environment;
use crate::outcome::Notice;

/// A DDL statement, bound and worked out.
pub(crate) struct Plan {
    /// The command's tag.
    pub tag: &'static str,
    pub notices: Vec<Notice>,
    pub changes: Vec<CatalogChange>,
    pub starts: Vec<Start>,
    /// Objects that are dropped.
    pub stops: Vec<ObjectId>,
}

/// What begins to run.
pub(crate) enum Start {
    Table(TableSpec),
    Source(SourceSpec),
    Job {
        graph: JobGraph,
        sink: Option<Arc<dyn Sink>>,
    },
    /// An index of a relation that has rows.
    Index(RelationIndex),
    /// An index of a table that is created with it.
    NewIndex(RelationIndex),
    /// A sink into a table.
    TableSink {
        graph: JobGraph,
    },
    /// A table that has other columns from now on.
    Alter {
        id: ObjectId,
        before: RelationSchema,
        after: RelationSchema,
    },
}

/// How a [`Start`] is undone.
pub(crate) enum Undo {
    Stop(ObjectId),
    Alter { id: ObjectId, before: RelationSchema },
}

impl Plan {
    pub(super) fn new(tag: &'static str, changes: Vec<CatalogChange>) -> Plan {
        Plan { tag, notices: Vec::new(), changes, starts: Vec::new(), stops: Vec::new() }
    }

    /// An object that does not run.
    pub(super) fn create(tag: &'static str, object: Object) -> Plan {
        Plan::new(tag, vec![CatalogChange::Create(object)])
    }

    /// IF NOT EXISTS found the name taken.
    pub(super) fn skipped(tag: &'static str, name: &NewName) -> Plan {
        let message = format!("relation \"{}\" already exists, skipping", name.name);
        let notice = Notice::notice(message).with_state(SqlState::DUPLICATE_TABLE);
        Plan::new(tag, Vec::new()).with_notices(vec![notice])
    }

    pub(super) fn with_notices(mut self, notices: Vec<Notice>) -> Plan {
        self.notices = notices;
        self
    }

    pub(super) fn starting(mut self, start: Start) -> Plan {
        self.starts.push(start);
        self
    }

    /// The objects it creates, dependents last.
    pub(crate) fn created(&self) -> impl Iterator<Item = ObjectId> {
        self.changes.iter().filter_map(|change| match change {
            CatalogChange::Create(object) => Some(object.id),
            _ => None,
        })
    }
}

impl Start {
    fn undo(&self) -> Undo {
        match self {
            Start::Table(TableSpec { id, .. }) | Start::Source(SourceSpec { id, .. }) => Undo::Stop(*id),
            Start::Index(index) | Start::NewIndex(index) => Undo::Stop(index.spec.id),
            Start::Job { graph, .. } | Start::TableSink { graph } => {
                let JobId(id) = graph.job;
                Undo::Stop(ObjectId(id))
            }
            Start::Alter { id, before, .. } => Undo::Alter { id: *id, before: before.clone() },
        }
    }
}

impl Environment {
    /// Carries out a statement on its own.
    pub(super) async fn carry_out(&self, plan: Plan, caller: &Caller) -> Result<()> {
        if plan.changes.is_empty() {
            return Ok(());
        }
        let created: Vec<ObjectId> = plan.created().collect();
        self.catalog.apply(plan.changes)?;
        fail::fail_point!(weir_common::failpoint::DDL_BEFORE_START);
        let started = self.start(plan.starts, caller).await;
        started.map_err(|error| self.take_back(&created, error))?;
        self.stop(&plan.stops).await
    }

    /// Starts everything, or nothing. Returns how it is undone.
    pub(super) async fn start(&self, starts: Vec<Start>, caller: &Caller) -> Result<Vec<Undo>> {
        let mut started = Vec::new();
        for start in starts {
            let undo = start.undo();
            if let Err(error) = self.start_one(start, caller).await {
                self.stop(&self.undo(started)).await?;
                return Err(error);
            }
            started.push(undo);
        }
        Ok(started)
    }

    /// Undoes what was started, the last thing first, at once but for what has to be stopped: that is returned.
    pub(super) fn undo(&self, started: Vec<Undo>) -> Vec<ObjectId> {
        let mut stops = Vec::new();
        for undo in started.into_iter().rev() {
            match undo {
                Undo::Stop(id) => stops.push(id),
                Undo::Alter { id, before } => {
                    // A table that was dropped meanwhile has no columns to be put back.
                    if let Err(error) = self.runtime.alter_table(id, before) {
                        tracing::info!("an ALTER TABLE that was rolled back: {error}");
                    }
                }
            }
        }
        stops
    }

    async fn start_one(&self, start: Start, caller: &Caller) -> Result<()> {
        match start {
            Start::Table(table) => self.runtime.create_table(table),
            Start::Source(source) => self.runtime.create_source(source),
            Start::Index(index) => self.runtime.create_index(index).await,
            Start::NewIndex(index) => self.runtime.create_index_of_new(index),
            Start::Job { graph, sink } => self.start_job(graph, sink, caller).await,
            Start::TableSink { graph } => self.start_table_sink(graph, caller).await,
            Start::Alter { id, after, .. } => self.runtime.alter_table(id, after),
        }
    }

    /// Stops dropped objects and removes what they hold.
    pub(crate) async fn stop(&self, objects: &[ObjectId]) -> Result<()> {
        if objects.is_empty() {
            return Ok(());
        }
        fail::fail_point!(weir_common::failpoint::DDL_BEFORE_STOP);
        self.runtime.drop_objects(objects).await?;
        for id in objects {
            self.locks.forget(*id);
            self.index_keys.forget(*id);
        }
        fail::fail_point!(weir_common::failpoint::DDL_AFTER_STOP);
        Ok(())
    }

    /// Takes objects out of the catalog again whose start failed; the start's error is what the user gets.
    fn take_back(&self, created: &[ObjectId], error: Error) -> Error {
        fail::fail_point!(weir_common::failpoint::DDL_BEFORE_TAKE_BACK);
        let changes = created.iter().rev().map(|id| CatalogChange::Drop(*id)).collect();
        if let Err(second) = self.catalog.apply(changes) {
            tracing::error!("a statement that failed could not be taken out of the catalog: {second}");
        }
        error
    }
}
