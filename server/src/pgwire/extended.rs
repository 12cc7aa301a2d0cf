//! The extended protocol: prepared statements, portals, rows in portions, Sync.
//!
//! ```text
//! Parse ─► prepared statement ─ Bind ─► portal ─ Execute ─► rows … suspended … rows ─► complete
//! ```
//! Place in the flow: `Client::answer` calls it. Statements that arrive together before a Sync are one implicit
//! transaction; one alone commits by itself. After an error `connection` skips to the next Sync.

use std::sync::Arc;

use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{BindComplete, CloseComplete, ParseComplete, PortalSuspended};
use pgwire::messages::response::EmptyQueryResponse;
use weir_common::{Error, Result, SqlState};
use weir_table::{ImplicitEnd, Outcome, OutputColumn, ParamValue, Prepared, RowsTag};

use super::client::{Client, Pipeline, within};
use super::copy::CopyOrigin;
use super::frontend::{Bind, Target};
use super::params::{self, TEXT};
use super::report;
use super::rows::{Failure, OpenRows, Pumped};

/// A prepared statement with its parameters, on its way through its rows.
pub struct Portal {
    /// `None` for a statement without any text.
    prepared: Option<Arc<Prepared>>,
    formats: Vec<i16>,
    state: PortalState,
}

enum PortalState {
    /// Not executed yet.
    Bound(Vec<ParamValue>),
    /// Some rows are out.
    Open(Box<OpenRows>),
    /// All rows are out.
    Drained(RowsTag),
    /// A command ran, or an error or a cancel ended it.
    Done,
}

impl Client {
    pub(super) fn parse(&mut self, name: String, query: &str, param_types: &[u32]) -> Result<()> {
        let declared =
            param_types.iter().map(|oid| params::declared_type(*oid)).collect::<Result<Vec<_>>>()?;
        if name.is_empty() {
            self.session.drop_prepared("");
        }
        if let Some(prepared) = self.session.recall(query, &declared) {
            self.empty_statements.remove(&name);
            self.session.store_prepared(&name, prepared)?;
            self.announce();
            self.writer.send(&ParseComplete::new());
            return Ok(());
        }
        let mut statements = self.session.parse(query)?;
        match (statements.pop(), statements.is_empty()) {
            (None, _) => {
                self.empty_statements.insert(name);
            }
            (Some(statement), true) => {
                let prepared = Arc::new(self.session.prepare(&statement, &declared)?);
                self.session.remember(query, &declared, &prepared);
                self.empty_statements.remove(&name);
                self.session.store_prepared(&name, prepared)?;
            }
            (Some(_), false) => {
                return Err(Error::new(
                    SqlState::SYNTAX_ERROR,
                    "cannot insert multiple commands into a prepared statement",
                ));
            }
        }
        self.announce();
        self.writer.send(&ParseComplete::new());
        Ok(())
    }

    pub(super) fn bind(&mut self, bind: Bind) -> Result<()> {
        if !bind.portal.is_empty() && self.portals.contains_key(&bind.portal) {
            return Err(Error::new(
                SqlState::DUPLICATE_CURSOR,
                format!("cursor \"{}\" already exists", bind.portal),
            ));
        }
        let prepared = self.statement(&bind.statement)?;
        let types = prepared.as_ref().map_or(&[][..], |prepared| &prepared.params);
        let values = params::decode(types, &bind.param_formats, &bind.params)?;
        let columns = prepared.as_ref().and_then(|prepared| prepared.columns.as_ref());
        let formats = match columns {
            Some(columns) => params::result_formats(&bind.result_formats, columns.len())?,
            None => Vec::new(),
        };
        self.portals.insert(bind.portal, Portal { prepared, formats, state: PortalState::Bound(values) });
        self.writer.send(&BindComplete::new());
        Ok(())
    }

    pub(super) fn describe(&mut self, target: &Target) -> Result<()> {
        match target {
            Target::Statement(name) => {
                let prepared = self.statement(name)?;
                let types = prepared.iter().flat_map(|p| &p.params).map(|ty| ty.oid()).collect();
                self.writer.send(&ParameterDescription::new(types));
                let columns = prepared.as_ref().and_then(|prepared| prepared.columns.as_ref());
                let formats = vec![TEXT; columns.map_or(0, Vec::len)];
                self.describe_columns(columns.map(Vec::as_slice), &formats);
            }
            Target::Portal(name) => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                let columns = portal.prepared.as_ref().and_then(|prepared| prepared.columns.clone());
                let formats = portal.formats.clone();
                self.describe_columns(columns.as_deref(), &formats);
            }
        }
        Ok(())
    }

    fn describe_columns(&mut self, columns: Option<&[OutputColumn]>, formats: &[i16]) {
        match columns {
            Some(columns) => self.writer.send(&report::row_description(columns, formats)),
            None => self.writer.send(&NoData::new()),
        }
    }

    pub(super) async fn execute(
        &mut self,
        name: &str,
        max_rows: i32,
        pipeline: Pipeline,
    ) -> Result<(), Failure> {
        if pipeline == Pipeline::More {
            self.begin_implicit();
        }
        // Taken out while it runs: a portal that an error or a cancel interrupts is gone for good.
        let mut portal = self.portals.remove(name).ok_or_else(|| no_portal(name))?;
        let limit = self.timeout("statement_timeout");
        within(limit, self.run_portal(&mut portal, max_rows)).await?;
        self.portals.insert(name.to_string(), portal);
        Ok(())
    }

    async fn run_portal(&mut self, portal: &mut Portal, max_rows: i32) -> Result<(), Failure> {
        let Some(prepared) = &portal.prepared else {
            self.writer.send(&EmptyQueryResponse::new());
            return Ok(());
        };
        let limit = u64::try_from(max_rows).ok().filter(|rows| *rows > 0);
        match std::mem::replace(&mut portal.state, PortalState::Done) {
            PortalState::Bound(values) => match self.run(&prepared.statement.sql, prepared, values).await? {
                Outcome::Command { tag } => self.complete(tag),
                Outcome::CopyIn(copy) => self.start_copy(copy, CopyOrigin::Extended).await?,
                Outcome::CopyOut(copy) => {
                    let tag = self.send_copy(copy).await?;
                    self.complete(tag);
                }
                Outcome::Rows { columns, stream, tag } => {
                    unchanged(prepared, &columns)?;
                    let options = self.session.format_options();
                    let rows = OpenRows::new(&columns, &portal.formats, &options, stream, tag);
                    portal.state = self.run_rows(Box::new(rows), limit).await?;
                }
            },
            PortalState::Open(rows) => portal.state = self.run_rows(rows, limit).await?,
            PortalState::Drained(tag) => {
                self.complete(tag.complete(0));
                portal.state = PortalState::Drained(tag);
            }
            PortalState::Done => {
                return Err(
                    Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "portal cannot be run").into()
                );
            }
        }
        Ok(())
    }

    async fn run_rows(
        &mut self,
        mut rows: Box<OpenRows>,
        limit: Option<u64>,
    ) -> Result<PortalState, Failure> {
        match rows.pump(&mut self.writer, limit).await? {
            Pumped::Suspended => {
                self.writer.send(&PortalSuspended::new());
                Ok(PortalState::Open(rows))
            }
            Pumped::Finished(tag) => {
                self.complete(tag);
                Ok(PortalState::Drained(rows.tag()))
            }
        }
    }

    fn complete(&mut self, tag: String) {
        self.announce();
        self.writer.send(&report::complete(tag));
    }

    pub(super) fn close_target(&mut self, target: &Target) {
        match target {
            Target::Statement(name) => {
                self.empty_statements.remove(name);
                self.session.drop_prepared(name);
            }
            Target::Portal(name) => {
                self.portals.remove(name);
            }
        }
        self.writer.send(&CloseComplete::new());
    }

    /// The end of a pipeline: commits what it did, if no error has undone it already.
    pub(super) async fn sync(&mut self) -> Result<(), Failure> {
        self.end_implicit(ImplicitEnd::Commit).await?;
        self.announce();
        self.ready().await
    }

    /// A prepared statement by name; `None` inside for one without any text.
    fn statement(&mut self, name: &str) -> Result<Option<Arc<Prepared>>> {
        if self.empty_statements.contains(name) {
            return Ok(None);
        }
        self.session.find_prepared(name).map(Some)
    }
}

/// A statement that is run must still have the columns its client was told.
fn unchanged(prepared: &Prepared, columns: &[OutputColumn]) -> Result<()> {
    let told = prepared.columns.as_deref().unwrap_or_default();
    if told.iter().map(|c| &c.ty).eq(columns.iter().map(|c| &c.ty)) {
        return Ok(());
    }
    Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, "cached plan must not change result type")
        .with_hint("Prepare the statement again."))
}

fn no_portal(name: &str) -> Error {
    Error::new(SqlState::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
}
