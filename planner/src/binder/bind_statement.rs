//! The choice of what a statement is bound as.

use sqlparser::ast::{Query, SetExpr, Spanned, Statement as SqlStatement};
use weir_common::{Error, Result};

use super::Binder;
use super::scope::Scope;
use crate::ast::{CommentTarget, ExplainTarget, ParsedStatement, Show, Statement};
use crate::bound::{BoundStatement, ExplainStage};
use crate::parser::fold;

impl Binder<'_> {
    pub(crate) fn bind_statement(&self, parsed: &ParsedStatement) -> Result<BoundStatement> {
        let statement = &parsed.statement;
        self.overriding.set(parsed.overriding);
        Ok(match statement {
            Statement::Query(query) => self.bind_query_statement(query)?,
            Statement::Insert(insert) => BoundStatement::Insert(self.bind_insert(insert, &Scope::default())?),
            Statement::Update(update) => BoundStatement::Update(self.bind_update(update, &Scope::default())?),
            Statement::Delete(delete) => BoundStatement::Delete(self.bind_delete(delete, &Scope::default())?),
            Statement::Copy(copy) => self.bind_copy(copy)?,
            Statement::Truncate { names } => {
                let tables: Result<_> = names.iter().map(|name| self.bind_truncate(name)).collect();
                BoundStatement::Truncate(tables?)
            }
            Statement::CreateTable(create) => {
                BoundStatement::CreateTable(self.bind_create_table(create, &parsed.sql)?)
            }
            Statement::CreateTableAs(create) => {
                BoundStatement::CreateTableAs(self.bind_create_table_as(create, &parsed.sql)?)
            }
            Statement::CreateSource(create) => {
                BoundStatement::CreateSource(self.bind_create_source(create, &parsed.sql)?)
            }
            Statement::CreateView(create) => {
                let view = self.bind_create_view(create, &parsed.sql)?;
                match create.materialized {
                    true => BoundStatement::CreateMaterializedView(view),
                    false => BoundStatement::CreateView(view),
                }
            }
            Statement::CreateSink(create) => {
                BoundStatement::CreateSink(self.bind_create_sink(create, &parsed.sql)?)
            }
            Statement::CreateSequence(create) => {
                BoundStatement::CreateSequence(self.bind_create_sequence(create, &parsed.sql)?)
            }
            Statement::CreateIndex(create) => {
                BoundStatement::CreateIndex(self.bind_create_index(create, &parsed.sql)?)
            }
            Statement::Alter(alter) => BoundStatement::Alter(self.bind_alter(alter)?),
            Statement::Drop { kind, names, if_exists, cascade } => {
                BoundStatement::Drop(self.bind_drop(*kind, names, *if_exists, *cascade)?)
            }
            Statement::Explain { options, target } => self.bind_explain(*options, target)?,
            Statement::Show(show) => self.bind_show_statement(show)?,
            Statement::Subscribe(_)
            | Statement::DeclareCursor { .. }
            | Statement::Fetch { .. }
            | Statement::CloseCursor { .. } => self.bind_cursor_statement(statement)?,
            other => self.bind_session_statement(other)?,
        })
    }

    /// A query, or `WITH … INSERT/UPDATE/DELETE`.
    fn bind_query_statement(&self, query: &Query) -> Result<BoundStatement> {
        let body = match query.body.as_ref() {
            SetExpr::Insert(body) | SetExpr::Update(body) | SetExpr::Delete(body) => body,
            _ => return self.bind_top_query(query).map(BoundStatement::Query),
        };
        let ctes = self.bind_with(query.with.as_ref())?;
        let scope = Scope { ctes: &ctes, ..Scope::default() };
        let bound = match body {
            SqlStatement::Insert(insert) => BoundStatement::Insert(self.bind_insert(insert, &scope)?),
            SqlStatement::Update(update) => BoundStatement::Update(self.bind_update(update, &scope)?),
            SqlStatement::Delete(delete) => BoundStatement::Delete(self.bind_delete(delete, &scope)?),
            _ => return Err(Error::unsupported("this statement after WITH")),
        };
        self.bind_unread(&scope)?;
        Ok(bound)
    }

    fn bind_explain(
        &self,
        options: crate::bound::ExplainOptions,
        target: &ExplainTarget,
    ) -> Result<BoundStatement> {
        match target {
            ExplainTarget::Object(name) => {
                Ok(BoundStatement::ExplainObject { options, object: self.find_object(name)?.id })
            }
            ExplainTarget::Statement(parsed) => {
                // A query may be explained as the view it could be.
                if matches!(options.stage, ExplainStage::Stream | ExplainStage::Job | ExplainStage::State) {
                    self.continuous.set(true);
                }
                let statement = Box::new(self.bind_statement(parsed)?);
                Ok(BoundStatement::Explain { options, statement })
            }
        }
    }

    fn bind_show_statement(&self, show: &Show) -> Result<BoundStatement> {
        match show {
            Show::Variable(name) => Ok(BoundStatement::ShowVariable { name: name.clone() }),
            Show::Create(name) => Ok(BoundStatement::ShowCreate { object: self.find_object(name)?.id }),
            Show::Objects(objects) => self.bind_show_objects(*objects).map(BoundStatement::Query),
            Show::Columns(name) => self.bind_show_columns(name).map(BoundStatement::Query),
        }
    }

    pub(crate) fn bind_comment(
        &self,
        target: &CommentTarget,
        comment: Option<&String>,
    ) -> Result<BoundStatement> {
        let comment = comment.cloned();
        match target {
            CommentTarget::Relation(name) => {
                Ok(BoundStatement::Comment { object: self.find_object(name)?.id, column: None, comment })
            }
            CommentTarget::Column { relation, column } => {
                let object = self.find_object(relation)?;
                let wanted = fold(column);
                let found = object.columns().iter().find(|c| c.name == wanted).map(|c| c.id);
                let id = found.ok_or_else(|| {
                    super::bind_dml::no_such_column(&wanted, &object.name).at(self.span_position(column.span))
                })?;
                Ok(BoundStatement::Comment { object: object.id, column: Some(id), comment })
            }
        }
    }

    pub(crate) fn bind_refresh(&self, name: &sqlparser::ast::ObjectName) -> Result<BoundStatement> {
        let object = self.find_object(name)?;
        match object.kind {
            weir_catalog::ObjectKind::MaterializedView(_) => {
                Ok(BoundStatement::Refresh { object: object.id })
            }
            _ => {
                let message = format!("\"{}\" is not a materialized view", object.name);
                Err(Error::new(weir_common::SqlState::WRONG_OBJECT_TYPE, message)
                    .at(self.span_position(name.span())))
            }
        }
    }
}
