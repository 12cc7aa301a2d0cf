//! CREATE TABLE … AS: the table, and its rows in the same commit.

use weir_catalog::quote_identifier;
use weir_common::Result;
use weir_planner::bound::BoundCreateTableAs;

use super::Planner;
use crate::outcome::Outcome;
use crate::session::Session;

impl Session {
    /// Runs CREATE TABLE AS. Tag: `SELECT n`; `CREATE TABLE AS` when there was nothing to do.
    pub(crate) async fn create_table_as(&mut self, create: BoundCreateTableAs) -> Result<Outcome> {
        self.transaction.check_ddl("CREATE TABLE AS", self.default_read_only())?;
        let is_own_block = self.enter_block().await?;
        let done = self.create_and_fill(create).await;
        let tag = self.leave_block(is_own_block, done).await?;
        Ok(Outcome::Command { tag })
    }

    async fn create_and_fill(&mut self, create: BoundCreateTableAs) -> Result<String> {
        let catalog = self.catalog();
        let session = self.session_info();
        let name = create.table.name.clone();
        let mut plan =
            Planner { env: &self.env, catalog: &catalog, session: &session }.create_table(create.table)?;
        self.notices.append(&mut plan.notices);
        let is_new = !plan.changes.is_empty();
        self.add_to_draft(plan).await?;
        let Some(query_sql) = create.query_sql.filter(|_| is_new) else {
            return Ok("CREATE TABLE AS".to_string());
        };
        let schema = catalog.schema_name(name.schema).unwrap_or("public");
        let table = format!("{}.{}", quote_identifier(schema), quote_identifier(&name.name));
        let insert = self.bind_text(&format!("INSERT INTO {table} {query_sql}"))?;
        let inserted = match self.run_rows(insert).await? {
            Outcome::Command { tag } => tag,
            _ => String::new(),
        };
        Ok(format!("SELECT {}", inserted.rsplit(' ').next().unwrap_or("0")))
    }
}
