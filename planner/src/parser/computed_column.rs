//! `p AS PROCTIME()`: a column that says when its row came, declared without a type.

use sqlparser::ast::{
    ColumnDef, ColumnOption, ColumnOptionDef, DataType, Expr, FunctionArguments, GeneratedAs,
    GeneratedExpressionMode, TimezoneInfo,
};
use sqlparser::parser::Parser;
use weir_common::{Error, Result};

use super::{StatementParser, fold};

impl StatementParser<'_> {
    /// A column without a type. In a table it is one like `GENERATED ALWAYS AS (PROCTIME()) STORED`.
    pub(super) fn parse_computed_column(&mut self) -> Result<ColumnDef> {
        let name = self.ident()?;
        self.expect_words(&["AS"])?;
        let time = self.sql(Parser::parse_expr)?;
        if !is_processing_time(&time) {
            return Err(Error::unsupported(format!("{} AS {time}, a column without a type", fold(&name)))
                .with_hint("Give it one: name type GENERATED ALWAYS AS (expression) STORED."));
        }
        let option = ColumnOption::Generated {
            generated_as: GeneratedAs::ExpStored,
            sequence_options: None,
            generation_expr: Some(time),
            generation_expr_mode: Some(GeneratedExpressionMode::Stored),
            generated_keyword: true,
        };
        let options = vec![ColumnOptionDef { name: None, option }];
        Ok(ColumnDef { name, data_type: DataType::Timestamp(None, TimezoneInfo::Tz), options })
    }
}

/// Whether this is `PROCTIME()`.
pub(crate) fn is_processing_time(time: &Expr) -> bool {
    let Expr::Function(call) = time else { return false };
    let no_arguments = match &call.args {
        FunctionArguments::List(list) => list.args.is_empty(),
        other => matches!(other, FunctionArguments::None),
    };
    let [part] = call.name.0.as_slice() else { return false };
    no_arguments && part.as_ident().is_some_and(|name| fold(name) == "proctime")
}
