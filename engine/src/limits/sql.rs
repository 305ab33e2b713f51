//! The limits of a statement's text, by its tokens.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};

use super::SqlLimits;
use super::names::check_names;
use super::over;
use crate::{ConfigField, Result};

/// How many bytes are cut into tokens at first. A text that is over a limit early on is not read to its end.
const FIRST_PIECE: usize = 64 * 1024;

/// Checks that a text of SQL, one statement or several, is within the limits. The error names the limit and its setting.
///
/// A text that cannot be cut into tokens is left to the parser, which says what is wrong with it.
pub(crate) fn check_sql(sql: &str, limits: &SqlLimits) -> Result<()> {
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
        check_tokens(&tokens, limits)?;
        if piece.len() == sql.len() {
            return check_names(sql, limits);
        }
        size = size.saturating_mul(4);
    }
}

/// The part of a statement between two brackets.
#[derive(Debug, Default)]
struct Level {
    /// The depth of the expression that is being read.
    expression: usize,
    /// The depth of the deepest one before it.
    deepest: usize,
    /// Joins and set operations, each of which is one level of the plan.
    chain: usize,
    /// Whether a comma stands between tables, which is a join.
    tables: bool,
    /// Names and subscripts behind one another, such as `a.b.c`.
    path: usize,
    /// Whether `CASE` began it, which `END` ends.
    is_case: bool,
}

impl Level {
    /// An expression ends: what follows is beside it and not above it.
    fn end_expression(&mut self) {
        self.deepest = self.deepest.max(self.expression);
        self.expression = 0;
    }

    fn depth(&self) -> usize {
        self.chain + self.deepest.max(self.expression)
    }

    /// What a bracket that has just been closed holds is an operand here.
    fn take(&mut self, inner: &Self) {
        self.expression = self.expression.max(inner.depth() + 1);
    }
}

/// An upper bound for the depth of the tree, but for the few levels that precedences may add.
fn check_tokens(tokens: &[TokenWithSpan], limits: &SqlLimits) -> Result<()> {
    let too_deep = || over("the depth of the statement", limits.depth, ConfigField::LimitsSqlDepth);
    let mut levels: Vec<Level> = Vec::new();
    let mut level = Level::default();
    let (mut count, mut behind_period) = (0, false);
    for TokenWithSpan { token, .. } in tokens {
        if matches!(token, Token::Whitespace(_)) {
            continue;
        }
        count += 1;
        if count > limits.tokens {
            return Err(over("the tokens of the statement", limits.tokens, ConfigField::LimitsSqlTokens));
        }
        let is_path = matches!(token, Token::Period) || behind_period;
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                if *token == Token::LBracket {
                    level.expression += 1;
                }
                levels.push(std::mem::take(&mut level));
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                // One `CASE` more than there is an `END` is for the parser to complain about.
                while let Some(mut outer) = levels.pop() {
                    outer.take(&level);
                    let was_case = std::mem::replace(&mut level, outer).is_case;
                    if !was_case {
                        break;
                    }
                }
            }
            Token::Comma => {
                level.end_expression();
                level.chain += usize::from(level.tables);
            }
            Token::SemiColon => {
                levels.clear();
                level = Level::default();
            }
            Token::Word(Word { keyword, quote_style: None, .. }) if !behind_period => {
                word(*keyword, &mut levels, &mut level);
            }
            Token::Period => {
                level.path += 1;
                // A table's full name and a column are no path yet.
                level.expression += usize::from(level.path > 3);
            }
            token if is_operand(token) => {}
            _ => level.expression += 1,
        }
        if !is_path && !matches!(token, Token::RParen | Token::RBracket | Token::RBrace) {
            level.path = 0;
        }
        behind_period = *token == Token::Period;
        if level.depth() > limits.depth || levels.len() > limits.depth {
            return Err(too_deep());
        }
    }
    while let Some(mut outer) = levels.pop() {
        outer.take(&level);
        level = outer;
    }
    if level.depth() > limits.depth { Err(too_deep()) } else { Ok(()) }
}

/// What a keyword means for the depth. One that is a name here, such as a column called `at`, counts too much and not too
/// little.
fn word(keyword: Keyword, levels: &mut Vec<Level>, level: &mut Level) {
    match keyword {
        Keyword::AND
        | Keyword::OR
        | Keyword::XOR
        | Keyword::NOT
        | Keyword::IS
        | Keyword::NOTNULL
        | Keyword::IN
        | Keyword::BETWEEN
        | Keyword::LIKE
        | Keyword::ILIKE
        | Keyword::RLIKE
        | Keyword::REGEXP
        | Keyword::SIMILAR
        | Keyword::MATCH
        | Keyword::MEMBER
        | Keyword::OVERLAPS
        | Keyword::OPERATOR
        | Keyword::DIV
        | Keyword::COLLATE
        | Keyword::AT => level.expression += 1,
        Keyword::UNION
        | Keyword::INTERSECT
        | Keyword::EXCEPT
        | Keyword::MINUS
        | Keyword::JOIN
        | Keyword::APPLY
        | Keyword::PIVOT
        | Keyword::UNPIVOT
        | Keyword::MATCH_RECOGNIZE
        | Keyword::VIEW => {
            level.end_expression();
            level.chain += 1;
            level.tables = keyword == Keyword::JOIN && level.tables;
        }
        Keyword::FROM | Keyword::USING => {
            level.end_expression();
            level.tables = true;
        }
        Keyword::SELECT
        | Keyword::WHERE
        | Keyword::GROUP
        | Keyword::HAVING
        | Keyword::ORDER
        | Keyword::LIMIT
        | Keyword::OFFSET
        | Keyword::VALUES
        | Keyword::QUALIFY
        | Keyword::WINDOW
        | Keyword::SET
        | Keyword::WITH => {
            level.end_expression();
            level.tables = false;
        }
        Keyword::ON | Keyword::WHEN | Keyword::THEN | Keyword::ELSE => level.end_expression(),
        Keyword::CASE => levels.push(std::mem::replace(level, Level { is_case: true, ..Level::default() })),
        Keyword::END => {
            if level.is_case
                && let Some(mut outer) = levels.pop()
            {
                outer.take(level);
                *level = outer;
            }
        }
        _ => {}
    }
}

/// Whether a token stands between operators. What is not known to is taken for an operator.
fn is_operand(token: &Token) -> bool {
    matches!(
        token,
        Token::EOF
            | Token::Word(_)
            | Token::Number(..)
            | Token::Char(_)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::TripleSingleQuotedString(_)
            | Token::TripleDoubleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::SingleQuotedByteStringLiteral(_)
            | Token::DoubleQuotedByteStringLiteral(_)
            | Token::TripleSingleQuotedByteStringLiteral(_)
            | Token::TripleDoubleQuotedByteStringLiteral(_)
            | Token::SingleQuotedRawStringLiteral(_)
            | Token::DoubleQuotedRawStringLiteral(_)
            | Token::TripleSingleQuotedRawStringLiteral(_)
            | Token::TripleDoubleQuotedRawStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::QuoteDelimitedStringLiteral(_)
            | Token::NationalQuoteDelimitedStringLiteral(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::Placeholder(_)
            | Token::RArrow
    )
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
