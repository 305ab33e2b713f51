//! Parses the statements about cached tables. Spark SQL has them, and DataFusion's grammar does not.
//!
//! ```text
//!  CACHE TABLE name [[AS] query]      UNCACHE TABLE [IF EXISTS] name      REFRESH [TABLE] name
//!  CLEAR CACHE                        SHOW CACHED TABLES
//! ```
//!
//! Any other statement is left to DataFusion, so no query changes its meaning.

use datafusion::common::TableReference;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Query};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::{Error, Result};

/// A statement about cached tables.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CacheStatement {
    /// `CACHE TABLE`: keeps the content of a table, or the result of a query under a new name.
    Cache {
        /// The table.
        name: TableReference,
        /// The query that makes the table. `None`: the table exists.
        query: Option<Box<Query>>,
    },
    /// `UNCACHE TABLE`: drops the kept content. The table is read from its source again.
    Uncache {
        /// The table.
        name: TableReference,
        /// Whether a table that is not cached is no error.
        if_exists: bool,
    },
    /// `REFRESH TABLE`: reads a cached table from its source again.
    Refresh {
        /// The table.
        name: TableReference,
    },
    /// `CLEAR CACHE`: drops the kept content of all tables.
    Clear,
    /// `SHOW CACHED TABLES`: lists the cached tables.
    Show,
}

/// Parses a statement about cached tables. `None`: it is another statement, which DataFusion parses.
pub(crate) fn cache_statement(sql: &str) -> Result<Option<CacheStatement>> {
    let dialect = GenericDialect {};
    // DataFusion reports a text that cannot be tokenized.
    let Ok(mut parser) = Parser::new(&dialect).try_with_sql(sql) else { return Ok(None) };
    let statement = match parse(&mut parser) {
        Ok(Some(statement)) => statement,
        Ok(None) => return Ok(None),
        Err(error) => return Err(syntax(error)),
    };
    while parser.consume_token(&Token::SemiColon) {}
    if parser.peek_token_ref().token != Token::EOF {
        let found = parser.peek_token_ref().to_string();
        return Err(syntax(ParserError::ParserError(format!(
            "expected the end of the statement, found: {found}"
        ))));
    }
    Ok(Some(statement))
}

fn syntax(error: ParserError) -> Error {
    Error::Query(DataFusionError::SQL(Box::new(error), None))
}

fn parse(parser: &mut Parser<'_>) -> std::result::Result<Option<CacheStatement>, ParserError> {
    while parser.consume_token(&Token::SemiColon) {}
    if parser.parse_keyword(Keyword::CACHE) {
        if word(parser, "LAZY") {
            let message = "CACHE LAZY TABLE is not supported: CACHE TABLE reads the table at once";
            return Err(ParserError::ParserError(message.to_owned()));
        }
        parser.expect_keyword(Keyword::TABLE)?;
        let name = table(parser)?;
        let query = match parser.peek_token_ref().token {
            Token::EOF | Token::SemiColon => None,
            _ => {
                let _ = parser.parse_keyword(Keyword::AS);
                Some(parser.parse_query()?)
            }
        };
        return Ok(Some(CacheStatement::Cache { name, query }));
    }
    if parser.parse_keyword(Keyword::UNCACHE) {
        parser.expect_keyword(Keyword::TABLE)?;
        let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
        return Ok(Some(CacheStatement::Uncache { name: table(parser)?, if_exists }));
    }
    if word(parser, "REFRESH") {
        let _ = parser.parse_keyword(Keyword::TABLE);
        return Ok(Some(CacheStatement::Refresh { name: table(parser)? }));
    }
    if word(parser, "CLEAR") {
        parser.expect_keyword(Keyword::CACHE)?;
        return Ok(Some(CacheStatement::Clear));
    }
    let second = parser.peek_nth_token(1);
    if is_word(&parser.peek_token_ref().token, "SHOW") && is_word(&second.token, "CACHED") {
        parser.next_token();
        parser.next_token();
        parser.expect_keyword(Keyword::TABLES)?;
        return Ok(Some(CacheStatement::Show));
    }
    Ok(None)
}

fn is_word(token: &Token, expected: &str) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected))
}

/// Consumes an unquoted word if it comes next.
fn word(parser: &mut Parser<'_>, expected: &str) -> bool {
    let found = is_word(&parser.peek_token_ref().token, expected);
    if found {
        parser.next_token();
    }
    found
}

/// Parses a table's name: one to three parts, each in lower case unless it is quoted.
fn table(parser: &mut Parser<'_>) -> std::result::Result<TableReference, ParserError> {
    let ObjectName(parts) = parser.parse_object_name(false)?;
    let parts: Vec<String> = parts.iter().filter_map(|part| part.as_ident()).map(normal).collect();
    match <[String; 1]>::try_from(parts) {
        Ok([table]) => Ok(TableReference::bare(table)),
        Err(parts) => match <[String; 2]>::try_from(parts) {
            Ok([schema, table]) => Ok(TableReference::partial(schema, table)),
            Err(parts) => match <[String; 3]>::try_from(parts) {
                Ok([catalog, schema, table]) => Ok(TableReference::full(catalog, schema, table)),
                Err(_) => Err(ParserError::ParserError("a table's name has one to three parts".to_owned())),
            },
        },
    }
}

/// The name under which an identifier is looked up.
pub(super) fn normal(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(sql: &str) -> Option<CacheStatement> {
        cache_statement(sql).unwrap()
    }

    #[test]
    fn the_statements_are_told_apart() {
        let name = TableReference::bare("t");
        let uncache = |if_exists| Some(CacheStatement::Uncache { name: name.clone(), if_exists });
        for (sql, expected) in [
            ("CACHE TABLE t", Some(CacheStatement::Cache { name: name.clone(), query: None })),
            ("cache table T;", Some(CacheStatement::Cache { name: name.clone(), query: None })),
            ("UNCACHE TABLE t", uncache(false)),
            ("UNCACHE TABLE IF EXISTS t ; ", uncache(true)),
            ("REFRESH TABLE t", Some(CacheStatement::Refresh { name: name.clone() })),
            ("-- a comment\nrefresh t", Some(CacheStatement::Refresh { name: name.clone() })),
            ("CLEAR CACHE", Some(CacheStatement::Clear)),
            ("show cached tables", Some(CacheStatement::Show)),
            ("SHOW TABLES", None),
            ("SELECT 1", None),
            ("SELECT cache FROM refresh", None),
            ("WITH clear AS (SELECT 1) SELECT * FROM clear", None),
            ("\"CACHE\" TABLE t", None),
            ("'", None),
            ("", None),
        ] {
            assert_eq!(parsed(sql), expected, "{sql}");
        }
        for wrong in [
            "CACHE",
            "CACHE t",
            "CACHE LAZY TABLE t",
            "CACHE TABLE",
            "CACHE TABLE t AS",
            "CACHE TABLE t AS DROP TABLE t",
            "CACHE TABLE t; SELECT 1",
            "CACHE TABLE a.b.c.d",
            "UNCACHE t",
            "UNCACHE TABLE t u",
            "REFRESH",
            "CLEAR",
            "CLEAR CACHE x",
            "SHOW CACHED",
        ] {
            assert!(matches!(cache_statement(wrong), Err(Error::Query(_))), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_cached_query_is_the_query(
            catalog in prop::option::of("[a-z_]{1,6}"),
            schema in "[a-z_]{1,6}",
            table in "[a-zA-Z_\u{e9} ]{1,8}",
            query in prop::sample::select(vec![
                "SELECT a, count(*) FROM p WHERE b = 'AS; CACHE' GROUP BY a",
                "WITH q AS (SELECT 1 AS one) SELECT * FROM q",
                "VALUES (1, 'x'), (2, 'y')",
                "(SELECT 1) UNION ALL (SELECT 2)",
            ]),
            as_word in any::<bool>(),
            semicolon in any::<bool>(),
        ) {
            let mut name = format!("\"{schema}\".\"{table}\"");
            let mut expected = TableReference::partial(schema.clone(), table.clone());
            if let Some(catalog) = &catalog {
                name = format!("\"{catalog}\".{name}");
                expected = TableReference::full(catalog.clone(), schema.clone(), table.clone());
            }
            let sql = format!(
                "CACHE TABLE {name} {} {query}{}",
                if as_word { "AS" } else { "" },
                if semicolon { ";" } else { "" },
            );
            let alone = Parser::new(&GenericDialect {}).try_with_sql(query).unwrap().parse_query().unwrap();
            let found = parsed(&sql).unwrap();
            prop_assert_eq!(found, CacheStatement::Cache { name: expected, query: Some(alone) });
        }

        #[test]
        fn no_text_breaks_the_parser(
            words in prop::collection::vec(prop::sample::select(vec![
                "CACHE", "UNCACHE", "REFRESH", "CLEAR", "SHOW", "CACHED", "TABLE", "TABLES", "IF", "EXISTS", "AS", "t",
                "\"T\"", ".", ";", "SELECT", "1", "(", ")", "'x'", "LAZY", "é",
            ]), 0..8),
        ) {
            let text = words.join(" ");
            // Either ours, or left alone, or an error: never a panic, and a statement of ours starts with our words.
            if let Ok(Some(_)) = cache_statement(&text) {
                let first = words.iter().find(|word| **word != ";").copied().unwrap_or_default();
                prop_assert!(["CACHE", "UNCACHE", "REFRESH", "CLEAR", "SHOW"].contains(&first), "{}", text);
            }
        }
    }
}
