//! The dispatcher: a bound statement is carried out by the module of its kind; the small ones are here
//! (transaction control, SET and SHOW, PREPARE and EXECUTE, DISCARD).

use std::sync::Arc;
use std::time::Duration;

use datafusion::logical_expr::{Expr, LogicalPlanBuilder, cast};
use weir_common::{Error, Result, SqlState, SqlType};
use weir_exec::functions::{CastContext, CastKind, resolve_cast};
use weir_planner::bound::{
    BoundQuery, DiscardTarget, FetchKind, SavepointAction, SetScope, TransactionModes,
};
use weir_planner::{BoundStatement, OutputColumn, ParamValues, ParsedStatement};

use crate::explain;
use crate::outcome::{Notice, Outcome, ParamValue, Prepared, TransactionStatus};
use crate::prepared::PreparedBy;
use crate::query::Purpose;
use crate::rows;
use crate::session::Session;
use crate::settings::{Applied, Scope};
use crate::transaction::Block;

impl Session {
    /// Carries a statement out.
    pub(crate) async fn run_bound(
        &mut self,
        bound: BoundStatement,
        parsed: &ParsedStatement,
    ) -> Result<Outcome> {
        match bound {
            bound @ (BoundStatement::Query(_)
            | BoundStatement::Insert(_)
            | BoundStatement::Update(_)
            | BoundStatement::Delete(_)) => self.run_rows(bound).await,
            BoundStatement::Truncate(tables) => self.truncate(&tables).await,
            BoundStatement::CopyFrom(copy) => self.begin_copy(&copy),
            BoundStatement::CopyTo(copy) => self.copy_out(copy).await,
            BoundStatement::Explain { options, statement } => self.explain(options, *statement).await,
            BoundStatement::ExplainObject { options, object } => self.explain_object(options, object),
            BoundStatement::ShowCreate { object } => self.show_create(object),
            BoundStatement::Flush => self.flush().await,
            BoundStatement::Wait { view } => self.wait_for_view(view).await,
            BoundStatement::Pause { object } => self.pause(object),
            BoundStatement::Resume { object } => self.resume(object).await,
            BoundStatement::CancelJob { object, name } => self.cancel_job(object, &name).await,
            BoundStatement::Subscribe(subscribe) => self.subscribe(&subscribe).await,
            BoundStatement::DeclareCursor { name, hold, statement } => {
                self.declare_cursor(name, hold, *statement).await
            }
            BoundStatement::Fetch { name, kind, count, timeout_ms } => {
                self.fetch(&name, kind, count, timeout_ms.map(Duration::from_millis)).await
            }
            BoundStatement::Begin(modes) => self.begin(modes),
            BoundStatement::Commit => self.commit_block().await,
            BoundStatement::Rollback => Ok(self.rollback_block()),
            BoundStatement::Savepoint { name, action } => self.savepoint(name, action),
            BoundStatement::SetTransaction(modes) => self.set_transaction(modes),
            BoundStatement::Execute { name, args } => Box::pin(self.execute_named(&name, args)).await,
            BoundStatement::Alter(alter) => Box::pin(self.alter(alter)).await,
            BoundStatement::CreateIndex(create) => Box::pin(self.create_index(create)).await,
            BoundStatement::CreateTableAs(create) => Box::pin(self.create_table_as(create)).await,
            BoundStatement::CreateTable(_)
            | BoundStatement::CreateSource(_)
            | BoundStatement::CreateView(_)
            | BoundStatement::CreateMaterializedView(_)
            | BoundStatement::CreateSink(_)
            | BoundStatement::CreateSequence(_)
            | BoundStatement::Drop(_)
            | BoundStatement::Comment { .. } => {
                let what = command_words(&bound);
                self.ddl(bound, parsed, what).await
            }
            other => self.run_command(other),
        }
    }

    /// Carries out a query or DML.
    pub(crate) async fn run_rows(&mut self, bound: BoundStatement) -> Result<Outcome> {
        match bound {
            BoundStatement::Query(query) => self.select(&query).await,
            BoundStatement::Insert(insert) => self.insert(&insert).await,
            BoundStatement::Update(update) => self.update(&update).await,
            BoundStatement::Delete(delete) => self.delete(&delete).await,
            BoundStatement::Subscribe(subscribe) => self.subscribe(&subscribe).await,
            _ => Err(Error::internal("a statement without rows")),
        }
    }

    /// The result columns of a statement; `None` when it returns no rows.
    pub(crate) fn describe(&self, bound: &BoundStatement) -> Result<Option<Vec<OutputColumn>>> {
        Ok(match bound {
            BoundStatement::Explain { options, .. } | BoundStatement::ExplainObject { options, .. } => {
                Some(explain::columns(*options))
            }
            BoundStatement::ShowCreate { .. } => Some(rows::text_columns(&rows::SHOW_CREATE)),
            BoundStatement::ShowVariable { name } if name == "all" => {
                Some(rows::text_columns(&rows::SHOW_ALL))
            }
            BoundStatement::ShowVariable { name } => Some(rows::text_columns(&[shown_name(name).as_str()])),
            BoundStatement::Execute { name, .. } => self.statements.find(name)?.columns.clone(),
            BoundStatement::Fetch { name, kind: FetchKind::Fetch, .. } => {
                Some(self.cursors.columns(name)?.to_vec())
            }
            other => other.columns().map(<[_]>::to_vec),
        })
    }

    /// Statements that concern the session alone.
    fn run_command(&mut self, bound: BoundStatement) -> Result<Outcome> {
        match bound {
            BoundStatement::Empty => Ok(command("")),
            BoundStatement::ShowVariable { name } => self.show_variable(&name),
            BoundStatement::SetVariable { scope, name, value } => self.set_variable(scope, &name, value),
            BoundStatement::Reset { name } if name == "all" => {
                self.settings.reset_all();
                Ok(command("RESET"))
            }
            BoundStatement::Reset { name } => self.settings.reset(&name).map(|()| command("RESET")),
            BoundStatement::Prepare { name, types, statement } => {
                let prepared = self.prepare(&statement, &types)?;
                let now = self.env.clock.now_micros();
                self.statements.store(&name, Arc::new(prepared), PreparedBy::Sql, now)?;
                Ok(command("PREPARE"))
            }
            BoundStatement::Deallocate { name: Some(name) } => {
                self.statements.deallocate(&name).map(|()| command("DEALLOCATE"))
            }
            BoundStatement::Deallocate { name: None } => {
                self.statements.clear();
                Ok(command("DEALLOCATE ALL"))
            }
            BoundStatement::Discard(target) => self.discard(target),
            BoundStatement::CloseCursor { name } => {
                self.cursors.close(name.as_deref())?;
                Ok(command(if name.is_some() { "CLOSE CURSOR" } else { "CLOSE CURSOR ALL" }))
            }
            BoundStatement::NoOperation { tag } => Ok(command(tag)),
            BoundStatement::Refresh { object } => Ok(self.refresh(object)),
            _ => Err(Error::internal("a statement that nobody carries out")),
        }
    }

    fn begin(&mut self, modes: TransactionModes) -> Result<Outcome> {
        if self.transaction.block() == Block::Explicit {
            let message = "there is already a transaction in progress";
            self.notices.push(Notice::warning(SqlState::ACTIVE_SQL_TRANSACTION, message));
        } else {
            // What came before in the same message belongs to the block.
            if self.transaction.block() == Block::None {
                self.settings.begin();
            }
            self.transaction.begin(Block::Explicit, self.env.clock.now_micros());
        }
        self.apply_modes(modes)?;
        Ok(command("BEGIN"))
    }

    fn set_transaction(&mut self, modes: TransactionModes) -> Result<Outcome> {
        if self.transaction.block() == Block::None {
            let message = "SET TRANSACTION can only be used in transaction blocks";
            self.notices.push(Notice::warning(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
            return Ok(command("SET"));
        }
        self.apply_modes(modes)?;
        Ok(command("SET"))
    }

    /// The block's modes, those not given as the session's defaults say.
    fn apply_modes(&mut self, modes: TransactionModes) -> Result<()> {
        let default_isolation = self.settings.show("default_transaction_isolation")?;
        let known = ["serializable", "repeatable read", "read committed", "read uncommitted"];
        let default = known.into_iter().find(|level| *level == default_isolation);
        let is_default_read_only = self.settings.is_on("default_transaction_read_only");
        let modes = TransactionModes {
            isolation: modes.isolation.or(default),
            read_only: modes.read_only.or(is_default_read_only.then_some(true)),
        };
        self.transaction.set_modes(modes)?;
        if let Some(level) = modes.isolation {
            self.settings.set("transaction_isolation", level, Scope::Local)?;
        }
        if let Some(read_only) = modes.read_only {
            let value = if read_only { "on" } else { "off" };
            self.settings.set("transaction_read_only", value, Scope::Local)?;
        }
        Ok(())
    }

    /// COMMIT: of a failed block it is a ROLLBACK, and says so.
    async fn commit_block(&mut self) -> Result<Outcome> {
        if self.transaction.status() == TransactionStatus::Failed {
            return Ok(self.rollback_block());
        }
        self.warn_outside_block();
        let committed = self.commit_writes().await;
        self.transaction.end();
        self.cursors.end_transaction();
        match committed {
            Ok(()) => self.settings.commit(),
            Err(_) => self.settings.rollback(),
        }
        committed.map(|()| command("COMMIT"))
    }

    fn rollback_block(&mut self) -> Outcome {
        self.warn_outside_block();
        self.transaction.end();
        self.cursors.end_transaction();
        self.settings.rollback();
        command("ROLLBACK")
    }

    fn savepoint(&mut self, name: String, action: SavepointAction) -> Result<Outcome> {
        match action {
            SavepointAction::Set => {
                self.transaction.set_savepoint(name, self.settings.mark())?;
                Ok(command("SAVEPOINT"))
            }
            SavepointAction::Release => {
                self.transaction.release_savepoint(&name)?;
                Ok(command("RELEASE"))
            }
            SavepointAction::RollBackTo => {
                self.settings.roll_back_to(self.transaction.roll_back_to(&name)?);
                Ok(command("ROLLBACK"))
            }
        }
    }

    fn warn_outside_block(&mut self) {
        if self.transaction.block() != Block::Explicit {
            let message = "there is no transaction in progress";
            self.notices.push(Notice::warning(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
        }
    }

    fn show_variable(&self, name: &str) -> Result<Outcome> {
        if name == "all" {
            let row = |(name, value, description): (String, String, &str)| {
                vec![name, value, description.to_string()]
            };
            return rows::text_rows(
                &rows::SHOW_ALL,
                self.settings.all().into_iter().map(row).collect(),
                "SHOW",
            );
        }
        let value = self.settings.show(name)?;
        rows::text_rows(&[shown_name(name).as_str()], vec![vec![value]], "SHOW")
    }

    fn set_variable(&mut self, scope: SetScope, name: &str, value: Option<String>) -> Result<Outcome> {
        let scope = match scope {
            SetScope::Session => Scope::Session,
            SetScope::Transaction if self.transaction.block() != Block::None => Scope::Local,
            SetScope::Transaction => {
                let message = "SET LOCAL can only be used in transaction blocks";
                self.notices.push(Notice::warning(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
                return Ok(command("SET"));
            }
        };
        let Some(value) = value else {
            return self.settings.reset(name).map(|()| command("SET"));
        };
        if self.settings.set(name, &value, scope)? == Applied::Ignored {
            let message = format!("parameter \"{name}\" has no effect in Weir");
            self.notices.push(Notice::notice(message));
        }
        Ok(command("SET"))
    }

    fn discard(&mut self, target: DiscardTarget) -> Result<Outcome> {
        Ok(command(match target {
            DiscardTarget::All => {
                if self.transaction.block() == Block::Explicit {
                    let message = "DISCARD ALL cannot run inside a transaction block";
                    return Err(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
                }
                self.settings.reset_all();
                self.statements.clear();
                self.sequences.forget();
                "DISCARD ALL"
            }
            DiscardTarget::Plans => "DISCARD PLANS",
            DiscardTarget::Sequences => {
                self.sequences.forget();
                "DISCARD SEQUENCES"
            }
            DiscardTarget::Temp => "DISCARD TEMP",
        }))
    }

    fn refresh(&mut self, object: weir_common::ObjectId) -> Outcome {
        let catalog = self.catalog();
        let name = catalog.object(object).map_or("", |o| o.name.as_str());
        self.notices.push(Notice::notice(format!("materialized view \"{name}\" is always fresh")));
        command("REFRESH MATERIALIZED VIEW")
    }

    /// EXECUTE: the arguments are computed, cast to the parameters' types as in an assignment, and bound.
    async fn execute_named(&mut self, name: &str, args: Option<BoundQuery>) -> Result<Outcome> {
        let prepared = Arc::clone(self.statements.find(name)?);
        let values = match args {
            Some(args) => self.argument_values(name, &prepared, args).await?,
            None => Vec::new(),
        };
        check_argument_count(name, prepared.params.len(), values.len())?;
        let values = crate::params::literals(&prepared.params, &values, &self.format_options())?;
        let types = prepared.params.iter().cloned().map(Some).collect();
        let types = weir_planner::ParamTypes::declared(types);
        let (bound, _) = self.bind(&prepared.statement, types, ParamValues::Given(values))?;
        self.run_bound(bound, &prepared.statement).await
    }

    async fn argument_values(
        &mut self,
        name: &str,
        prepared: &Prepared,
        args: BoundQuery,
    ) -> Result<Vec<ParamValue>> {
        check_argument_count(name, prepared.params.len(), args.columns.len())?;
        let args = cast_columns(args, &prepared.params)?;
        let rows = self.query_rows(&args, Purpose::Select).await?;
        let row = rows.iter().find(|batch| batch.num_rows() > 0);
        let row = row.ok_or_else(|| Error::internal("the arguments of EXECUTE are no row"))?;
        Ok(row.columns().iter().map(|column| ParamValue::Value(column.slice(0, 1))).collect())
    }
}

fn check_argument_count(name: &str, wanted: usize, given: usize) -> Result<()> {
    if wanted == given {
        return Ok(());
    }
    let message = format!("wrong number of parameters for prepared statement \"{name}\"");
    Err(Error::new(SqlState::SYNTAX_ERROR, message)
        .with_detail(format!("Expected {wanted} parameters but got {given}.")))
}

/// The query with its columns cast to `types` by assignment.
fn cast_columns(query: BoundQuery, types: &[SqlType]) -> Result<BoundQuery> {
    let mut exprs = Vec::with_capacity(types.len());
    let fields = query.plan.schema().columns();
    for ((column, output), ty) in fields.into_iter().zip(&query.columns).zip(types) {
        let name = column.name.clone();
        let value = Expr::Column(column);
        // A string constant without a type has become text; it is read as the parameter's type.
        let context = match output.ty {
            SqlType::Text => CastContext::Explicit,
            _ => CastContext::Assignment,
        };
        let value = match resolve_cast(&output.ty, ty, context)? {
            Some(CastKind::NoOp) => value,
            Some(CastKind::Arrow) => cast(value, ty.arrow()),
            Some(CastKind::Udf(function)) => function.call(vec![value]),
            None => {
                let message =
                    format!("parameter of type {} cannot be coerced to the expected type {ty}", output.ty);
                return Err(Error::new(SqlState::DATATYPE_MISMATCH, message));
            }
        };
        exprs.push(value.alias(name));
    }
    let plan = LogicalPlanBuilder::from(query.plan).project(exprs).and_then(LogicalPlanBuilder::build);
    let typed = |(output, ty): (OutputColumn, &SqlType)| OutputColumn { ty: ty.clone(), ..output };
    Ok(BoundQuery {
        plan: plan.map_err(weir_exec::error::from_datafusion)?,
        columns: query.columns.into_iter().zip(types).map(typed).collect(),
        relations: query.relations,
        ordered: query.ordered,
    })
}

fn command(tag: &str) -> Outcome {
    Outcome::Command { tag: tag.to_string() }
}

/// The setting's name as it is spelled in its definition.
fn shown_name(name: &str) -> String {
    crate::settings::definition::find(name).map_or_else(|| name.to_string(), |d| d.name.to_string())
}

/// What a DDL statement is called in an error.
fn command_words(bound: &BoundStatement) -> &'static str {
    match bound {
        BoundStatement::CreateTable(_) => "CREATE TABLE",
        BoundStatement::CreateSource(_) => "CREATE SOURCE",
        BoundStatement::CreateView(_) => "CREATE VIEW",
        BoundStatement::CreateMaterializedView(_) => "CREATE MATERIALIZED VIEW",
        BoundStatement::CreateSink(_) => "CREATE SINK",
        BoundStatement::CreateSequence(_) => "CREATE SEQUENCE",
        BoundStatement::Comment { .. } => "COMMENT",
        _ => "DROP",
    }
}
