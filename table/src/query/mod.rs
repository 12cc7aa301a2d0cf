//! SELECT: read the relations at one epoch, replace the plan's scans by them, run the plan.
//!
//! ```text
//!   BoundQuery ─ read ─► snapshots at one epoch ─ replace_scans ─► DataFusion ─► RowStream
//!                                               └ of a few keys ─► DirectRead ──┘
//! ```
//! Invariant: a statement sees every write acknowledged before it, in all its relations alike, and none of a
//! later epoch; what its own transaction block has written and not committed is shown or refused, never
//! overlooked.

mod access;
mod asof_join;
mod constant;
mod direct;
mod engine;
mod kept;
mod match_recognize;
mod overlay;
mod pipeline;
mod pool;
mod provider;
mod rows;
mod scan;
mod system;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::LogicalPlan;
use futures::{StreamExt, TryStreamExt};
use weir_catalog::{CatalogSnapshot, ObjectKind};
use weir_common::change::record_batch;
use weir_common::{Error, ObjectId, RelationSchema, Result, SqlState};
use weir_exec::error::from_datafusion;
use weir_planner::bound::BoundQuery;
use weir_planner::logical::replace_scans;
use weir_planner::rules::DisabledRules;
use weir_planner::rules::optional::DISABLED_RULES;
use weir_planner::{OutputColumn, RelationKind, RelationSource};
use weir_runtime::Consistency;

use crate::outcome::{Outcome, RowStream, RowsTag};
use crate::session::Session;
use crate::transaction::{Block, Snapshots};

pub use access::KeyColumn;
pub(crate) use constant::ConstantRows;
pub use engine::BatchEngine;
pub use kept::KeptPlan;
pub(crate) use overlay::Overlay;
use provider::RelationProvider;

/// Whether a read serves a SELECT, or DML that goes on to write what it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Select,
    Write,
}

impl Session {
    /// Runs a SELECT.
    pub(crate) async fn select(&mut self, query: &BoundQuery) -> Result<Outcome> {
        let stream = self.query_stream(query, Purpose::Select).await?;
        Ok(Outcome::Rows { columns: query.columns.clone(), stream, tag: RowsTag::Counted("SELECT") })
    }

    /// The rows of a query.
    pub(crate) async fn query_stream(&mut self, query: &BoundQuery, purpose: Purpose) -> Result<RowStream> {
        if let Some(constant) = ConstantRows::of(query, &[]) {
            let rows = constant.rows(&[]);
            return Ok(futures::stream::once(std::future::ready(rows)).boxed());
        }
        if let Some(read) = self.direct_read(query, &[])
            && let Some(rows) = self.read_directly(&read, &[], purpose).await?
        {
            return Ok(rows);
        }
        let plan = self.executable_plan(query, purpose).await?;
        self.run_plan(query, &plan).await
    }

    async fn run_plan(&self, query: &BoundQuery, plan: &LogicalPlan) -> Result<RowStream> {
        let physical = self.env.batch.plan(plan, &self.disabled_rules()?).await?;
        let rows = self.env.batch.stream(physical)?;
        let schema = result_schema(&query.columns);
        let rows = rows.map(move |batch| conform(batch.map_err(from_datafusion)?, &schema));
        Ok(rows.boxed())
    }

    /// All rows of a query.
    pub(crate) async fn query_rows(
        &mut self,
        query: &BoundQuery,
        purpose: Purpose,
    ) -> Result<Vec<RecordBatch>> {
        let rows = self.query_stream(query, purpose).await?;
        self.collect(rows).await
    }

    /// All rows of a query over rows that a statement gives.
    pub(crate) async fn query_given(
        &mut self,
        query: &BoundQuery,
        given: &[RecordBatch],
    ) -> Result<Vec<RecordBatch>> {
        let plan = self.plan_over(query, Purpose::Write, given).await?;
        let rows = self.run_plan(query, &plan).await?;
        self.collect(rows).await
    }

    /// All rows of a stream, as long as there is memory for them.
    async fn collect(&self, mut rows: RowStream) -> Result<Vec<RecordBatch>> {
        let (mut all, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = rows.try_next().await? {
            bytes += batch.get_array_memory_size();
            self.env.room_for(bytes).await?;
            all.push(batch);
        }
        Ok(all)
    }

    /// The query's plan over the relations as they are now.
    pub(crate) async fn executable_plan(
        &mut self,
        query: &BoundQuery,
        purpose: Purpose,
    ) -> Result<LogicalPlan> {
        self.plan_over(query, purpose, &[]).await
    }

    async fn plan_over(
        &mut self,
        query: &BoundQuery,
        purpose: Purpose,
        given: &[RecordBatch],
    ) -> Result<LogicalPlan> {
        let snapshots = self.read(&query.relations, purpose).await?;
        let mut system = None;
        replace_scans(query.plan.clone(), |relation| match relation.kind {
            RelationKind::System => {
                let context = system.get_or_insert_with(|| self.system_context());
                system::provider(relation, context)
            }
            RelationKind::Given => given_rows(relation, given),
            _ => Ok(Arc::new(self.relation_provider(relation, &snapshots)?)),
        })
    }

    fn relation_provider(
        &self,
        relation: &RelationSource,
        snapshots: &Snapshots,
    ) -> Result<RelationProvider> {
        let snapshot = snapshots
            .get(&relation.object)
            .ok_or_else(|| Error::internal(format!("relation \"{}\" was not read", relation.name)))?;
        let schema = RelationSchema { columns: relation.columns.clone(), key: relation.key.clone() };
        let own_writes = self.transaction.writes_of(relation.object);
        let overlay = own_writes.map(|changes| Overlay::new(&schema, changes)).transpose()?;
        let arrow = Arc::clone(&relation.schema);
        let batch_rows = self.env.config.batch_rows;
        Ok(RelationProvider::new(&relation.name, Arc::clone(snapshot), schema, arrow, batch_rows)
            .with_overlay(overlay)
            .with_indexes(self.env.index_keys.of(&self.catalog(), relation.object))
            .with_rows_estimate(Some(snapshot.rows_estimate())))
    }

    fn system_context(&self) -> weir_catalog::SystemContext {
        let mut context = self.env.system_context(self.catalog(), &self.user, self.setting_rows());
        context.prepared_statements = self.statements.rows();
        context
    }

    /// The relations at one epoch.
    pub(crate) async fn read(&mut self, relations: &[ObjectId], purpose: Purpose) -> Result<Snapshots> {
        let catalog = self.catalog();
        for id in relations {
            self.check_readable(&catalog, *id)?;
        }
        self.settle_own_writes(&catalog, relations).await?;
        if relations.is_empty() {
            return Ok(Snapshots::new());
        }
        if purpose == Purpose::Select && self.transaction.is_pinned() {
            return self.read_pinned(&catalog, relations).await;
        }
        let consistency = match purpose {
            Purpose::Select => self.consistency(),
            Purpose::Write => Consistency::Strict,
        };
        snapshots_of(&self.env, relations, consistency).await
    }

    /// The optimizer's rules that are switched off.
    pub(crate) fn disabled_rules(&self) -> Result<DisabledRules> {
        DisabledRules::parse(&self.settings.show(DISABLED_RULES)?)
    }

    /// What `weir.consistency` asks of a read.
    fn consistency(&self) -> Consistency {
        match self.settings.show("weir.consistency").as_deref() {
            Ok("session") => Consistency::Session(self.last_commit),
            Ok("eventual") => Consistency::Eventual,
            _ => Consistency::Strict,
        }
    }

    /// Errors: 0A000 for a source, which only jobs can read, 55000 for what could not be started.
    fn check_readable(&self, catalog: &CatalogSnapshot, id: ObjectId) -> Result<()> {
        let missing =
            || Error::new(SqlState::UNDEFINED_TABLE, format!("relation with OID {id} does not exist"));
        let object = catalog.object(id).ok_or_else(missing)?;
        if matches!(object.kind, ObjectKind::Source(_)) {
            return Err(Error::unsupported(format!("reading source \"{}\" directly", object.name))
                .with_hint("A source is not stored. Create a materialized view over it and read that."));
        }
        self.env.check_not_broken(catalog, id)
    }

    /// A read must see what its own block has written. A table is read with the writes laid over it; a view over
    /// such a table cannot be: an implicit block commits first, in an explicit one that is refused.
    async fn settle_own_writes(&mut self, catalog: &CatalogSnapshot, relations: &[ObjectId]) -> Result<()> {
        if !self.transaction.has_writes() {
            return Ok(());
        }
        let is_view_over_writes =
            |id: &&ObjectId| !self.transaction.has_written(**id) && self.depends_on_own_writes(catalog, **id);
        let Some(view) = relations.iter().find(is_view_over_writes) else {
            return Ok(());
        };
        if self.transaction.block() == Block::Implicit {
            return self.commit_writes().await;
        }
        let name = catalog.object(*view).map_or("", |object| object.name.as_str());
        let what = format!("reading \"{name}\" after writing to what it reads in the same transaction block");
        Err(Error::unsupported(what)
            .with_hint("COMMIT first: views follow at COMMIT. Tables can be read before."))
    }

    fn depends_on_own_writes(&self, catalog: &CatalogSnapshot, id: ObjectId) -> bool {
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            if self.transaction.has_written(id) {
                return true;
            }
            pending.extend(catalog.object(id).map_or(&[][..], |o| o.depends_on.as_slice()));
        }
        false
    }

    /// Reads of a block that shows one epoch throughout: the first one takes every relation there is.
    async fn read_pinned(&mut self, catalog: &CatalogSnapshot, relations: &[ObjectId]) -> Result<Snapshots> {
        if self.transaction.pinned().is_none() {
            let resting = self.env.resting_jobs();
            let is_running = |id: &ObjectId| {
                relations.contains(id)
                    || (!resting.contains(id) && self.env.check_not_broken(catalog, *id).is_ok())
            };
            let stored = catalog.user_objects().filter(|o| o.is_stored()).map(|o| o.id).filter(is_running);
            let all = snapshots_of(&self.env, &stored.collect::<Vec<_>>(), Consistency::Strict).await?;
            self.transaction.pin(all);
        }
        let pinned = self.transaction.pinned().expect("pinned above");
        let taken = |id: &ObjectId| {
            let snapshot = pinned.get(id).cloned().ok_or_else(|| {
                Error::new(
                    SqlState::SERIALIZATION_FAILURE,
                    "the relation is newer than the transaction's snapshot",
                )
            })?;
            Ok((*id, snapshot))
        };
        relations.iter().map(taken).collect()
    }
}

async fn snapshots_of(
    env: &crate::Environment,
    relations: &[ObjectId],
    consistency: Consistency,
) -> Result<Snapshots> {
    let view = env.runtime.read(relations, consistency).await?;
    Ok(view.snapshots.into_iter().map(|(id, snapshot)| (id, Arc::new(snapshot))).collect::<HashMap<_, _>>())
}

/// The rows that a statement gives, under the names by which its query finds them. Columns that the query does
/// not know stand at the end and are left out.
fn given_rows(relation: &RelationSource, given: &[RecordBatch]) -> Result<Arc<dyn TableProvider>> {
    let width = relation.columns.len();
    let named = |batch: &RecordBatch| {
        let columns =
            batch.columns().get(..width).ok_or_else(|| Error::internal("rows with too few columns"));
        record_batch(Arc::clone(&relation.schema), columns?.to_vec(), batch.num_rows())
    };
    let batches = given.iter().map(named).collect::<Result<Vec<_>>>()?;
    let table = MemTable::try_new(Arc::clone(&relation.schema), vec![batches]).map_err(from_datafusion)?;
    Ok(Arc::new(table))
}

/// The Arrow schema of a result: names as the client sees them, types as SQL says.
pub(crate) fn result_schema(columns: &[OutputColumn]) -> SchemaRef {
    let fields: Vec<Field> = columns.iter().map(|c| Field::new(&c.name, c.ty.arrow(), true)).collect();
    Arc::new(Schema::new(fields))
}

/// The batch with exactly these types: an optimizer rule may have chosen another encoding of the same values.
fn conform(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.num_columns() != schema.fields().len() {
        return Err(Error::internal("the plan's columns are not the result's"));
    }
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        let wanted: &DataType = field.data_type();
        if column.data_type() == wanted {
            Ok(Arc::clone(column))
        } else {
            cast(column, wanted).map_err(Error::internal)
        }
    });
    record_batch(Arc::clone(schema), columns.collect::<Result<_>>()?, batch.num_rows())
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int32Array, StringViewArray};
    use weir_common::SqlType;

    use super::*;

    #[test]
    fn batches_get_the_types_that_sql_says() {
        let view: ArrayRef = Arc::new(StringViewArray::from(vec!["a"]));
        let batch =
            RecordBatch::try_from_iter([("x", view), ("y", Arc::new(Int32Array::from(vec![1])) as ArrayRef)]);
        let column = |ty| OutputColumn { name: "c".into(), ty, origin: None };
        let schema = result_schema(&[column(SqlType::Text), column(SqlType::Int4)]);
        let conformed = conform(batch.expect("valid"), &schema).expect("same values");
        assert_eq!(conformed.schema(), schema);
    }
}
