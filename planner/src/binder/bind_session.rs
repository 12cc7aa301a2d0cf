//! Statements about the session: they carry names and values through, and bind what is in them.

use sqlparser::ast::{ObjectName, Spanned};
use weir_catalog::ObjectKind;
use weir_common::{Error, ObjectId, Result, SqlState};

use super::Binder;
use super::bind_expr::ExprContext;
use super::bind_query::Bound;
use super::bind_type::sql_type;
use super::scope::Scope;
use crate::ast::Statement;
use crate::bound::BoundStatement;
use crate::parser::fold;

impl Binder<'_> {
    pub(crate) fn bind_session_statement(&self, statement: &Statement) -> Result<BoundStatement> {
        Ok(match statement {
            Statement::Flush => BoundStatement::Flush,
            Statement::Wait { name } => BoundStatement::Wait { view: self.find_job_owner(name)? },
            Statement::Pause { name } => BoundStatement::Pause { object: self.find_job_owner(name)? },
            Statement::Resume { name } => BoundStatement::Resume { object: self.find_job_owner(name)? },
            Statement::CancelJob { name } => self.bind_cancel_job(name)?,
            Statement::Begin(modes) => BoundStatement::Begin(*modes),
            Statement::Commit => BoundStatement::Commit,
            Statement::Rollback => BoundStatement::Rollback,
            Statement::Savepoint { name, action } => {
                BoundStatement::Savepoint { name: name.clone(), action: *action }
            }
            Statement::Set { scope, name, value } => {
                BoundStatement::SetVariable { scope: *scope, name: name.clone(), value: value.clone() }
            }
            Statement::SetTransaction(modes) => BoundStatement::SetTransaction(*modes),
            Statement::Reset { name } => BoundStatement::Reset { name: name.clone() },
            Statement::Discard(target) => BoundStatement::Discard(*target),
            Statement::Prepare { name, types, statement } => {
                let types: Result<Vec<_>> = types.iter().map(|ty| sql_type(ty).map(Some)).collect();
                BoundStatement::Prepare { name: name.clone(), types: types?, statement: statement.clone() }
            }
            Statement::Execute { name, args } => {
                BoundStatement::Execute { name: name.clone(), args: self.bind_execute_args(args)? }
            }
            Statement::Deallocate { name } => BoundStatement::Deallocate { name: name.clone() },
            Statement::Comment { target, comment } => self.bind_comment(target, comment.as_ref())?,
            Statement::Refresh { name } => self.bind_refresh(name)?,
            Statement::NoOperation { tag } => BoundStatement::NoOperation { tag },
            Statement::Unsupported { what, hint } => return Err(Error::unsupported(what).with_hint(*hint)),
            _ => return Err(Error::internal("a statement was not recognised")),
        })
    }

    /// A materialized view or a sink: what a job keeps up to date.
    fn find_job_owner(&self, name: &ObjectName) -> Result<ObjectId> {
        let object = self.find_object(name)?;
        match object.kind {
            ObjectKind::MaterializedView(_) | ObjectKind::Sink(_) => Ok(object.id),
            _ => {
                let message = format!("\"{}\" is not a materialized view or sink", object.name);
                Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message).at(self.span_position(name.span())))
            }
        }
    }

    fn bind_cancel_job(&self, name: &ObjectName) -> Result<BoundStatement> {
        let last = name.0.last().and_then(|part| part.as_ident());
        let object = match self.find_job_owner(name) {
            Ok(object) => Some(object),
            Err(error) if error.state() == SqlState::UNDEFINED_TABLE => None,
            Err(error) => return Err(error),
        };
        Ok(BoundStatement::CancelJob { object, name: last.map(fold).unwrap_or_default() })
    }

    fn bind_execute_args(&self, args: &[sqlparser::ast::Expr]) -> Result<Option<crate::bound::BoundQuery>> {
        if args.is_empty() {
            return Ok(None);
        }
        let scope = Scope::default();
        let cx = ExprContext::plain(&scope, "EXECUTE parameters");
        let columns: Result<Vec<_>> = args
            .iter()
            .map(|arg| {
                let typed = self.decide_text(self.bind_expr(arg, cx)?)?;
                Ok((vec![typed.expr], typed.ty))
            })
            .collect();
        let columns = columns?;
        let names: Vec<String> = (1..=columns.len()).map(|i| format!("column{i}")).collect();
        let relation = self.constant_rows(1, columns, &names)?;
        self.bound_query(Bound { relation, ordered: false }).map(Some)
    }
}
