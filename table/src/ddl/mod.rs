//! DDL: changes of the catalog and of what runs.
//!
//! ```text
//!   bind ─► [ddl lock] ─► catalog.apply (durable) ─► runtime ─► done
//!                              ▲                        │ error
//!                              └──── taken out again ◄──┘
//! ```
//! Invariants: one DDL statement at a time; a body runs in a task of its own to its end, whatever happens to the
//! client; a statement that fails leaves the catalog as it was.

mod comment;
mod create_materialized_view;
mod create_sequence;
mod create_sink;
mod create_source;
mod create_table;
mod create_view;
mod drop;
mod flush;
mod show;

use std::sync::Arc;

use weir_catalog::{CatalogChange, Object, ObjectKind};
use weir_common::{Error, ObjectId, Result, SqlState};
use weir_planner::bound::NewName;
use weir_planner::{BindContext, BoundStatement, ParsedStatement, SessionInfo};

use crate::environment::Environment;
use crate::outcome::{Notice, Outcome};
use crate::session::Session;

/// What a DDL statement gives: its tag, and what to tell the user.
pub(crate) struct Done {
    tag: &'static str,
    notices: Vec<Notice>,
}

impl Done {
    fn new(tag: &'static str) -> Done {
        Done { tag, notices: Vec::new() }
    }

    fn with(tag: &'static str, notices: Vec<Notice>) -> Done {
        Done { tag, notices }
    }

    /// IF NOT EXISTS found the name taken.
    fn skipped(tag: &'static str, name: &NewName) -> Done {
        let message = format!("relation \"{}\" already exists, skipping", name.name);
        Done::with(tag, vec![Notice::notice(message).with_state(SqlState::DUPLICATE_TABLE)])
    }
}

impl Session {
    /// Runs a DDL statement. `what` names it in the error for a transaction block.
    pub(crate) async fn ddl(
        &mut self,
        bound: BoundStatement,
        statement: &ParsedStatement,
        what: &str,
    ) -> Result<Outcome> {
        self.transaction.check_not_in_block(what)?;
        self.commit_writes().await?;
        let body = Body {
            env: Arc::clone(&self.env),
            statement: statement.clone(),
            session: self.session_info(),
            bound,
            catalog_version: self.env.catalog.snapshot().version(),
        };
        let done = tokio::spawn(body.run()).await.map_err(|e| Error::internal(format!("DDL: {e}")))??;
        self.notices.extend(done.notices);
        Ok(Outcome::Command { tag: done.tag.to_string() })
    }
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
    async fn run(self) -> Result<Done> {
        let _one_at_a_time = Arc::clone(&self.env.ddl).lock_owned().await;
        let catalog = self.env.catalog.snapshot();
        let bound = if catalog.version() == self.catalog_version {
            self.bound
        } else {
            weir_planner::bind(&self.statement, &BindContext::new(catalog, self.session.clone()))?
        };
        let env = &self.env;
        let user = self.session.user.as_str();
        match bound {
            BoundStatement::CreateTable(create) => env.create_table(create, user),
            BoundStatement::CreateSource(create) => env.create_source(create, user),
            BoundStatement::CreateView(create) => env.create_view(create, user),
            BoundStatement::CreateMaterializedView(create) => {
                env.create_materialized_view(create, user).await
            }
            BoundStatement::CreateSink(create) => env.create_sink(create, user).await,
            BoundStatement::CreateSequence(create) => env.create_sequence(create, user),
            BoundStatement::Drop(drop) => env.drop_objects(drop).await,
            BoundStatement::Comment { object, column, comment } => env.comment(object, column, comment),
            _ => Err(Error::internal("not a DDL statement")),
        }
    }
}

impl Environment {
    /// Puts an object into the catalog, durably.
    fn add_object(&self, object: Object) -> Result<()> {
        self.catalog.apply(vec![CatalogChange::Create(object)]).map(|_| ())
    }

    /// Takes an object out again whose start failed; the start's error is what the user gets.
    fn take_back(&self, id: ObjectId, error: Error) -> Error {
        if let Err(second) = self.catalog.apply(vec![CatalogChange::Drop(id)]) {
            tracing::error!(object = id.0, "could not be taken out of the catalog: {second}");
        }
        error
    }

    fn new_object(
        &self,
        id: ObjectId,
        name: &NewName,
        user: &str,
        kind: ObjectKind,
        definition: String,
    ) -> Object {
        Object::new(id, name.schema, name.name.clone(), user, kind).with_definition(definition)
    }

    /// Refuses a job over something that does not run.
    fn check_inputs_run(&self, inputs: &[ObjectId]) -> Result<()> {
        let catalog = self.catalog.snapshot();
        inputs.iter().try_for_each(|id| self.check_not_broken(&catalog, *id))
    }
}
