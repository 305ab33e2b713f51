//! Statements of SQL before they run: what they take, which tables they name, and what Spark calls their columns.

use std::ops::ControlFlow;

use datafusion::common::TableReference;
use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{SelectItem, SetExpr, Statement as SqlStatement};
use datafusion::sql::sqlparser::dialect::SparkSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use firesteel_common::access::Role;
use firesteel_proto::spark::connect as proto;
use firesteel_proto::spark::connect::expression::literal::LiteralType;
use firesteel_proto::spark::connect::expression::{ExprType, Literal};

use super::error::{Result, SparkError};
use super::expression::{name_of, parse_sql};
use super::frame::Frame;
use crate::limits::{SqlLimits, check_sql};
use crate::query::sql::cache_statement;

/// What is known of a statement.
#[derive(Debug)]
pub(super) struct Parsed {
    /// The role that it takes.
    pub(super) role: Role,
    /// Whether it gives rows and changes nothing.
    pub(super) is_query: bool,
    /// The tables that it reads.
    pub(super) tables: Vec<TableReference>,
    /// What Spark calls its columns; none where a star stands for some.
    names: Vec<Option<String>>,
}

impl Parsed {
    /// Gives columns that have no alias the names that Spark has for them.
    pub(super) fn name_columns(&self, frame: &mut Frame) {
        if self.names.len() == frame.columns.len() {
            for (column, name) in frame.columns.iter_mut().zip(&self.names) {
                if let Some(name) = name {
                    column.name.clone_from(name);
                }
            }
        }
    }
}

/// Parses a statement that is within the limits. Nothing runs.
pub(super) fn parse(state: &SessionState, text: &str, limits: &SqlLimits) -> Result<Parsed> {
    check_sql(text, limits)?;
    if cache_statement(text)?.is_some() {
        return Ok(Parsed { role: Role::Writer, is_query: false, tables: Vec::new(), names: Vec::new() });
    }
    let dialect = state.config().options().sql_parser.dialect;
    let statement = state.sql_to_statement(text, &dialect)?;
    let (role, is_query) = what(&statement);
    let tables = match is_query {
        true => state.resolve_table_references(&statement)?,
        false => Vec::new(),
    };
    Ok(Parsed { role, is_query, tables, names: names(&statement) })
}

/// The role that a statement takes, and whether it is a query.
fn what(statement: &Statement) -> (Role, bool) {
    match statement {
        Statement::Explain(explain) => (what(&explain.statement).0, true),
        Statement::Statement(statement) => match statement.as_ref() {
            SqlStatement::Query(query) if !writes(query.body.as_ref()) => (Role::Reader, true),
            SqlStatement::ShowTables { .. }
            | SqlStatement::ShowColumns { .. }
            | SqlStatement::ShowVariable { .. }
            | SqlStatement::ShowFunctions { .. }
            | SqlStatement::ExplainTable { .. } => (Role::Reader, true),
            SqlStatement::Explain { statement, .. } => {
                (what(&Statement::Statement(statement.clone())).0, true)
            }
            SqlStatement::Set(_) => (Role::Reader, false),
            _ => (Role::Writer, false),
        },
        _ => (Role::Writer, false),
    }
}

fn writes(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => select.into.is_some(),
        SetExpr::Query(query) => writes(query.body.as_ref()),
        SetExpr::SetOperation { left, right, .. } => writes(left) || writes(right),
        SetExpr::Values(_) | SetExpr::Table(_) => false,
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => true,
    }
}

fn names(statement: &Statement) -> Vec<Option<String>> {
    let Statement::Statement(statement) = statement else { return Vec::new() };
    let SqlStatement::Query(query) = statement.as_ref() else { return Vec::new() };
    let mut body = query.body.as_ref();
    while let SetExpr::SetOperation { left, .. } = body {
        body = left;
    }
    let SetExpr::Select(select) = body else { return Vec::new() };
    let name = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) => {
            ControlFlow::Continue(parse_sql(&expr.to_string()).ok().map(|expr| name_of(&expr)))
        }
        SelectItem::ExprWithAlias { alias, .. } => ControlFlow::Continue(Some(alias.value.clone())),
        _ => ControlFlow::Break(()),
    };
    let mut names = Vec::new();
    for item in &select.projection {
        match name(item) {
            ControlFlow::Continue(name) => names.push(name),
            ControlFlow::Break(()) => return Vec::new(),
        }
    }
    names
}

/// The text of a query with its arguments in it.
pub(super) fn with_arguments(sql: &proto::Sql, limits: &SqlLimits) -> Result<String> {
    check_sql(&sql.query, limits)?;
    let literal = |expr: &proto::Expression| match &expr.expr_type {
        Some(ExprType::Literal(value)) => Ok(value.clone()),
        _ => Err(SparkError::unsupported("an argument of SQL that is no literal")),
    };
    let mut by_place: Vec<Literal> = sql.pos_args.clone();
    for argument in &sql.pos_arguments {
        by_place.push(literal(argument)?);
    }
    let mut by_name: Vec<(String, Literal)> = sql.args.clone().into_iter().collect();
    for (name, argument) in &sql.named_arguments {
        by_name.push((name.clone(), literal(argument)?));
    }
    if by_place.is_empty() && by_name.is_empty() {
        return Ok(sql.query.clone());
    }
    let tokens = Tokenizer::new(&SparkSqlDialect {}, &sql.query).with_unescape(false).tokenize();
    let tokens = tokens.map_err(|error| SparkError::syntax(error.to_string()))?;
    let mut places = by_place.iter();
    let mut text = String::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let value = match (&token, tokens.peek()) {
            (Token::Placeholder(mark), _) if mark == "?" => Some(places.next().ok_or_else(|| unbound("?"))?),
            (Token::Placeholder(mark), _) if mark.starts_with(':') => Some(named(&by_name, &mark[1..])?),
            (Token::Colon, Some(Token::Word(word))) => {
                let value = named(&by_name, &word.value)?;
                tokens.next();
                Some(value)
            }
            _ => None,
        };
        match value {
            Some(value) => text.push_str(&written(value)?),
            None => text.push_str(&token.to_string()),
        }
    }
    Ok(text)
}

fn named<'a>(arguments: &'a [(String, Literal)], name: &str) -> Result<&'a Literal> {
    let found = arguments.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value).ok_or_else(|| unbound(name))
}

fn unbound(name: &str) -> SparkError {
    let message = format!("Found the unbound parameter: {name}. Please give it a value.");
    SparkError::new(super::error::Kind::Analysis, "UNBOUND_SQL_PARAMETER", "42P02", message)
}

/// A literal as SQL writes it.
fn written(literal: &Literal) -> Result<String> {
    Ok(match &literal.literal_type {
        Some(LiteralType::Null(_)) => "NULL".to_owned(),
        Some(LiteralType::Boolean(value)) => value.to_string(),
        Some(LiteralType::Byte(value) | LiteralType::Short(value) | LiteralType::Integer(value)) => {
            format!("CAST({value} AS INT)")
        }
        Some(LiteralType::Long(value)) => format!("CAST({value} AS BIGINT)"),
        Some(LiteralType::Double(value)) if value.is_finite() => format!("CAST({value:e} AS DOUBLE)"),
        Some(LiteralType::String(text)) => format!("'{}'", text.replace('\'', "''")),
        Some(LiteralType::Date(days)) => format!("DATE '{}'", super::show::number::date(*days)),
        _ => return Err(SparkError::unsupported("an argument of SQL of this type")),
    })
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    #[test]
    fn a_statement_says_what_it_takes() {
        let state = SessionContext::new().state();
        for (text, role, is_query) in [
            ("SELECT 1", Role::Reader, true),
            ("WITH a AS (SELECT 1) SELECT * FROM a", Role::Reader, true),
            ("EXPLAIN SELECT 1", Role::Reader, true),
            ("SHOW TABLES", Role::Reader, true),
            ("DESCRIBE t", Role::Reader, true),
            ("SET x.y = 1", Role::Reader, false),
            ("INSERT INTO t VALUES (1)", Role::Writer, false),
            ("CREATE VIEW v AS SELECT 1", Role::Writer, false),
            ("DROP TABLE t", Role::Writer, false),
            ("CACHE TABLE t", Role::Writer, false),
            ("COPY t TO '/tmp/x' STORED AS CSV", Role::Writer, false),
        ] {
            let parsed = parse(&state, text, &SqlLimits::default()).unwrap();
            assert_eq!((parsed.role, parsed.is_query), (role, is_query), "{text}");
        }
        let refused = |text: &str| parse(&state, text, &SqlLimits::default()).unwrap_err();
        assert_eq!(refused("SELEC 1").class, "PARSE_SYNTAX_ERROR");
        // No tree is made of it, which would be as deep as it is long.
        assert_eq!(refused(&format!("SELECT 1{}", " + 1".repeat(20_000))).class, "UNSUPPORTED_FEATURE");
    }

    #[test]
    fn columns_are_called_as_spark_calls_them() {
        let state = SessionContext::new().state();
        let names = |text: &str| parse(&state, text, &SqlLimits::default()).unwrap().names;
        let named = |names: &[&str]| names.iter().map(|name| Some((*name).to_owned())).collect::<Vec<_>>();
        assert_eq!(names("SELECT count(*), sum(a) AS s, t.b FROM t"), named(&["count(1)", "s", "b"]));
        assert!(names("SELECT *, 1 FROM t").is_empty());
    }

    #[test]
    fn arguments_are_written_into_the_text() {
        let limits = SqlLimits::default();
        let value = |kind| Literal { literal_type: Some(kind), data_type: None };
        let text = value(LiteralType::String("it's :x ?".to_owned()));
        let sql = proto::Sql {
            query: "SELECT :x, '?' FROM t WHERE a = :x".to_owned(),
            args: [("x".to_owned(), text.clone())].into(),
            ..proto::Sql::default()
        };
        let expected = "SELECT 'it''s :x ?', '?' FROM t WHERE a = 'it''s :x ?'";
        assert_eq!(with_arguments(&sql, &limits).unwrap(), expected);
        let sql = proto::Sql {
            query: "SELECT ? + ?".to_owned(),
            pos_args: vec![value(LiteralType::Integer(1))],
            ..proto::Sql::default()
        };
        assert_eq!(with_arguments(&sql, &limits).unwrap_err().class, "UNBOUND_SQL_PARAMETER");
    }
}
