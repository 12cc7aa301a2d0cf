//! Rows that jobs left out under ON ERROR, on their way into `sys.dead_letters` or the tables that INTO names.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema};
use futures::FutureExt;
use weir_catalog::{LETTER_COLUMNS, ObjectKind, SinkTable};
use weir_common::text::parse_array;
use weir_common::{ChangeBatch, Error, ObjectId, Result, SqlState, SqlType};
use weir_runtime::{Letter, LetterDelivery, Runtime, TableWrite};

use super::{DISK_PAUSE, SinkTarget};
use crate::environment::Environment;
use crate::session::{Session, SessionOptions};

/// Delivers until the server stops. What a table refuses fails the job that left it out.
pub(super) async fn deliver_all(env: &Weak<Environment>, runtime: &Runtime) {
    while let Ok(Some(delivery)) = runtime.next_letters().await {
        let Some(env) = env.upgrade() else { return };
        let job = delivery.delivered.job;
        let delivered = AssertUnwindSafe(deliver(&env, &delivery)).catch_unwind().await;
        match delivered.unwrap_or_else(|_| Err(Error::internal("a delivery panicked"))) {
            Ok(()) => {}
            Err(error) if error.state() == SqlState::ADMIN_SHUTDOWN => return,
            // They wait until there is room.
            Err(error) if error.state() == SqlState::DISK_FULL => tokio::time::sleep(DISK_PAUSE).await,
            Err(error) => runtime.fail_delivery(job, error),
        }
    }
}

async fn deliver(env: &Arc<Environment>, delivery: &LetterDelivery) -> Result<()> {
    let session = env.session(SessionOptions::default())?;
    let mut targets: Vec<ObjectId> = delivery.letters.iter().map(|letter| letter.target).collect();
    targets.sort_unstable();
    targets.dedup();
    let mut writes = Vec::new();
    for target in targets {
        let letters: Vec<&Letter> = delivery.letters.iter().filter(|l| l.target == target).collect();
        // A table that was dropped with its view has no use for them.
        if session.catalog().object(target).is_some_and(|object| matches!(object.kind, ObjectKind::Table(_)))
        {
            let rows = session.letter_rows(target, &delivery.name, &letters)?;
            writes.push(TableWrite { table: target, changes: vec![ChangeBatch::inserts(rows)] });
        }
    }
    env.runtime.deliver(writes, delivery.delivered).await
}

impl Session {
    /// Letters as rows of a table.
    fn letter_rows(&self, target: ObjectId, job: &str, letters: &[&Letter]) -> Result<RecordBatch> {
        let (object, table) = self.target(target)?;
        let id_of = |name: &str| table.columns.iter().find(|c| c.column.name == name).map(|c| c.column.id);
        let catalog = self.catalog();
        let name_of = |id: ObjectId| catalog.object(id).map(|object| object.name.clone());
        let facts = Facts { job, now: self.env.clock.now_micros(), name_of: &name_of };
        let (mut ids, mut columns) = (Vec::new(), Vec::new());
        for (name, ty) in LETTER_COLUMNS {
            if let Some(id) = id_of(name) {
                ids.push(id);
                columns.push(letter_column(name, &ty, &facts, letters)?);
            }
        }
        let field = |(i, c): (usize, &ArrayRef)| Field::new(format!("c{i}"), c.data_type().clone(), true);
        let schema = Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>());
        let given = RecordBatch::try_new(Arc::new(schema), columns).map_err(Error::internal)?;
        let into = SinkTable { table: target, columns: ids };
        SinkTarget::bind(self, &object, &table, &into)?.new_rows(&given)
    }
}

/// What all letters of a delivery share.
struct Facts<'a> {
    job: &'a str,
    now: i64,
    name_of: &'a dyn Fn(ObjectId) -> Option<String>,
}

fn letter_column(name: &str, ty: &SqlType, facts: &Facts<'_>, letters: &[&Letter]) -> Result<ArrayRef> {
    let text =
        |of: &dyn Fn(&Letter) -> Option<String>| letters.iter().map(|l| of(l)).collect::<StringArray>();
    Ok(match name {
        "at" => {
            let times = TimestampMicrosecondArray::from_value(facts.now, letters.len());
            Arc::new(times.with_data_type(ty.arrow()))
        }
        "job" => Arc::new(text(&|_| Some(facts.job.to_owned()))),
        "relation" => Arc::new(text(&|letter| letter.relation.and_then(facts.name_of))),
        "sqlstate" => Arc::new(text(&|letter| Some(letter.sqlstate.clone()))),
        "message" => Arc::new(text(&|letter| Some(letter.message.clone()))),
        _ => parse_array(ty, &text(&|letter| Some(letter.row.clone())))?,
    })
}
