//! The limits of a statement's text, by its tokens.

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::SqlLimits;
use super::brake::{most_read, read_again};
use super::names::check_parsed;
use super::over;
use super::tokens::{Place, closes, see};
use crate::{ConfigField, Error, Result};

/// How many bytes are cut into tokens at first. A text that is over a limit early on is not read to its end.
const FIRST_PIECE: usize = 64 * 1024;

/// How deep brackets, types and `INTERVAL`s may lie in each other. The parser reads no expression and no query in more than 50
/// brackets, but what else calls itself has no limit there: types, patterns of rows, `INTERVAL INTERVAL INTERVAL …`.
const NESTING: usize = 100;

/// Checks that a text of SQL, one statement or several, is within the limits. The error names the limit and its setting.
///
/// A text that cannot be cut into tokens is left to the parser, which says what is wrong with it.
pub(crate) fn check_sql(sql: &str, limits: &SqlLimits) -> Result<()> {
    check_sql_and(sql, limits, |_| Ok(()))
}

/// Checks like [`check_sql`], and hands each statement within the limits to `also`.
pub(crate) fn check_sql_and(
    sql: &str,
    limits: &SqlLimits,
    also: impl Fn(&Statement) -> Result<()>,
) -> Result<()> {
    if sql.len() > limits.bytes {
        return Err(over("the length of the statement in bytes", limits.bytes, ConfigField::LimitsSqlBytes));
    }
    let mut size = FIRST_PIECE;
    loop {
        let piece = &sql[..sql.floor_char_boundary(size)];
        let mut tokens = Vec::new();
        // Its error is the parser's to tell. The tokens before it are right.
        let _ = Tokenizer::new(&GenericDialect {}, piece)
            .with_unescape(false)
            .tokenize_with_location_into_buf(&mut tokens);
        let is_whole = piece.len() == sql.len();
        check_tokens(&tokens, is_whole, limits)?;
        if is_whole {
            return check_parsed(sql, limits, also);
        }
        size = size.saturating_mul(4);
    }
}

fn too_deep(limits: &SqlLimits) -> Error {
    over("the depth of the statement", limits.depth, ConfigField::LimitsSqlDepth)
}

/// An upper bound for the depth of the tree, but for the few levels that precedences may add.
///
/// `is_whole` says that all tokens of a text are there, and not those of its beginning alone.
fn check_tokens(tokens: &[TokenWithSpan], is_whole: bool, limits: &SqlLimits) -> Result<()> {
    let nesting = limits.depth.min(NESTING);
    let mut place = Place::default();
    let (mut count, mut read, mut behind_period, mut is_first) = (0_usize, 0_usize, false, true);
    for (index, TokenWithSpan { token, .. }) in tokens.iter().enumerate() {
        if matches!(token, Token::Whitespace(_)) {
            continue;
        }
        count += 1;
        if count > limits.tokens {
            return Err(over("the tokens of the statement", limits.tokens, ConfigField::LimitsSqlTokens));
        }
        if is_first && explains_twice(tokens.get(index..).unwrap_or_default()) {
            return Err(Error::UnsupportedStatement {
                statement: "EXPLAIN of an EXPLAIN",
                instead: "it stands once, before the statement whose plan it shows",
            });
        }
        is_first = *token == Token::SemiColon;
        let is_path = matches!(token, Token::Period) || behind_period;
        see(token, behind_period, &mut place);
        if !is_path && !closes(token) {
            place.level.path = 0;
        }
        behind_period = *token == Token::Period;
        let level = &place.level;
        if level.depth() > limits.depth {
            return Err(too_deep(limits));
        }
        if place.levels.len().max(level.types).max(level.intervals) > nesting {
            let what = "the brackets, types and INTERVALs in each other in the statement";
            return Err(over(what, nesting, ConfigField::LimitsSqlDepth));
        }
        read = read.saturating_add(level.readings.max(1));
        if read > most_read(limits) {
            return Err(read_again(limits));
        }
    }
    if !is_whole {
        return Ok(());
    }
    while !place.levels.is_empty() {
        place.close();
    }
    if place.level.depth() > limits.depth { Err(too_deep(limits)) } else { Ok(()) }
}

/// Whether `EXPLAIN` stands before an `EXPLAIN` at the beginning of these tokens. DataFusion's parser calls itself for each, without
/// a limit, and its planner refuses the second.
fn explains_twice(tokens: &[TokenWithSpan]) -> bool {
    fn is(token: &Token, expected: &[Keyword]) -> bool {
        matches!(token, Token::Word(word) if expected.contains(&word.keyword))
    }
    let mut left = tokens
        .iter()
        .map(|token| &token.token)
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .peekable();
    let mut explains = 0_usize;
    while explains < 2 && left.next_if(|token| is(token, &[Keyword::EXPLAIN])).is_some() {
        explains += 1;
        // Options stand in brackets, or as words.
        let mut open = 0_usize;
        while let Some(token) = left.next_if(|token| open > 0 || **token == Token::LParen) {
            match token {
                Token::LParen => open += 1,
                Token::RParen => open = open.saturating_sub(1),
                _ => {}
            }
        }
        while left.next_if(|token| is(token, &[Keyword::ANALYZE, Keyword::VERBOSE])).is_some() {}
        if left.next_if(|token| is(token, &[Keyword::FORMAT])).is_some() {
            left.next();
        }
    }
    explains > 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn setting(sql: &str, limits: &SqlLimits) -> Option<ConfigField> {
        match check_sql(sql, limits) {
            Ok(()) => None,
            Err(error @ Error::OverLimit { setting, .. }) => {
                assert!(error.to_string().contains(setting.name()), "{error}");
                Some(setting)
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_grows_a_tree_is_counted() {
        let limits = SqlLimits { depth: 40, ..SqlLimits::default() };
        let row = |first: &str, next: &str, times: usize| format!("{first}{}", next.repeat(times));
        for (first, next) in [
            ("SELECT 1", "+1"),
            ("SELECT 1", " - 1"),
            ("SELECT 'a'", "||'a'"),
            ("SELECT a", "::INT"),
            ("SELECT a", " IS NULL"),
            ("SELECT a", " COLLATE x"),
            ("SELECT a", " AT TIME ZONE 'UTC'"),
            ("SELECT a", " -> 'b'"),
            ("SELECT a", "[0]"),
            ("SELECT a", ".b"),
            ("SELECT (a)", ".b"),
            ("SELECT CAST(a AS INT", "[]"),
            ("SELECT ", "- "),
            ("SELECT ", "NOT "),
            ("SELECT * FROM t WHERE a = 0", " OR a = 1"),
            ("SELECT * FROM t WHERE a = 0", " AND a LIKE 'x'"),
            ("SELECT 1", " UNION ALL SELECT 1"),
            ("SELECT 1", " EXCEPT SELECT 1"),
            ("SELECT * FROM a", ", a"),
            ("SELECT * FROM a", " JOIN a ON x = y"),
            ("SELECT * FROM a", " LEFT JOIN a USING (b)"),
            ("SELECT * FROM a", " CROSS JOIN a"),
            ("SELECT ", "("),
            ("SELECT ", "(SELECT "),
            ("SELECT ", "CASE WHEN a THEN "),
            ("SELECT ", "f("),
            // What looks like the keyword of a clause, and is a name or a part of an operand.
            ("SELECT 1", "+on"),
            ("SELECT 1", " * set"),
            ("SELECT 1", " AND values"),
            ("SELECT 1", " - window"),
            ("SELECT a", " LIKE offset"),
            ("SELECT a", " AT TIME ZONE group"),
            ("SELECT a", " SIMILAR TO having"),
            ("SELECT a", " OPERATOR(+) on"),
            ("SELECT a", " IS DISTINCT FROM b"),
            ("SELECT a", "+ distinct * 2"),
            ("SELECT 1", " + when + then"),
            ("SELECT 1", " + TIMESTAMP WITH TIME ZONE 'x'"),
            ("SELECT 1", " + f(a) WITHIN GROUP (ORDER BY b)"),
            ("SELECT CASE WHEN a", " + end"),
            ("SELECT 1", " + case + 1"),
            ("SELECT * FROM a, where", ", a"),
            ("SELECT * FROM a AS where", ", a"),
            ("SELECT * FROM a apply", ", a"),
            ("SELECT * FROM a values", ", (b)"),
            ("SELECT * FROM values", ", a"),
            ("SELECT * FROM VALUES (1)", " a, (b)"),
            ("SELECT * FROM VALUES (1) values", ", (b)"),
            ("SELECT * FROM a WITH (b)", ", a"),
            ("SELECT * FROM a TABLESAMPLE where", ", a"),
            ("SELECT * FROM a TABLESAMPLE (1) OFFSET where", ", a"),
            ("SELECT * FROM a JOIN b ON where", ", a"),
            // Pipes, and what the parser reads in a loop of its own.
            ("SELECT * FROM a", " |> EXTEND 1 AS b"),
            ("SELECT * FROM a", " |> WHERE b"),
            ("SELECT * FROM a |> UNION ALL (SELECT 1)", ", (SELECT 1)"),
            ("SELECT ", "INTERVAL "),
            ("SELECT ", "INTERVAL DAY "),
            ("SELECT CAST(a AS ", "ARRAY<"),
            ("SELECT CAST(a AS ", "STRUCT<a INT, b "),
            ("SELECT CAST(a AS ", "NULLABLE("),
            ("SELECT * FROM a MATCH_RECOGNIZE (PATTERN (b", " ?"),
            ("SELECT * FROM a MATCH_RECOGNIZE (PATTERN (b", "{1}"),
            ("SELECT * FROM a MATCH_RECOGNIZE (PATTERN (b", " | b"),
        ] {
            assert_eq!(setting(&row(first, next, 10), &limits), None, "{first} {next}");
            let long = setting(&row(first, next, 60), &limits);
            assert_eq!(long, Some(ConfigField::LimitsSqlDepth), "{first} {next}");
        }
    }

    #[test]
    fn what_lies_side_by_side_is_not_deep() {
        let limits = SqlLimits { depth: 40, ..SqlLimits::default() };
        let rows: Vec<String> = (0..500).map(|n| format!("({n}, -{n} + 1, 'it''s')")).collect();
        let list = |item: &str| vec![item; 500].join(", ");
        for sql in [
            format!("INSERT INTO t VALUES {}", rows.join(", ")),
            format!("SELECT {} FROM a.b.c", list("t.a + t.b * 2 AS c")),
            format!("SELECT a FROM t WHERE a IN ({}) OR b", list("-1")),
            format!("SELECT f({})", list("a.b = 1 AND c")),
            format!("SELECT * FROM t ORDER BY {}", list("a + b DESC")),
            format!("SELECT CASE {} ELSE 0 END", "WHEN a = 1 AND b = 2 THEN c + 1 ".repeat(500)),
            format!("WITH {} SELECT 1", list("a AS (SELECT x + 1 FROM y)")),
            format!("SELECT * FROM VALUES {}", rows.join(", ")),
            format!("SELECT {} FROM t", list("a IS NOT DISTINCT FROM b")),
            format!("SELECT {} FROM t", list("EXTRACT(YEAR FROM a), offset, 'a' || values")),
            format!("SELECT {} FROM t", list("a + INTERVAL '1' DAY, INTERVAL (b) DAY, ARRAY[1] < ARRAY[2]")),
            format!("SELECT {} FROM t", list("CAST(a AS STRUCT<a INT, b ARRAY<INT>>)")),
            format!("SELECT CASE offset {} END", "WHEN 1 THEN a + 1 ".repeat(500)),
            format!("SELECT {}", list("CASE WHEN a THEN 1 + 1 ELSE 2 END, count(*), ?")),
            format!("UPDATE t SET {}", list("a = b + 1")),
            format!("SELECT a FROM t, u WHERE x::TIMESTAMP WITH TIME ZONE = y GROUP BY {}", list("a")),
            format!("MERGE INTO t USING u ON a = b {}", "WHEN MATCHED THEN UPDATE SET x = 1 ".repeat(500)),
            vec!["SELECT 1 + 1"; 500].join("; "),
            format!("SELECT '{}'", "1 + 1".repeat(500)),
            format!("SELECT 1 -- {}", "1 + 1".repeat(500)),
            "SELECT 'open".to_owned(),
            "SELECT ) ) ] }".to_owned(),
            "END END CASE CASE )".to_owned(),
            String::new(),
        ] {
            assert_eq!(setting(&sql, &limits), None, "{sql:.80}");
        }
    }

    #[test]
    fn what_is_in_brackets_counts_beside_what_is_around_them() {
        let limits = SqlLimits { depth: 40, ..SqlLimits::default() };
        let inner = format!("({})", vec!["a"; 30].join(" + "));
        assert_eq!(setting(&format!("SELECT {inner}, {inner}"), &limits), None);
        assert_eq!(setting(&format!("SELECT {}", [inner.as_str(); 9].join(" = ")), &limits), None);
        // The first operand is the deepest: all others come on top.
        let long = format!("SELECT {inner} {}", "+ a ".repeat(30));
        assert_eq!(setting(&long, &limits), Some(ConfigField::LimitsSqlDepth));
        let union = format!("SELECT * FROM ({}) WHERE {}", inner, "a OR ".repeat(30));
        assert_eq!(setting(&union, &limits), None);
    }

    /// The parser calls itself for these without a limit of its own, however deep a statement may be.
    #[test]
    fn brackets_types_and_intervals_lie_in_each_other_no_deeper_than_people_write() {
        let limits = SqlLimits { depth: SqlLimits::DEEPEST, ..SqlLimits::default() };
        for (open, close) in [
            ("NULLABLE(", ")"),
            ("ARRAY<", ">"),
            ("STRUCT<a INT, b ", ">"),
            ("NESTED(a ARRAY<", ">)"),
            ("LOWCARDINALITY(", ")"),
        ] {
            let cast =
                |times: usize| format!("SELECT CAST(a AS {}INT{})", open.repeat(times), close.repeat(times));
            assert_eq!(setting(&cast(20), &limits), None, "{open}");
            assert_eq!(setting(&cast(2_000), &limits), Some(ConfigField::LimitsSqlDepth), "{open}");
        }
        for next in ["INTERVAL ", "INTERVAL DAY TO SECOND ", "INTERVAL (3) "] {
            let text = |times: usize| format!("SELECT {}'1' DAY", next.repeat(times));
            assert_eq!(setting(&text(5), &limits), None, "{next}");
            assert_eq!(setting(&text(2_000), &limits), Some(ConfigField::LimitsSqlDepth), "{next}");
        }
        let beside = "a BETWEEN INTERVAL b AND INTERVAL c".to_owned();
        assert_eq!(setting(&format!("SELECT {}", vec![beside; 500].join(" OR ")), &limits), None);
    }

    #[test]
    fn explain_stands_once() {
        let limits = SqlLimits::default();
        for between in [
            "",
            "ANALYZE ",
            "VERBOSE ",
            "ANALYZE VERBOSE ",
            "FORMAT TREE ",
            "(ANALYZE, FORMAT (tree)) ",
            "/* a */",
        ] {
            for times in [2, 100_000 / (between.len() + 8)] {
                let sql = format!("SELECT 1; {} SELECT 1", format!("EXPLAIN {between}").repeat(times));
                let error = check_sql(&sql, &limits).unwrap_err();
                assert!(matches!(error, Error::UnsupportedStatement { .. }), "{sql:.80}: {error}");
            }
            check_sql(&format!("EXPLAIN {between}SELECT explain, 1 AS explain FROM explain"), &limits)
                .unwrap();
        }
        check_sql("EXPLAIN SELECT 1; EXPLAIN SELECT 1", &limits).unwrap();
    }

    /// Each of several brackets may be the one that a table begins with, and is tried.
    #[test]
    fn brackets_before_queries_in_brackets_before_queries_are_refused() {
        let limits = SqlLimits::default();
        let nested = |open: &str, times: usize, close: &str| {
            format!("SELECT * FROM {}t{}", open.repeat(times), close.repeat(times))
        };
        for open in
            ["((SELECT * FROM ", "((((SELECT * FROM ", "((((FROM ", "(((WITH a AS (SELECT 1) SELECT * FROM "]
        {
            let closed = ") x".repeat(open.matches('(').count());
            for close in ["", closed.as_str()] {
                let error = setting(&nested(open, 18, close), &limits);
                assert_eq!(error, Some(ConfigField::LimitsSqlTokens), "{open}");
            }
        }
        for (open, close) in [
            ("((SELECT a FROM ", ") AS x JOIN u ON x.a = u.a)"),
            ("(SELECT a FROM ", ") AS x"),
            ("(SELECT * FROM t WHERE ((((a = 1)))) AND a IN (SELECT a FROM ", "))"),
        ] {
            assert_eq!(setting(&nested(open, 8, close), &limits), None, "{open}");
        }
        let flat = vec!["SELECT * FROM ((SELECT 1) UNION (SELECT 2)) AS x"; 500].join(" UNION ALL ");
        assert_eq!(setting(&flat, &limits), None);
    }

    #[test]
    fn length_and_tokens_have_limits() {
        let limits = SqlLimits::default();
        let long = format!("SELECT '{}'", "x".repeat(limits.bytes));
        assert_eq!(setting(&long, &limits), Some(ConfigField::LimitsSqlBytes));
        let many = format!("SELECT {}1", "1,".repeat(limits.tokens));
        assert_eq!(setting(&many, &limits), Some(ConfigField::LimitsSqlTokens));
        let fits = format!("SELECT {}1", "1,".repeat(limits.tokens / 2 - 10));
        assert_eq!(setting(&fits, &limits), None);
    }

    #[test]
    fn the_experiments_are_refused_at_once() {
        let limits = SqlLimits { bytes: usize::MAX, ..SqlLimits::default() };
        let sum = format!("SELECT {}", vec!["1"; 500_000].join("+"));
        assert_eq!(setting(&sum, &limits), Some(ConfigField::LimitsSqlDepth));
        let terms: Vec<String> = (0..200_000).map(|n| format!("sequence={n}")).collect();
        let either = format!("SELECT count(*) FROM predictions WHERE {}", terms.join(" OR "));
        assert_eq!(setting(&either, &limits), Some(ConfigField::LimitsSqlDepth));
    }
}
