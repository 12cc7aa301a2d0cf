//! ALTER TABLE, and ALTER of any relation's name.

use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;
use weir_common::Result;

use super::StatementParser;
use crate::ast::{Alter, Statement};
use crate::bound::DropKind;

impl StatementParser<'_> {
    pub(super) fn parse_alter(&mut self) -> Result<Statement> {
        self.expect_words(&["ALTER"])?;
        let kinds: [(&[&str], DropKind); 6] = [
            (&["TABLE"], DropKind::Table),
            (&["VIEW"], DropKind::View),
            (&["MATERIALIZED", "VIEW"], DropKind::MaterializedView),
            (&["SOURCE"], DropKind::Source),
            (&["SINK"], DropKind::Sink),
            (&["SEQUENCE"], DropKind::Sequence),
        ];
        let Some((_, kind)) = kinds.into_iter().find(|(words, _)| self.words(words)) else {
            return Ok(self.unsupported("this kind of ALTER", "Drop the object and create it again."));
        };
        let if_exists = self.words(&["IF", "EXISTS"]);
        self.word("ONLY");
        let name = self.name()?;
        self.token(&Token::Mul);
        let operations =
            self.sql(|parser| parser.parse_comma_separated(Parser::parse_alter_table_operation))?;
        Ok(Statement::Alter(Alter { kind, name, if_exists, operations }))
    }
}
