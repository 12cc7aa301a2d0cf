//! `KeptRead`: the compiled read of a prepared statement, for all its executions while the catalog and the settings it
//! was bound under hold.
//!
//! Only what means the same at every execution is kept (see [`weir_planner::keep`]).

use std::sync::Arc;

use arrow::array::ArrayRef;
use parking_lot::Mutex;
use weir_common::{Result, SqlType};
use weir_planner::bound::BoundQuery;
use weir_planner::keep::may_be_kept;
use weir_planner::{BoundStatement, ParamTypes, ParamValues, ParsedStatement};

use super::Purpose;
use super::direct::DirectRead;
use crate::outcome::{Outcome, ParamValue, Prepared, RowStream, RowsTag, TransactionStatus};
use crate::params;
use crate::session::Session;

/// What a prepared statement keeps; clones of the statement share it.
#[derive(Clone, Default)]
pub struct KeptRead(Arc<Mutex<Option<Kept>>>);

#[derive(Clone)]
struct Kept {
    versions: Versions,
    /// `None`: the statement has no such read under these versions.
    read: Option<Arc<DirectRead>>,
}

/// What a binding holds for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Versions {
    catalog: u64,
    settings: u64,
}

impl Session {
    /// Keeps the read of a query that was bound with its parameters as placeholders.
    pub(crate) fn keep(&self, bound: &BoundStatement, params: &[SqlType]) -> KeptRead {
        let kept = KeptRead::default();
        if let BoundStatement::Query(query) = bound {
            let read = self.direct_read(query, params).map(Arc::new);
            *kept.0.lock() = Some(Kept { versions: self.versions(), read });
        }
        kept
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
        let Some(read) = self.kept_read(prepared) else { return Ok(None) };
        let values = params::arrays(&prepared.params, values)?;
        let Some(stream) = self.read_directly(&read, &values, Purpose::Select).await? else {
            return Ok(None);
        };
        let columns = read.columns.clone();
        Ok(Some(Outcome::Rows { columns, stream, tag: RowsTag::Counted("SELECT") }))
    }

    /// Whether a statement keeps a read that holds now.
    pub(crate) fn holds(&self, prepared: &Prepared) -> bool {
        let kept = prepared.kept.0.lock();
        let is_current = |kept: &Kept| kept.read.is_some() && kept.versions == self.versions();
        self.transaction.draft.is_none()
            && self.transaction.status() != TransactionStatus::Failed
            && kept.as_ref().is_some_and(is_current)
    }

    fn kept_read(&self, prepared: &Prepared) -> Option<Arc<DirectRead>> {
        let mut kept = prepared.kept.0.lock();
        let versions = self.versions();
        let known = kept.as_ref().filter(|_| self.transaction.draft.is_none())?;
        if known.versions != versions {
            let read = self.bind_again(prepared).map(Arc::new);
            *kept = Some(Kept { versions, read });
        }
        kept.as_ref().and_then(|kept| kept.read.clone())
    }

    fn bind_again(&self, prepared: &Prepared) -> Option<DirectRead> {
        if !self.is_keepable(&prepared.statement) {
            return None;
        }
        let types = ParamTypes::declared(prepared.params.iter().cloned().map(Some).collect());
        // An error is found again, and told, when the statement is bound with its values.
        match self.bind(&prepared.statement, types, ParamValues::Kept).ok()?.0 {
            BoundStatement::Query(query) => self.direct_read(&query, &prepared.params),
            _ => None,
        }
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
