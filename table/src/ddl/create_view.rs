//! CREATE [OR REPLACE] VIEW: a query with a name; nothing runs.

use weir_catalog::{CatalogChange, ObjectKind, ViewDef};
use weir_common::{Error, Result, SqlState};
use weir_planner::bound::BoundCreateView;

use super::{Plan, Planner};

impl Planner<'_> {
    pub(super) fn create_view(&self, create: BoundCreateView) -> Result<Plan> {
        if create.exists && create.replaces.is_none() {
            return Ok(Plan::skipped("CREATE VIEW", &create.name));
        }
        let view = ViewDef { columns: create.columns(), query_sql: create.query_sql };
        let id = match create.replaces {
            Some(id) => id,
            None => self.env.catalog.next_id()?,
        };
        if let Some(replaced) = create.replaces.and_then(|id| self.catalog.object(id)) {
            check_columns_stay(&replaced.columns(), &view.columns)?;
        }
        let object = self
            .new_object(id, &create.name, ObjectKind::View(view), create.definition)
            .with_depends_on(create.depends_on);
        let change = match create.replaces {
            Some(_) => CatalogChange::Replace(object),
            None => CatalogChange::Create(object),
        };
        Ok(Plan::new("CREATE VIEW", vec![change]))
    }
}

/// OR REPLACE may add columns at the end and nothing else, as in PostgreSQL.
fn check_columns_stay(old: &[weir_common::Column], new: &[weir_common::Column]) -> Result<()> {
    let refuse = |message: String| Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message));
    if new.len() < old.len() {
        return refuse("cannot drop columns from view".to_string());
    }
    for (before, after) in old.iter().zip(new) {
        if before.name != after.name {
            return refuse(format!(
                "cannot change name of view column \"{}\" to \"{}\"",
                before.name, after.name
            ));
        }
        if before.ty != after.ty {
            return refuse(format!(
                "cannot change data type of view column \"{}\" from {} to {}",
                before.name, before.ty, after.ty
            ));
        }
    }
    Ok(())
}
