//! Splits a text into SQL statements at its semicolons. Strings, quoted names, comments and dollar quotes may hold
//! semicolons that end nothing.
//!
//! The parser's own tokenizer says where they are, so that a shell cuts a script exactly as the parser would read it. A
//! statement that is still being typed may end inside of a string or a comment: that is [`Statement::Open`].

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer, TokenizerError};

/// How many bytes of a text are looked at first. A statement that is longer is looked at in pieces of twice the size, so
/// that a script of many statements is not read to its end for each of them.
const FIRST_PIECE: usize = 512;

/// What a text starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement<'a> {
    /// A statement that a semicolon ends.
    Complete {
        /// The statement, without its semicolon and without comments before it.
        text: &'a str,
        /// The text behind the semicolon.
        rest: &'a str,
    },
    /// A statement with no semicolon behind it, which may or may not be finished.
    Unterminated(&'a str),
    /// The beginning of a statement, which ends inside of a string, a quoted name or a comment.
    Open(&'a str),
    /// Blanks and comments only.
    Blank,
}

impl<'a> Statement<'a> {
    /// The first statement of a text. Semicolons with no statement before them are skipped.
    pub fn first(text: &'a str) -> Self {
        let mut text = text;
        loop {
            text = match skip_blanks(text) {
                Ok("") => return Self::Blank,
                Ok(text) => text,
                Err(open) => return Self::Open(open),
            };
            match text.strip_prefix(';') {
                Some(rest) => text = rest,
                None => break,
            }
        }
        let mut size = FIRST_PIECE;
        loop {
            let piece = &text[..text.floor_char_boundary(size)];
            let (semicolon, read) = first_semicolon(piece);
            if let Some(at) = semicolon {
                return Self::complete(text, at);
            }
            if piece.len() < text.len() {
                size = size.saturating_mul(2);
                continue;
            }
            return match read {
                Ok(()) => Self::Unterminated(text.trim_end()),
                Err(error) if is_unfinished(&error) => Self::Open(text),
                // What is no token at all is for the parser to complain about: the next semicolon ends it.
                Err(error) => {
                    let from = offset(text, error.location);
                    match text[from..].find(';') {
                        Some(at) => Self::complete(text, from + at),
                        None => Self::Unterminated(text.trim_end()),
                    }
                }
            };
        }
    }

    fn complete(text: &'a str, semicolon: usize) -> Self {
        Self::Complete { text: text[..semicolon].trim_end(), rest: &text[semicolon + 1..] }
    }

    /// The text behind blanks and comments; all of it where a comment has no end.
    pub fn skip_blanks(text: &str) -> &str {
        skip_blanks(text).unwrap_or(text)
    }
}

/// Where the first semicolon is that ends something, and whether the tokenizer could read the text.
///
/// A semicolon in the beginning of a text is one in the whole of it, too: no token before it depends on what follows it.
fn first_semicolon(text: &str) -> (Option<usize>, Result<(), TokenizerError>) {
    let mut tokens = Vec::new();
    let read = Tokenizer::new(&GenericDialect {}, text)
        .with_unescape(false)
        .tokenize_with_location_into_buf(&mut tokens);
    let semicolon = tokens.iter().find(|token| token.token == Token::SemiColon);
    (semicolon.map(|token| offset(text, token.span.start)), read)
}

/// Whether the tokenizer came to the end of the text inside of a token. Only its message says so.
fn is_unfinished(error: &TokenizerError) -> bool {
    error.message.starts_with("Unterminated") || error.message.contains("EOF")
}

/// The position in bytes of a location, which counts lines and characters from 1.
fn offset(text: &str, location: Location) -> usize {
    let count = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
    let line: usize = text.split_inclusive('\n').take(count(location.line)).map(str::len).sum();
    let column = text[line..].char_indices().nth(count(location.column));
    column.map_or(text.len(), |(at, _)| line + at)
}

/// The text behind blanks and comments. The comment that has no end, where there is one.
fn skip_blanks(text: &str) -> Result<&str, &str> {
    let mut text = text.trim_start();
    loop {
        let behind = if text.starts_with("--") {
            text.split_once('\n').map_or("", |(_, rest)| rest)
        } else if text.starts_with("/*") {
            behind_comment(text).ok_or(text)?
        } else {
            return Ok(text);
        };
        text = behind.trim_start();
    }
}

/// What follows the comment `/* … */` that a text starts with. Comments nest.
fn behind_comment(text: &str) -> Option<&str> {
    let (mut depth, mut rest) = (0_usize, text);
    loop {
        let close = rest.find("*/")?;
        let open = rest.find("/*").filter(|open| *open < close);
        rest = &rest[open.unwrap_or(close) + 2..];
        depth = if open.is_some() { depth + 1 } else { depth - 1 };
        if depth == 0 {
            return Some(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All complete statements, and what comes behind them.
    fn split(text: &str) -> (Vec<&str>, Statement<'_>) {
        let (mut statements, mut left) = (Vec::new(), text);
        loop {
            match Statement::first(left) {
                Statement::Complete { text, rest } => {
                    statements.push(text);
                    left = rest;
                }
                last => return (statements, last),
            }
        }
    }

    #[test]
    fn statements_end_at_semicolons_that_are_no_part_of_anything_else() {
        use Statement::{Blank, Open, Unterminated};
        let cases: [(&str, &[&str], Statement<'_>); 39] = [
            ("", &[], Blank),
            (" \n\t", &[], Blank),
            (";;", &[], Blank),
            ("-- a; b\n", &[], Blank),
            ("/* a; /* b; */ c; */", &[], Blank),
            ("SELECT 1;", &["SELECT 1"], Blank),
            ("SELECT 1 ;\n", &["SELECT 1"], Blank),
            ("SELECT 1", &[], Unterminated("SELECT 1")),
            ("SELECT 1; SELECT 2", &["SELECT 1"], Unterminated("SELECT 2")),
            ("; -- none\n ;SELECT 1;;SELECT 2;", &["SELECT 1", "SELECT 2"], Blank),
            ("-- first\nSELECT 1;", &["SELECT 1"], Blank),
            ("SELECT ';', 'it''s;';", &["SELECT ';', 'it''s;'"], Blank),
            ("SELECT \"a;b\", `c;d`;", &["SELECT \"a;b\", `c;d`"], Blank),
            ("SELECT 1 -- ;\n, 2;", &["SELECT 1 -- ;\n, 2"], Blank),
            ("SELECT 1 /* ; */;", &["SELECT 1 /* ; */"], Blank),
            ("SELECT 1 --", &[], Unterminated("SELECT 1 --")),
            ("SELECT $$;$$;", &["SELECT $$;$$"], Blank),
            ("SELECT $a$;$$;$b$;$a$;", &["SELECT $a$;$$;$b$;$a$"], Blank),
            ("SELECT $1; SELECT a$b$c;", &["SELECT $1", "SELECT a$b$c"], Blank),
            ("SELECT e'\\';', E'\\\\';", &["SELECT e'\\';', E'\\\\'"], Blank),
            ("SELECT q'[it's;]';", &["SELECT q'[it's;]'"], Blank),
            ("SELECT 'ä;ö', \"日本;\";", &["SELECT 'ä;ö', \"日本;\""], Blank),
            ("SELECT 'a", &[], Open("SELECT 'a")),
            ("SELECT \"a", &[], Open("SELECT \"a")),
            ("SELECT 1; SELECT 'a;", &["SELECT 1"], Open("SELECT 'a;")),
            ("SELECT 1 /* a;", &[], Open("SELECT 1 /* a;")),
            ("/* a /* b */ ;", &[], Open("/* a /* b */ ;")),
            ("SELECT $x$ a; $y$", &[], Open("SELECT $x$ a; $y$")),
            ("SELECT $$ a;", &[], Open("SELECT $$ a;")),
            ("SELECT `a;", &[], Open("SELECT `a;")),
            ("SELECT e'a\\';", &[], Open("SELECT e'a\\';")),
            ("SELECT b\"a;", &[], Open("SELECT b\"a;")),
            ("SELECT n'a;", &[], Open("SELECT n'a;")),
            ("SELECT r'''a';", &[], Open("SELECT r'''a';")),
            ("SELECT x'0a;", &[], Open("SELECT x'0a;")),
            ("SELECT q'[a;'", &[], Open("SELECT q'[a;'")),
            ("SELECT u&'a;", &[], Open("SELECT u&'a;")),
            ("SELECT u&'\\zz'; SELECT 2;", &["SELECT u&'\\zz'", "SELECT 2"], Blank),
            ("SELECT 1\r\n;\r\nSELECT 2;", &["SELECT 1", "SELECT 2"], Blank),
        ];
        for (text, statements, last) in cases {
            assert_eq!(split(text), (statements.to_vec(), last), "{text:?}");
        }
    }

    #[test]
    fn a_statement_may_be_longer_than_any_piece() {
        for length in [FIRST_PIECE - 12, FIRST_PIECE - 9, FIRST_PIECE, 3 * FIRST_PIECE, 70_000] {
            let first = format!("SELECT '{}'", "é;".repeat(length));
            let text = format!("{first} -- {first}\n;{first}; SELECT '");
            let (statements, last) = split(&text);
            let commented = format!("{first} -- {first}");
            assert_eq!(statements, [commented.as_str(), first.as_str()], "{length}");
            assert_eq!(last, Statement::Open("SELECT '"));
        }
    }

    #[test]
    fn blanks_and_comments_are_skipped() {
        assert_eq!(Statement::skip_blanks(" -- a\n /* b */ \\d"), "\\d");
        assert_eq!(Statement::skip_blanks("/* b"), "/* b");
        assert_eq!(Statement::skip_blanks("-- a"), "");
    }

    /// Where the parser's tokenizer sees semicolons, as the text between them without blanks and comments.
    fn by_tokenizer(text: &str) -> Option<Vec<String>> {
        let tokens = Tokenizer::new(&GenericDialect {}, text).with_unescape(false).tokenize().ok()?;
        let mut statements = vec![String::new()];
        for token in tokens {
            match token {
                Token::SemiColon => statements.push(String::new()),
                Token::Whitespace(_) => {}
                token => statements.last_mut()?.push_str(&token.to_string()),
            }
        }
        statements.retain(|statement| !statement.is_empty());
        Some(statements)
    }

    fn fragment() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(";".to_owned()),
            Just("SELECT".to_owned()),
            Just("\n".to_owned()),
            "[a-z_][a-z0-9_$]{0,4}",
            "'[a-z;\"$ -]{0,6}'",
            "'[a;]{0,2}''[b;]{0,2}'",
            "\"[a-z;'$ /*-]{0,6}\"",
            "`[a-z;' ]{0,6}`",
            "--[a-z;'\" ]{0,6}\n",
            "/\\*[a-z;'\" ]{0,6}\\*/",
            "/\\*[a;]{0,2}/\\*[b;]{0,2}\\*/[c;]{0,2}\\*/",
            "\\$[a-c]{0,2}\\$",
            "\\$\\$[a-z;' ]{0,6}\\$\\$",
            "\\$t\\$[a-z;' ]{0,6}\\$t\\$",
            "\\$[1-9]",
            "[eE]'[a-z; ]{0,3}\\\\\\\\[;]{0,2}'",
            "[nNbB]'[a-z; ]{0,4}'",
            "[rR]'[a-z; ]{1,4}'",
            "[xX]'[0-9a-f]{0,4}'",
            "[0-9]{1,3}(\\.[0-9]{1,2})?",
            "[+*/<>=(),.-]",
            "['\"`]",
        ]
    }

    proptest! {
        #[test]
        fn the_split_is_that_of_the_parsers_tokenizer(fragments in prop::collection::vec(fragment(), 0..12)) {
            let text = fragments.join(" ");
            let (mut statements, last) = split(&text);
            // What the tokenizer cannot read at all is for the parser to complain about, in whatever portions.
            if let Some(expected) = by_tokenizer(&text) {
                match last {
                    Statement::Unterminated(text) => statements.push(text),
                    last => prop_assert_eq!(last, Statement::Blank, "{:?}", text),
                }
                let normalized: Vec<String> = statements.iter().flat_map(|text| by_tokenizer(text)).flatten().collect();
                prop_assert_eq!(normalized.len(), statements.len());
                prop_assert_eq!(normalized, expected, "{:?}", text);
            }
        }

        #[test]
        fn nothing_is_lost_and_nothing_fails(text in "[a-e'\"`;$/*\\-\\\\ \nqnrä]{0,40}") {
            let mut left = text.as_str();
            while let Statement::Complete { text: statement, rest } = Statement::first(left) {
                prop_assert!(!statement.is_empty() && left.contains(statement) && left.ends_with(rest));
                prop_assert!(rest.len() < left.len());
                left = rest;
            }
        }
    }
}
