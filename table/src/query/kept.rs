//! `KeptPlan`: what a prepared statement was compiled to, for all its executions while the catalog and the settings it
//! was bound under hold: a [`DirectRead`], or an INSERT of [`ConstantRows`].
//!
//! Only what means the same at every execution is kept (see [`weir_planner::keep`]).

use std::sync::Arc;

use arrow::array::ArrayRef;
use parking_lot::Mutex;
use weir_common::{Result, SqlType};
use weir_planner::bound::{BoundInsert, BoundQuery};
use weir_planner::keep::may_be_kept;
use weir_planner::{BoundStatement, ParamTypes, ParamValues, ParsedStatement};

use super::direct::DirectRead;
use super::{ConstantRows, Purpose};
use crate::outcome::{Outcome, ParamValue, Prepared, RowStream, RowsTag, TransactionStatus};
use crate::params;
use crate::session::Session;

/// What a prepared statement keeps; clones of the statement share it.
#[derive(Clone, Default)]
pub struct KeptPlan(Arc<Mutex<Option<Kept>>>);

#[derive(Clone)]
struct Kept {
    versions: Versions,
    /// `None`: the statement has no such plan under these versions.
    plan: Option<Compiled>,
}

/// A statement that runs without being bound again.
#[derive(Clone)]
enum Compiled {
    Read(Arc<DirectRead>),
    Insert(Arc<(BoundInsert, ConstantRows)>),
}

/// What a binding holds for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Versions {
    catalog: u64,
    settings: u64,
}

impl Session {
    /// Keeps what a statement compiles to that was bound with its parameters as placeholders.
    pub(crate) fn keep(&self, bound: &BoundStatement, params: &[SqlType]) -> KeptPlan {
        let kept = KeptPlan::default();
        if matches!(bound, BoundStatement::Query(_) | BoundStatement::Insert(_)) {
            *kept.0.lock() = Some(Kept { versions: self.versions(), plan: self.compiled(bound, params) });
        }
        kept
    }

    fn compiled(&self, bound: &BoundStatement, params: &[SqlType]) -> Option<Compiled> {
        match bound {
            BoundStatement::Query(query) => {
                self.direct_read(query, params).map(|read| Compiled::Read(Arc::new(read)))
            }
            // Without parameters it is bound as cheaply as it is compiled.
            BoundStatement::Insert(insert) if !params.is_empty() => {
                let rows = ConstantRows::of(&insert.query, params)?;
                Some(Compiled::Insert(Arc::new((BoundInsert::clone(insert), rows))))
            }
            _ => None,
        }
    }

    /// Whether a statement means the same whenever it runs, but for its parameters.
    pub(crate) fn is_keepable(&self, statement: &ParsedStatement) -> bool {
        // A draft's catalog changes without a version of its own.
        self.transaction.draft.is_none()
            && may_be_kept(statement, &self.env.catalog.snapshot(), &self.settings.search_path())
    }

    /// Runs the statement by what it keeps; `None` when it has to be bound with its values.
    pub(crate) async fn run_kept(
        &mut self,
        prepared: &Prepared,
        values: &[ParamValue],
    ) -> Result<Option<Outcome>> {
        let Some(plan) = self.kept_plan(prepared) else { return Ok(None) };
        let values = params::arrays(&prepared.params, values, &self.format_options())?;
        match plan {
            Compiled::Insert(plan) => {
                let (insert, rows) = &*plan;
                let rows = rows.rows(&values)?;
                self.insert_given(insert, vec![rows]).await.map(Some)
            }
            Compiled::Read(read) => {
                let Some(stream) = self.read_directly(&read, &values, Purpose::Select).await? else {
                    return Ok(None);
                };
                let columns = read.columns.clone();
                Ok(Some(Outcome::Rows { columns, stream, tag: RowsTag::Counted("SELECT") }))
            }
        }
    }

    /// Whether a statement keeps a plan that holds now.
    pub(crate) fn holds(&self, prepared: &Prepared) -> bool {
        let kept = prepared.kept.0.lock();
        let is_current = |kept: &Kept| kept.plan.is_some() && kept.versions == self.versions();
        self.transaction.draft.is_none()
            && self.transaction.status() != TransactionStatus::Failed
            && kept.as_ref().is_some_and(is_current)
    }

    fn kept_plan(&self, prepared: &Prepared) -> Option<Compiled> {
        let mut kept = prepared.kept.0.lock();
        let versions = self.versions();
        let known = kept.as_ref().filter(|_| self.transaction.draft.is_none())?;
        if known.versions != versions {
            *kept = Some(Kept { versions, plan: self.bind_again(prepared) });
        }
        kept.as_ref().and_then(|kept| kept.plan.clone())
    }

    fn bind_again(&self, prepared: &Prepared) -> Option<Compiled> {
        if !self.is_keepable(&prepared.statement) {
            return None;
        }
        let types = ParamTypes::declared(prepared.params.iter().cloned().map(Some).collect());
        // An error is found again, and told, when the statement is bound with its values.
        let (bound, _) = self.bind(&prepared.statement, types, ParamValues::Kept).ok()?;
        self.compiled(&bound, &prepared.params)
    }

    /// The query, compiled to be run without DataFusion, when it has the shape.
    pub(crate) fn direct_read(&self, query: &BoundQuery, params: &[SqlType]) -> Option<DirectRead> {
        let catalog = self.catalog();
        DirectRead::of(query, params, &|relation| self.env.index_keys.of(&catalog, relation))
    }

    fn versions(&self) -> Versions {
        Versions { catalog: self.env.catalog.snapshot().version(), settings: self.settings.version() }
    }

    /// The rows of a direct read; `None` when it bounds nothing.
    pub(crate) async fn read_directly(
        &mut self,
        read: &DirectRead,
        params: &[ArrayRef],
        purpose: Purpose,
    ) -> Result<Option<RowStream>> {
        let snapshots = self.read(&[read.relation.object], purpose).await?;
        let provider = self.relation_provider(&read.relation, &snapshots)?;
        read.run(&provider, params)
    }
}
