//! The simple protocol: a text of statements, run one after the other.
//!
//! Place in the flow: `Client::answer` calls it for a Query message. Several statements in one message are one
//! implicit transaction: an error stops the rest and undoes what came before.

use std::collections::VecDeque;

use weir_common::{Error, Result, SqlState};
use weir_table::{CopyIn, ImplicitEnd, Outcome, ParamValue, ParsedStatement, Prepared};

use pgwire::messages::response::EmptyQueryResponse;

use super::client::{Client, within};
use super::copy::CopyOrigin;
use super::params::TEXT;
use super::report;
use super::rows::{Failure, OpenRows, Pumped};

impl Client {
    /// Runs all statements of the text.
    pub(super) async fn simple_query(&mut self, sql: &str) -> Result<(), Failure> {
        self.portals.remove("");
        if let Some((prepared, values)) = self.session.template(sql) {
            return self.run_template(sql, &prepared, values).await;
        }
        let statements = self.session.parse(sql)?;
        if statements.is_empty() {
            self.writer.send(&EmptyQueryResponse::new());
            return Ok(());
        }
        if statements.len() > 1 {
            self.begin_implicit();
        }
        self.run_statements(statements.into()).await
    }

    /// Runs the only statement of a text, which is a template with these values.
    async fn run_template(
        &mut self,
        sql: &str,
        prepared: &Prepared,
        values: Vec<ParamValue>,
    ) -> Result<(), Failure> {
        if self.is_implicit() {
            self.begin_implicit();
        }
        let limit = self.timeout("statement_timeout");
        within(limit, self.answer_simple(sql, prepared, values)).await?;
        self.end_implicit(ImplicitEnd::Commit).await?;
        self.announce();
        Ok(())
    }

    /// Runs statements to the end, or to a COPY FROM STDIN, which goes on with the rest once its text is there.
    pub(super) async fn run_statements(
        &mut self,
        mut statements: VecDeque<ParsedStatement>,
    ) -> Result<(), Failure> {
        while let Some(statement) = statements.pop_front() {
            if self.is_implicit() {
                // A COMMIT among them ended the block of those before it.
                self.begin_implicit();
            }
            let limit = self.timeout("statement_timeout");
            if let Some(copy) = within(limit, self.run_simple(&statement)).await? {
                return self.start_copy(copy, CopyOrigin::Simple(statements)).await;
            }
        }
        self.end_implicit(ImplicitEnd::Commit).await?;
        self.announce();
        Ok(())
    }

    /// Runs a statement; a COPY FROM STDIN is returned, to be begun.
    async fn run_simple(&mut self, statement: &ParsedStatement) -> Result<Option<Box<CopyIn>>, Failure> {
        let prepared = self.session.prepare(statement, &[])?;
        if !prepared.params.is_empty() {
            return Err(Error::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1").into());
        }
        self.answer_simple(&statement.sql, &prepared, Vec::new()).await
    }

    async fn answer_simple(
        &mut self,
        sql: &str,
        prepared: &Prepared,
        values: Vec<ParamValue>,
    ) -> Result<Option<Box<CopyIn>>, Failure> {
        let tag = match self.run(sql, prepared, values).await? {
            Outcome::Command { tag } => tag,
            Outcome::CopyIn(copy) => return Ok(Some(copy)),
            Outcome::CopyOut(copy) => self.send_copy(copy).await?,
            Outcome::Rows { columns, stream, tag } => {
                let formats = vec![TEXT; columns.len()];
                self.writer.send(&report::row_description(&columns, &formats));
                let options = self.session.format_options();
                let mut rows = OpenRows::new(&columns, &formats, &options, stream, tag);
                match rows.pump(&mut self.writer, None).await? {
                    Pumped::Finished(tag) => tag,
                    Pumped::Suspended => {
                        return Err(Error::internal("rows without a limit were suspended").into());
                    }
                }
            }
        };
        self.announce();
        self.writer.send(&report::complete(tag));
        Ok(None)
    }
}
