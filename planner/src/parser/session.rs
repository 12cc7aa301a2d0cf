//! Statements about the session: transactions, run-time parameters, prepared statements; and the valid
//! PostgreSQL statements that are refused with a hint.

use sqlparser::ast::ObjectName;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;
use weir_common::Result;

use super::StatementParser;
use super::create::fold;
use crate::ast::Statement;
use crate::bound::{DiscardTarget, SavepointAction, SetScope, TransactionModes};

impl StatementParser<'_> {
    pub(super) fn parse_session_statement(&mut self) -> Result<Statement> {
        if self.word("FLUSH") {
            return Ok(Statement::Flush);
        }
        if self.words(&["WAIT", "FOR"]) {
            self.expect_words(&["MATERIALIZED", "VIEW"])?;
            return Ok(Statement::Wait { name: self.name()? });
        }
        if self.word("PAUSE") {
            return Ok(Statement::Pause { name: self.parse_job_owner()? });
        }
        if self.word("RESUME") {
            return Ok(Statement::Resume { name: self.parse_job_owner()? });
        }
        if self.words(&["CANCEL", "JOB"]) {
            return Ok(Statement::CancelJob { name: self.name()? });
        }
        if self.words(&["START", "TRANSACTION"]) || self.word("BEGIN") {
            let _ = self.word("TRANSACTION") || self.word("WORK");
            return Ok(Statement::Begin(self.parse_modes()?));
        }
        if self.word("COMMIT") || self.word("END") {
            return self.parse_end(Statement::Commit);
        }
        if self.word("ROLLBACK") || self.word("ABORT") {
            return self.parse_end(Statement::Rollback);
        }
        if self.word("SAVEPOINT") {
            return self.parse_savepoint(SavepointAction::Set);
        }
        if self.word("RELEASE") {
            self.word("SAVEPOINT");
            return self.parse_savepoint(SavepointAction::Release);
        }
        if self.word("SET") {
            return self.parse_set();
        }
        if self.word("RESET") {
            return Ok(Statement::Reset { name: self.parse_variable_name()? });
        }
        if self.word("DISCARD") {
            return self.parse_discard();
        }
        if self.word("PREPARE") {
            return self.parse_prepare();
        }
        if self.word("EXECUTE") {
            return self.parse_execute();
        }
        if self.word("DEALLOCATE") {
            self.word("PREPARE");
            let name = if self.word("ALL") { None } else { Some(fold(&self.ident()?)) };
            return Ok(Statement::Deallocate { name });
        }
        self.parse_other()
    }

    /// `{MATERIALIZED VIEW | SINK} name`.
    fn parse_job_owner(&mut self) -> Result<ObjectName> {
        if !self.words(&["MATERIALIZED", "VIEW"]) && !self.word("SINK") {
            return Err(self.unexpected());
        }
        self.name()
    }

    fn parse_end(&mut self, statement: Statement) -> Result<Statement> {
        let _ = self.word("TRANSACTION") || self.word("WORK");
        if self.word("PREPARED") {
            return Ok(self.unsupported("two-phase commit", "Use COMMIT or ROLLBACK."));
        }
        if matches!(statement, Statement::Rollback) && self.word("TO") {
            self.word("SAVEPOINT");
            return self.parse_savepoint(SavepointAction::RollBackTo);
        }
        if self.words(&["AND", "CHAIN"]) {
            return Ok(self.unsupported("AND CHAIN", "Send BEGIN after it."));
        }
        self.words(&["AND", "NO", "CHAIN"]);
        Ok(statement)
    }

    fn parse_savepoint(&mut self, action: SavepointAction) -> Result<Statement> {
        Ok(Statement::Savepoint { name: fold(&self.ident()?), action })
    }

    fn parse_modes(&mut self) -> Result<TransactionModes> {
        let mut modes = TransactionModes::default();
        while !self.at_end() {
            if self.words(&["ISOLATION", "LEVEL"]) {
                modes.isolation = Some(self.parse_isolation()?);
            } else if self.words(&["READ", "ONLY"]) {
                modes.read_only = Some(true);
            } else if self.words(&["READ", "WRITE"]) {
                modes.read_only = Some(false);
            } else if !(self.words(&["NOT", "DEFERRABLE"]) || self.word("DEFERRABLE")) {
                return Err(self.unexpected());
            }
            self.token(&Token::Comma);
        }
        Ok(modes)
    }

    fn parse_isolation(&mut self) -> Result<&'static str> {
        let levels: [(&[&str], &'static str); 4] = [
            (&["READ", "UNCOMMITTED"], "read uncommitted"),
            (&["READ", "COMMITTED"], "read committed"),
            (&["REPEATABLE", "READ"], "repeatable read"),
            (&["SERIALIZABLE"], "serializable"),
        ];
        let found = levels.into_iter().find(|(words, _)| self.words(words));
        found.map(|(_, level)| level).ok_or_else(|| self.unexpected())
    }

    fn parse_set(&mut self) -> Result<Statement> {
        if self.word("TRANSACTION") || self.words(&["SESSION", "CHARACTERISTICS", "AS", "TRANSACTION"]) {
            return Ok(Statement::SetTransaction(self.parse_modes()?));
        }
        let scope = match self.word("LOCAL") {
            true => SetScope::Transaction,
            false => SetScope::Session,
        };
        if self.peek_word(0, "SESSION") && !self.peek_word(1, "AUTHORIZATION") {
            self.word("SESSION");
        }
        if self.word("NAMES") {
            let value = Some(self.parse_set_item()?);
            return Ok(Statement::Set { scope, name: "client_encoding".into(), value });
        }
        if self.word("ROLE") || self.words(&["SESSION", "AUTHORIZATION"]) {
            let _ = self.parse_set_item()?;
            return Ok(Statement::NoOperation { tag: "SET" });
        }
        let zone = self.peek_word(0, "TIME") && self.peek_word(1, "ZONE");
        let name = self.parse_variable_name()?;
        if !(zone || self.token(&Token::Eq) || self.word("TO")) {
            return Err(self.unexpected());
        }
        let value = self.parse_set_value()?;
        Ok(Statement::Set { scope, name, value })
    }

    /// `DEFAULT`, or a comma-separated list, printed as `SHOW` shows it.
    fn parse_set_value(&mut self) -> Result<Option<String>> {
        if self.word("DEFAULT") {
            return Ok(None);
        }
        if self.peek_word(0, "INTERVAL") {
            self.word("INTERVAL");
        }
        let mut items = vec![self.parse_set_item()?];
        while self.token(&Token::Comma) {
            items.push(self.parse_set_item()?);
        }
        Ok(Some(items.join(", ")))
    }

    fn parse_set_item(&mut self) -> Result<String> {
        let sign = match (self.token(&Token::Minus), self.token(&Token::Plus)) {
            (true, _) => "-",
            _ => "",
        };
        match self.parser.peek_token().token {
            Token::Number(digits, _) => {
                self.parser.next_token();
                Ok(format!("{sign}{digits}"))
            }
            Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_) if sign.is_empty() => self.string(),
            Token::Word(_) if sign.is_empty() => Ok(fold(&self.ident()?)),
            _ => Err(self.unexpected()),
        }
    }

    fn parse_discard(&mut self) -> Result<Statement> {
        let targets = [
            ("ALL", DiscardTarget::All),
            ("PLANS", DiscardTarget::Plans),
            ("SEQUENCES", DiscardTarget::Sequences),
            ("TEMP", DiscardTarget::Temp),
            ("TEMPORARY", DiscardTarget::Temp),
        ];
        let found = targets.into_iter().find(|(word, _)| self.word(word));
        found.map(|(_, target)| Statement::Discard(target)).ok_or_else(|| self.unexpected())
    }

    fn parse_prepare(&mut self) -> Result<Statement> {
        if self.word("TRANSACTION") {
            return Ok(self.unsupported("PREPARE TRANSACTION", "Use COMMIT."));
        }
        let name = fold(&self.ident()?);
        let types = if self.token(&Token::LParen) {
            let types = self.sql(|p| p.parse_comma_separated(Parser::parse_data_type))?;
            self.expect_token(&Token::RParen)?;
            types
        } else {
            Vec::new()
        };
        self.expect_words(&["AS"])?;
        Ok(Statement::Prepare { name, types, statement: Box::new(self.parse_nested()?) })
    }

    fn parse_execute(&mut self) -> Result<Statement> {
        let name = fold(&self.ident()?);
        let args = if self.token(&Token::LParen) {
            let args = self.sql(|p| p.parse_comma_separated(Parser::parse_expr))?;
            self.expect_token(&Token::RParen)?;
            args
        } else {
            Vec::new()
        };
        Ok(Statement::Execute { name, args })
    }

    fn parse_other(&mut self) -> Result<Statement> {
        for tag in ["UNLISTEN", "ANALYZE", "VACUUM"] {
            if self.word(tag) {
                self.skip_rest();
                return Ok(Statement::NoOperation { tag });
            }
        }
        let refused: [(&str, &'static str); 8] = [
            ("LISTEN", "Read the materialized view instead."),
            ("NOTIFY", "Write to a table instead."),
            ("GRANT", "There is one role, weir, which may do everything."),
            ("REVOKE", "There is one role, weir, which may do everything."),
            ("LOCK", "Transactions are serializable without locks."),
            ("MERGE", "Use INSERT, UPDATE and DELETE."),
            ("CALL", "There are no procedures."),
            ("DO", "There are no procedural languages."),
        ];
        for (word, hint) in refused {
            if self.word(word) {
                return Ok(self.unsupported(word, hint));
            }
        }
        Err(self.unexpected())
    }
}
