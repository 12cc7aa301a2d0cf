//! DDL: changes of the catalog and of what runs.
//!
//! ```text
//!   bind ─► plan ─► carried out at once, or kept for COMMIT in a block (see `plan`, `draft`)
//! ```
//! Invariants: one DDL statement or COMMIT with DDL at a time; a body runs in a task of its own, to its end or,
//! when its client cancels it, until everything is undone; a statement that fails leaves the catalog as it was.

mod alter;
mod alter_column;
mod backfill;
mod bounded_state;
mod comment;
mod create_index;
mod create_materialized_view;
mod create_sequence;
mod create_sink;
mod create_source;
mod create_table;
mod create_table_as;
mod create_view;
mod draft;
mod drop;
mod flush;
mod plan;
mod show;

use std::sync::Arc;

use weir_catalog::{CatalogSnapshot, Object, ObjectKind};
use weir_common::{Error, ObjectId, Result};
use weir_planner::bound::NewName;
use weir_planner::{BindContext, BoundStatement, ParsedStatement, SessionInfo};

pub(crate) use self::draft::{Draft, DraftMark};
use self::plan::{Plan, Start};
use crate::caller::Caller;
use crate::environment::Environment;
use crate::outcome::{Notice, Outcome};
use crate::session::Session;
use crate::transaction::Block;

impl Session {
    /// Runs a DDL statement. `what` names it in errors.
    pub(crate) async fn ddl(
        &mut self,
        bound: BoundStatement,
        statement: &ParsedStatement,
        what: &str,
    ) -> Result<Outcome> {
        self.transaction.check_ddl(what, self.default_read_only())?;
        // What a sink has written outside cannot be taken back.
        let can_roll_back = !matches!(bound, BoundStatement::CreateSink(_));
        if !can_roll_back {
            self.transaction.check_not_in_block(what)?;
        }
        if can_roll_back && self.transaction.block() != Block::None {
            return self.ddl_in_block(bound).await;
        }
        self.commit_writes().await?;
        let body = Body {
            env: Arc::clone(&self.env),
            statement: statement.clone(),
            session: self.session_info(),
            bound,
            catalog_version: self.env.catalog.snapshot().version(),
        };
        let done = self.detached(|caller| body.run(caller)).await??;
        self.notices.extend(done.notices);
        Ok(Outcome::Command { tag: done.tag.to_string() })
    }

    async fn ddl_in_block(&mut self, bound: BoundStatement) -> Result<Outcome> {
        let catalog = self.catalog();
        let session = self.session_info();
        let mut plan = Planner { env: &self.env, catalog: &catalog, session: &session }.plan(bound)?;
        let done = Done { tag: plan.tag, notices: std::mem::take(&mut plan.notices) };
        self.add_to_draft(plan).await?;
        self.notices.extend(done.notices);
        Ok(Outcome::Command { tag: done.tag.to_string() })
    }

    /// Adds a statement to what the block's COMMIT makes real.
    async fn add_to_draft(&mut self, plan: Plan) -> Result<()> {
        if plan.changes.is_empty() {
            return Ok(());
        }
        let draft = self.transaction.draft.take();
        let mut draft = draft.unwrap_or_else(|| Draft::new(Arc::clone(&self.env)));
        let slot = self.transaction.lend_draft();
        // A task of its own: a client that goes away meanwhile must not leave half a start behind.
        let added = self.detached(|caller| async move {
            let added = draft.add(plan, &caller).await;
            *slot.lock() = Some(draft);
            added
        });
        let added = added.await;
        self.transaction.take_draft_back();
        added?
    }

    /// Begins a block for a statement that is several steps, unless there is one. Whether it did.
    async fn enter_block(&mut self) -> Result<bool> {
        if self.transaction.block() != Block::None {
            return Ok(false);
        }
        self.commit_writes().await?;
        self.transaction.begin(Block::Implicit, self.env.clock.now_micros());
        self.in_own_block = true;
        Ok(true)
    }

    /// Ends what [`Self::enter_block`] began: with a commit, or after an error without a trace.
    async fn leave_block<T>(&mut self, is_own_block: bool, done: Result<T>) -> Result<T> {
        if !is_own_block {
            return done;
        }
        let done = match done {
            Ok(value) => self.commit_writes().await.map(|()| value),
            Err(error) => Err(error),
        };
        self.transaction.end();
        self.in_own_block = false;
        done
    }

    /// The catalog, with what the session's own block has changed.
    pub(crate) fn catalog(&self) -> Arc<CatalogSnapshot> {
        match &self.transaction.draft {
            Some(draft) => draft.catalog(),
            None => self.env.catalog.snapshot(),
        }
    }
}

/// What a DDL statement gives: its tag, and what to tell the user.
struct Done {
    tag: &'static str,
    notices: Vec<Notice>,
}

/// A DDL statement on its way, independent of its session.
struct Body {
    env: Arc<Environment>,
    statement: ParsedStatement,
    session: SessionInfo,
    bound: BoundStatement,
    catalog_version: u64,
}

impl Body {
    async fn run(self, caller: Caller) -> Result<Done> {
        let _one_at_a_time = caller.unless_interrupted(Arc::clone(&self.env.ddl).lock_owned()).await?;
        let catalog = self.env.catalog.snapshot();
        let bound = if catalog.version() == self.catalog_version {
            self.bound
        } else {
            let context = BindContext::new(Arc::clone(&catalog), self.session.clone());
            weir_planner::bind(&self.statement, &context)?
        };
        let planner = Planner { env: &self.env, catalog: &catalog, session: &self.session };
        let mut plan = planner.plan(bound)?;
        let done = Done { tag: plan.tag, notices: std::mem::take(&mut plan.notices) };
        self.env.carry_out(plan, &caller).await?;
        Ok(done)
    }
}

/// Works out what a bound statement does.
struct Planner<'a> {
    env: &'a Environment,
    /// The catalog as the statement sees it.
    catalog: &'a Arc<CatalogSnapshot>,
    session: &'a SessionInfo,
}

impl Planner<'_> {
    fn plan(&self, bound: BoundStatement) -> Result<Plan> {
        match bound {
            BoundStatement::CreateTable(create) => self.create_table(create),
            BoundStatement::CreateSource(create) => self.create_source(create),
            BoundStatement::CreateView(create) => self.create_view(create),
            BoundStatement::CreateMaterializedView(create) => self.create_materialized_view(create),
            BoundStatement::CreateSink(create) => self.create_sink(create),
            BoundStatement::CreateSequence(create) => self.create_sequence(create),
            BoundStatement::Drop(drop) => self.drop_objects(drop),
            BoundStatement::Comment { object, column, comment } => self.comment(object, column, comment),
            _ => Err(Error::internal("not a DDL statement")),
        }
    }

    fn new_object(&self, id: ObjectId, name: &NewName, kind: ObjectKind, definition: String) -> Object {
        Object::new(id, name.schema, name.name.clone(), &self.session.user, kind).with_definition(definition)
    }

    /// Refuses a job over something that does not run.
    fn check_inputs_run(&self, inputs: &[ObjectId]) -> Result<()> {
        inputs.iter().try_for_each(|id| self.env.check_not_broken(self.catalog, *id))
    }
}
