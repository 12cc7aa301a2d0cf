//! SHOW, DESCRIBE and EXPLAIN.

use sqlparser::tokenizer::Token;
use weir_common::{Error, Result, SqlState};

use super::StatementParser;
use super::create::fold;
use crate::ast::{ExplainTarget, Show, ShowObjects, Statement};
use crate::bound::{ExplainFormat, ExplainOptions, ExplainStage};

impl StatementParser<'_> {
    pub(super) fn parse_show(&mut self) -> Result<Statement> {
        if self.word("DESCRIBE") || self.word("DESC") {
            return Ok(Statement::Show(Show::Columns(self.name()?)));
        }
        self.expect_words(&["SHOW"])?;
        if self.words(&["COLUMNS", "FROM"]) {
            return Ok(Statement::Show(Show::Columns(self.name()?)));
        }
        if self.word("CREATE") {
            let _ = self.words(&["MATERIALIZED", "VIEW"])
                || ["TABLE", "VIEW", "SOURCE", "SINK"].iter().any(|kind| self.word(kind));
            return Ok(Statement::Show(Show::Create(self.name()?)));
        }
        if let Some(objects) = self.parse_show_objects() {
            return Ok(Statement::Show(Show::Objects(objects)));
        }
        Ok(Statement::Show(Show::Variable(self.parse_variable_name()?)))
    }

    fn parse_show_objects(&mut self) -> Option<ShowObjects> {
        let plain = [
            ("TABLES", ShowObjects::Tables),
            ("SOURCES", ShowObjects::Sources),
            ("VIEWS", ShowObjects::Views),
            ("SINKS", ShowObjects::Sinks),
            ("JOBS", ShowObjects::Jobs),
            ("SCHEMAS", ShowObjects::Schemas),
            ("DATABASES", ShowObjects::Databases),
        ];
        if self.words(&["MATERIALIZED", "VIEWS"]) {
            return Some(ShowObjects::MaterializedViews);
        }
        plain.into_iter().find(|(word, _)| self.word(word)).map(|(_, objects)| objects)
    }

    /// The name of a run-time parameter, in lower case: `search_path`, `weir.consistency`, and the two-word ones.
    pub(super) fn parse_variable_name(&mut self) -> Result<String> {
        if self.words(&["TIME", "ZONE"]) {
            return Ok("timezone".into());
        }
        if self.words(&["TRANSACTION", "ISOLATION", "LEVEL"]) {
            return Ok("transaction_isolation".into());
        }
        if self.words(&["SESSION", "AUTHORIZATION"]) {
            return Ok("session_authorization".into());
        }
        let mut name = fold(&self.ident()?).to_lowercase();
        while self.token(&Token::Period) {
            name.push('.');
            name.push_str(&fold(&self.ident()?).to_lowercase());
        }
        Ok(name)
    }

    pub(super) fn parse_explain(&mut self) -> Result<Statement> {
        self.expect_words(&["EXPLAIN"])?;
        let mut options = ExplainOptions::default();
        if self.parser.peek_token().token == Token::LParen
            && !self.peek_word(1, "SELECT")
            && !self.peek_word(1, "WITH")
        {
            self.parse_explain_options(&mut options)?;
        } else {
            options.analyze = self.word("ANALYZE");
            self.word("VERBOSE");
        }
        if self.words(&["MATERIALIZED", "VIEW"]) || self.word("SINK") {
            return Ok(Statement::Explain { options, target: ExplainTarget::Object(self.name()?) });
        }
        let statement = Box::new(self.parse_nested()?);
        Ok(Statement::Explain { options, target: ExplainTarget::Statement(statement) })
    }

    fn parse_explain_options(&mut self, options: &mut ExplainOptions) -> Result<()> {
        self.expect_token(&Token::LParen)?;
        loop {
            let name = fold(&self.ident()?).to_lowercase();
            let value = self.parse_explain_value()?;
            set_explain_option(options, &name, value.as_deref())?;
            if !self.token(&Token::Comma) {
                return self.expect_token(&Token::RParen);
            }
        }
    }

    fn parse_explain_value(&mut self) -> Result<Option<String>> {
        match self.parser.peek_token().token {
            Token::Comma | Token::RParen => Ok(None),
            Token::SingleQuotedString(_) => self.string().map(|text| Some(text.to_lowercase())),
            Token::Number(digits, _) => {
                self.parser.next_token();
                Ok(Some(digits))
            }
            _ => Ok(Some(fold(&self.ident()?).to_lowercase())),
        }
    }
}

fn set_explain_option(options: &mut ExplainOptions, name: &str, value: Option<&str>) -> Result<()> {
    let on = !matches!(value, Some("off" | "false" | "0"));
    match (name, value) {
        ("stage", Some("logical")) => set_explain_stage(options, ExplainStage::Logical)?,
        ("stage", Some("stream")) => set_explain_stage(options, ExplainStage::Stream)?,
        ("stage", Some("job")) => set_explain_stage(options, ExplainStage::Job)?,
        ("state", _) if on => set_explain_stage(options, ExplainStage::State)?,
        ("state", _) => {}
        ("format", Some("text")) => options.format = ExplainFormat::Text,
        ("format", Some("json")) => options.format = ExplainFormat::Json,
        ("analyze", _) => options.analyze = on,
        ("verbose" | "costs" | "buffers" | "timing" | "summary" | "settings" | "wal", _) => {}
        ("stage" | "format", _) => {
            let message =
                format!("unrecognized value for EXPLAIN option \"{name}\": \"{}\"", value.unwrap_or(""));
            let hint = if name == "stage" {
                "Stages are logical, stream and job."
            } else {
                "Formats are text and json."
            };
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message).with_hint(hint));
        }
        _ => {
            let message = format!("unrecognized EXPLAIN option \"{name}\"");
            return Err(Error::new(SqlState::SYNTAX_ERROR, message));
        }
    }
    Ok(())
}

/// Sets what is shown: one stage, or the state.
fn set_explain_stage(options: &mut ExplainOptions, stage: ExplainStage) -> Result<()> {
    let shows_state = |stage| stage == ExplainStage::State;
    if options.stage != ExplainStage::Default && shows_state(options.stage) != shows_state(stage) {
        let message = "EXPLAIN options STAGE and STATE cannot be used together";
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    options.stage = stage;
    Ok(())
}
