//! SHOW TABLES and its like, SHOW COLUMNS, DESCRIBE: lowered to constant rows from the catalog snapshot.

use datafusion::logical_expr::{Expr, lit};
use sqlparser::ast::ObjectName;
use weir_catalog::ObjectKind;
use weir_common::{Column, Result, SqlType};

use super::Binder;
use super::bind_literal::text_literal;
use super::bind_query::Bound;
use super::bind_relation::Found;
use super::scope::Scope;
use crate::ast::{ShowObjects, Statement};
use crate::bound::BoundQuery;

impl Binder<'_> {
    pub(crate) fn bind_show_objects(&self, objects: ShowObjects) -> Result<BoundQuery> {
        match objects {
            ShowObjects::Jobs => return self.bind_text("SELECT * FROM sys.jobs"),
            ShowObjects::Databases => {
                return self.bind_text("SELECT datname AS \"Name\" FROM pg_catalog.pg_database");
            }
            ShowObjects::Schemas => {
                return self.bind_text("SELECT nspname AS \"Name\" FROM pg_catalog.pg_namespace ORDER BY 1");
            }
            _ => {}
        }
        let wanted = |kind: &ObjectKind| match objects {
            ShowObjects::Tables => matches!(kind, ObjectKind::Table(_)),
            ShowObjects::Sources => matches!(kind, ObjectKind::Source(_)),
            ShowObjects::MaterializedViews => matches!(kind, ObjectKind::MaterializedView(_)),
            ShowObjects::Views => matches!(kind, ObjectKind::View(_)),
            ShowObjects::Sinks => matches!(kind, ObjectKind::Sink(_)),
            _ => false,
        };
        let catalog = &self.cx.catalog;
        let mut rows: Vec<[String; 2]> = catalog
            .user_objects()
            .filter(|object| wanted(&object.kind))
            .map(|object| {
                [catalog.schema_name(object.schema).unwrap_or_default().to_owned(), object.name.clone()]
            })
            .collect();
        rows.sort();
        self.text_rows(&rows, &["Schema", "Name"])
    }

    pub(crate) fn bind_show_columns(&self, name: &ObjectName) -> Result<BoundQuery> {
        let columns: Vec<Column> = match self.find_relation(name)? {
            Found::Object(object) => object.columns(),
            Found::System(table) => table.columns.clone(),
        };
        let yes_no = |yes: bool| if yes { "YES" } else { "NO" }.to_owned();
        let rows: Vec<[String; 3]> =
            columns.iter().map(|c| [c.name.clone(), c.ty.to_string(), yes_no(c.nullable)]).collect();
        self.text_rows(&rows, &["Column", "Type", "Nullable"])
    }

    fn text_rows<const N: usize>(&self, rows: &[[String; N]], names: &[&str; N]) -> Result<BoundQuery> {
        let column = |i: usize| -> (Vec<Expr>, SqlType) {
            let values: Vec<Expr> = match rows.is_empty() {
                true => vec![text_literal("")],
                false => rows.iter().map(|row| text_literal(&row[i])).collect(),
            };
            (values, SqlType::Text)
        };
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut relation = self.constant_rows(rows.len().max(1), (0..N).map(column).collect(), &names)?;
        if rows.is_empty() {
            relation.plan = super::bind_select::filter(relation.plan, lit(false))?;
        }
        self.bound_query(Bound { relation, ordered: true })
    }

    /// A query of our own.
    fn bind_text(&self, sql: &str) -> Result<BoundQuery> {
        let parsed = crate::parser::parse(sql)?;
        match parsed.first().map(|p| &p.statement) {
            Some(Statement::Query(query)) => self.bound_query(self.bind_query(query, &Scope::default())?),
            _ => Err(weir_common::Error::internal("not a query")),
        }
    }
}
