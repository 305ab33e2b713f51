//! DataFusion's parser, with a brake.
//!
//! sqlparser tries a word such as `CAST`, `CASE` or `NOT` as what it means, and where that fails it reads the same words again, as
//! a function or as a name. It does so for what is behind a period, for a bracket where a table stands, and in places more. Where
//! such words lie in each other, each of them doubles the time: forty of them take days. Which texts do is known to the parser
//! alone, so it is asked while it works.
//!
//! ```text
//!  text ──▶ parser ──▶ each operand asks the dialect first ──▶ read too often? ──▶ an error, for this operand and all behind it
//! ```
//!
//! The dialect is the one that statements are parsed with later, and counts. What passes here takes no longer there.

use std::any::TypeId;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{Expr, Query};
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::SqlLimits;
use super::over;
use crate::{ConfigField, Error, Result};

/// The dialect that statements are parsed with.
const GENERIC: GenericDialect = GenericDialect {};

/// How often a place in any text may be read, however long the text is.
const AT_LEAST: usize = 64;

/// The bytes of a token, about.
const TOKEN: usize = 4;

/// A text of SQL, parsed.
#[derive(Debug)]
pub(super) enum Parsed {
    Statements(VecDeque<Statement>),
    /// The query of `CACHE TABLE`, in a form that is ours.
    Cached(Box<Query>),
    /// What the parser does not understand.
    Nothing,
}

/// Parses a text of SQL, unless the parser reads it again and again.
pub(super) fn parse(sql: &str, limits: &SqlLimits) -> Result<Parsed> {
    let brake = Brake::new(sql.len(), limits);
    let statements = DFParserBuilder::new(sql)
        .with_dialect(&brake)
        .build()
        .and_then(|mut parser| parser.parse_statements());
    brake.check()?;
    if let Ok(statements) = statements {
        return Ok(Parsed::Statements(statements));
    }
    let query = cached_query(sql, &brake);
    brake.check()?;
    Ok(query.map_or(Parsed::Nothing, Parsed::Cached))
}

/// The query of `CACHE TABLE`, where it stands in brackets, which is no form of sqlparser's. See [`crate::query`].
fn cached_query(sql: &str, brake: &Brake) -> Option<Box<Query>> {
    let mut parser = Parser::new(brake).try_with_sql(sql).ok()?;
    while parser.consume_token(&Token::SemiColon) {}
    if !parser.parse_keywords(&[Keyword::CACHE, Keyword::TABLE]) {
        return None;
    }
    parser.parse_object_name(false).ok()?;
    let _ = parser.parse_keyword(Keyword::AS);
    parser.parse_query().ok()
}

/// How many tokens the parser may read of a text, those that it reads again included.
pub(super) fn most_read(limits: &SqlLimits) -> usize {
    limits.tokens.saturating_mul(4)
}

/// The error of a text that is read again and again.
pub(super) fn read_again(limits: &SqlLimits) -> Error {
    let what = "the tokens of the statement, counted as often as they are read,";
    over(what, most_read(limits), ConfigField::LimitsSqlTokens)
}

/// The dialect that counts.
#[derive(Debug)]
struct Brake {
    limits: SqlLimits,
    /// How often one place may be read: as if the whole text were read again each time.
    most: usize,
    /// How often each place has been.
    places: RefCell<HashMap<usize, usize>>,
    /// Operands, types, tables and queries that have been read.
    read: Cell<usize>,
    is_over: Cell<bool>,
}

impl Brake {
    fn new(bytes: usize, limits: &SqlLimits) -> Self {
        Self {
            limits: *limits,
            most: (most_read(limits) / (bytes / TOKEN).max(1)).max(AT_LEAST),
            places: RefCell::default(),
            read: Cell::new(0),
            is_over: Cell::new(false),
        }
    }

    /// Something is read. The answer is that of [`GENERIC`].
    fn count(&self, answer: bool) -> bool {
        self.read.set(self.read.get() + 1);
        if self.read.get() > most_read(&self.limits) {
            self.is_over.set(true);
        }
        answer
    }

    fn check(&self) -> Result<()> {
        if self.is_over.get() { Err(read_again(&self.limits)) } else { Ok(()) }
    }
}

/// What is as in [`GENERIC`]: all that is not as in any dialect.
macro_rules! as_generic {
    ($($name:ident)*) => {
        $(fn $name(&self) -> bool {
            GENERIC.$name()
        })*
    };
}

impl Dialect for Brake {
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    /// This is asked before each operand.
    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        self.count(true);
        let mut places = self.places.borrow_mut();
        let times = places.entry(parser.get_current_index()).or_insert(0);
        *times += 1;
        if *times > self.most {
            self.is_over.set(true);
        }
        // Of all errors this is the one that the parser does not try to get around.
        self.is_over.get().then_some(Err(ParserError::RecursionLimitExceeded))
    }

    /// This is asked before each `SELECT`.
    fn supports_from_first_select(&self) -> bool {
        self.count(GENERIC.supports_from_first_select())
    }

    /// This is asked before each table.
    fn supports_values_as_table_factor(&self) -> bool {
        self.count(GENERIC.supports_values_as_table_factor())
    }

    /// This is asked behind each type.
    fn supports_array_typedef_with_brackets(&self) -> bool {
        self.count(GENERIC.supports_array_typedef_with_brackets())
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        GENERIC.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        GENERIC.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        GENERIC.is_identifier_part(ch)
    }

    as_generic! {
        supports_unicode_string_literal
        supports_partition_by_after_order_by
        supports_array_join_syntax
        supports_group_by_expr
        supports_group_by_with_modifier
        supports_left_associative_joins_without_parens
        supports_connect_by
        supports_match_recognize
        supports_pipe_operator
        supports_start_transaction_modifier
        supports_window_function_null_treatment_arg
        supports_dictionary_syntax
        supports_window_clause_named_window_reference
        supports_parenthesized_set_variables
        supports_select_wildcard_except
        support_map_literal_syntax
        allow_extract_custom
        allow_extract_single_quotes
        supports_extract_comma_syntax
        supports_create_view_comment_syntax
        supports_parens_around_table_factor
        supports_create_index_with_clause
        supports_explain_with_utility_options
        supports_limit_comma
        supports_update_order_by
        supports_projection_trailing_commas
        supports_asc_desc_in_column_definition
        supports_try_convert
        supports_bitwise_shift_operators
        supports_comment_on
        supports_load_extension
        supports_named_fn_args_with_assignment_operator
        supports_struct_literal
        supports_empty_projections
        supports_nested_comments
        supports_multiline_comment_hints
        supports_user_host_grantee
        supports_string_escape_constant
        supports_match_against
        supports_set_names
        supports_comma_separated_set_assignments
        supports_filter_during_aggregation
        supports_select_wildcard_exclude
        supports_data_type_signed_suffix
        supports_interval_options
        supports_quote_delimited_string
        supports_select_wildcard_replace
        supports_select_wildcard_ilike
        supports_select_wildcard_rename
        supports_optimize_table
        supports_install
        supports_detach
        supports_prewhere
        supports_with_fill
        supports_limit_by
        supports_interpolate
        supports_settings
        supports_select_format
        supports_comment_optimizer_hint
        supports_constraint_keyword_without_name
        supports_key_column_option
        supports_comma_separated_trim
        supports_cte_without_as
        supports_select_item_multi_column_alias
        supports_xml_expressions
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::DFParser;

    use super::*;
    use crate::limits::stack::deep;

    fn parse(sql: &str, limits: &SqlLimits) -> Result<Parsed> {
        deep(|| super::parse(sql, limits))
    }

    /// What lies in each other, with an end that makes it fail or not.
    fn nested(open: &str, times: usize, middle: &str, close: &str) -> String {
        format!("SELECT {}{middle}{}", open.repeat(times), close.repeat(times))
    }

    #[test]
    fn a_text_that_is_read_again_and_again_is_refused() {
        let limits = SqlLimits::default();
        for sql in [
            nested("CAST(", 40, "1", ")"),
            nested("CAST(", 60, "1", ")"),
            nested("TRY_CAST(", 40, "1", ")"),
            nested("a.CAST(", 20, "1", ")"),
            nested("x-not-b.", 30, "", ""),
            nested("", 0, &format!("1+{}", "a.".repeat(40)), ""),
        ] {
            let error = parse(&sql, &limits).unwrap_err();
            assert_eq!(error.field(), Some(ConfigField::LimitsSqlTokens), "{sql}: {error}");
        }
        // In the form of ours, too.
        let cast = nested("CAST(", 40, "1", ")");
        for sql in [format!("CACHE TABLE t AS {cast}"), format!("CACHE TABLE t ({cast})")] {
            assert!(parse(&sql, &limits).is_err(), "{sql}");
        }
    }

    /// Whatever the parser makes of these: it ends.
    #[test]
    fn no_word_takes_the_parser_for_ever() {
        let limits = SqlLimits { tokens: 200, ..SqlLimits::default() };
        for word in [
            "ARRAY",
            "CASE",
            "CEIL",
            "CONVERT",
            "EXISTS",
            "EXTRACT",
            "FLOOR",
            "INTERVAL",
            "MAP",
            "MATCH",
            "NOT",
            "NULLABLE",
            "OVERLAY",
            "POSITION",
            "SAFE_CAST",
            "STRUCT",
            "SUBSTR",
            "SUBSTRING",
            "TRIM",
            "TRY_CONVERT",
            "TUPLE",
            "UNION",
        ] {
            for open in [
                format!("{word}("),
                format!("{word}-"),
                format!("{word}[a."),
                format!("{word} "),
                format!("b.{word}-"),
                format!("b.{word}("),
                format!("x-{word}-b."),
                format!("{word}(year FROM "),
                format!("{word}<a INT OPTIONS(x = "),
                format!("x IN ((SELECT {word}("),
            ] {
                for end in ["1", "."] {
                    let _ = parse(&nested(&open, 24, end, ")"), &limits);
                }
            }
        }
    }

    /// Statements that people write, and some that show each thing that the dialect is asked about.
    #[test]
    fn all_else_is_parsed_as_it_is_without_the_brake() {
        let list = |item: &str, between: &str, times: usize| vec![item; times].join(between);
        for sql in [
            nested("CAST(", 12, "a", " AS BIGINT)"),
            nested("CASE WHEN a = 1 THEN ", 8, "b", " ELSE c END"),
            nested("COALESCE(a, ", 12, "b", ")"),
            nested("NOT ", 20, "a", ""),
            nested("- ", 20, "a", ""),
            nested("POSITION('a' IN ", 6, "b", ")"),
            nested("SUBSTRING(", 10, "b", " FROM 1 FOR 2)"),
            nested("(SELECT max(a) FROM ((SELECT ", 6, "a", " FROM t) AS x JOIN u ON x.a = u.a))"),
            format!("SELECT {}", list("CAST(a AS INT)", ", ", 5_000)),
            format!("SELECT {}", list("NOT a", " AND ", 100)),
            format!("SELECT CASE {} ELSE 0 END", list("WHEN a = 1 AND NOT b THEN CAST(c AS INT)", " ", 500)),
            format!("INSERT INTO t VALUES {}", list("(1, -2, 'c', DATE '2020-01-01')", ", ", 5_000)),
            "SELECT l_returnflag, sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS charge FROM lineitem \
             WHERE l_shipdate <= date '1998-12-01' - INTERVAL '90' DAY GROUP BY l_returnflag ORDER BY 1 LIMIT 5, 10"
                .to_owned(),
            "SELECT extract(year FROM o_orderdate), substring(c_phone FROM 1 FOR 2) FROM orders, (SELECT * FROM c) AS c \
             WHERE o_comment NOT LIKE '%a%' AND EXISTS (SELECT * FROM l WHERE l.k = o.k) GROUP BY GROUPING SETS ((a), ())"
                .to_owned(),
            "SELECT * EXCEPT (a) FROM t |> WHERE a > 1 |> EXTEND 1 AS b".to_owned(),
            "FROM t".to_owned(),
            "SELECT a.b.c, [1, 2][1], {'a': 1}, STRUCT(1 AS a), E'\\n', U&'\\0061', trim(a, 'b') FROM VALUES (1), (2)".to_owned(),
            "SELECT f(a, b => 1) FILTER (WHERE c) OVER (PARTITION BY a ORDER BY b ROWS 1 PRECEDING) FROM t".to_owned(),
            "WITH a AS (SELECT 1), b (SELECT 2) SELECT * FROM a NATURAL JOIN b WHERE x IS DISTINCT FROM y".to_owned(),
            "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION 'a'; EXPLAIN (ANALYZE) SELECT 1; SET a = 1".to_owned(),
            "COPY (SELECT 1) TO 'a.csv' STORED AS CSV; CREATE VIEW v AS SELECT x::INT[] FROM t; DESCRIBE t".to_owned(),
            "SELECT 1 << 2, 7 // 2, a:b, x -> 'y', /* a /* comment */ */ q'[it''s]'".to_owned(),
        ] {
            let expected = deep(|| DFParser::parse_sql(&sql));
            match (parse(&sql, &SqlLimits::default()).unwrap(), expected) {
                (Parsed::Statements(found), Ok(expected)) => assert_eq!(found, expected, "{sql:.80}"),
                (found, expected) => panic!("{sql:.80}: {found:?}, not {expected:?}"),
            }
        }
        let cached = parse("CACHE TABLE t (SELECT 1)", &SqlLimits::default()).unwrap();
        assert!(matches!(cached, Parsed::Cached(_)), "{cached:?}");
        assert!(matches!(parse("no SQL at all", &SqlLimits::default()), Ok(Parsed::Nothing)));
    }
}
