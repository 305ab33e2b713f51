//! Where one SQL statement ends and the next begins: strings, quoted names, comments and dollar quotes may hold
//! semicolons.
//!
//! It reads what the parser's own tokenizer reads, and it also reads what is not finished, as a shell has to while a
//! statement is being typed.

/// What a text starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement<'a> {
    /// A statement that a semicolon ends.
    Complete {
        /// Without the semicolon, and without comments before it.
        text: &'a str,
        /// What follows the semicolon.
        rest: &'a str,
    },
    /// A statement, as far as one can tell, with no semicolon behind it.
    Unterminated(&'a str),
    /// The beginning of a statement, which ends inside of a string, a quoted name or a comment.
    Open(&'a str),
    /// Nothing but blanks and comments.
    Blank,
}

impl<'a> Statement<'a> {
    /// The first statement of a text that is not empty.
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
        let mut at = 0;
        loop {
            if text[at..].starts_with(';') {
                return Self::Complete { text: text[..at].trim_end(), rest: &text[at + 1..] };
            }
            match token(&text[at..]) {
                Some(0) => return Self::Unterminated(text.trim_end()),
                Some(length) => at += length,
                None => return Self::Open(text),
            }
        }
    }

    /// The text behind blanks and comments; all of it where a comment has no end.
    pub fn skip_blanks(text: &str) -> &str {
        skip_blanks(text).unwrap_or(text)
    }
}

/// The text behind blanks and comments. The comment that has no end, where there is one.
fn skip_blanks(text: &str) -> Result<&str, &str> {
    let mut text = text.trim_start();
    while text.starts_with("--") || text.starts_with("/*") {
        let length = token(text).ok_or(text)?;
        text = text[length..].trim_start();
    }
    Ok(text)
}

/// The length of the token that a text starts with; 0 at the end of the text, none where the token has no end. What
/// cannot hold a semicolon counts by the character.
fn token(text: &str) -> Option<usize> {
    let Some(first) = text.chars().next() else { return Some(0) };
    let rest = &text[first.len_utf8()..];
    match first {
        '\'' | '"' | '`' => quoted(text, 0, first, false),
        '-' if rest.starts_with('-') => Some(text.find('\n').map_or(text.len(), |end| end + 1)),
        '/' if rest.starts_with('*') => comment(text),
        '$' => dollar(text),
        _ if is_name_start(first) => name(text),
        _ => Some(first.len_utf8()),
    }
}

fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || matches!(c, '_' | '#' | '@')
}

fn is_name_part(c: char) -> bool {
    is_name_start(c) || c.is_ascii_digit() || c == '$'
}

/// A word, or a string that a letter introduces.
fn name(text: &str) -> Option<usize> {
    let quote = |at: usize| text[at..].chars().next().filter(|c| matches!(c, '\'' | '"'));
    let first = text.as_bytes()[0].to_ascii_lowercase();
    match (first, quote(first_length(text))) {
        (b'e', Some('\'')) | (b'x', Some('\'')) => return quoted(text, 1, '\'', true),
        (b'r', Some(q)) => return raw(text, q),
        (b'q', Some('\'')) => return delimited(text, 2),
        (b'n', _) if matches!(text.as_bytes().get(1..3), Some(b"q'" | b"Q'")) => return delimited(text, 3),
        (b'b', Some(q)) => return quoted(text, 1, q, false),
        (b'n', Some('\'')) => return quoted(text, 1, '\'', false),
        _ => {}
    }
    Some(text.find(|c| !is_name_part(c)).unwrap_or(text.len()))
}

fn first_length(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

/// A string from the quote at `start`; a doubled quote stands for itself.
fn quoted(text: &str, start: usize, quote: char, backslash: bool) -> Option<usize> {
    let mut characters = text[start..].char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == quote {
            match characters.peek() {
                Some((_, next)) if *next == quote => {
                    characters.next();
                }
                _ => return Some(start + at + c.len_utf8()),
            }
        } else if backslash && c == '\\' {
            characters.next();
        }
    }
    None
}

/// `r'…'` and `r'''…'''`, in which nothing is escaped but a doubled quote.
fn raw(text: &str, quote: char) -> Option<usize> {
    let quotes = text[1..].chars().take(3).take_while(|c| *c == quote).count();
    match quotes {
        1 => quoted(text, 1, quote, false),
        2 => Some(3),
        _ => {
            let end: String = [quote; 3].iter().collect();
            text[4..].find(&end).map(|at| 4 + at + 3)
        }
    }
}

/// `q'[…]'`: `start` is behind the quote.
fn delimited(text: &str, start: usize) -> Option<usize> {
    let open = text[start..].chars().next()?;
    let close = match open {
        '[' => ']',
        '{' => '}',
        '<' => '>',
        '(' => ')',
        other => other,
    };
    let inside = start + open.len_utf8();
    let end: String = [close, '\''].iter().collect();
    text[inside..].find(&end).map(|at| inside + at + end.len())
}

/// `/* … */`, which nests.
fn comment(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    None
}

/// `$$…$$` and `$tag$…$tag$`, or a placeholder such as `$1`.
fn dollar(text: &str) -> Option<usize> {
    let tag = text[1..].find(|c: char| !c.is_alphanumeric() && c != '_').map_or(text.len(), |end| end + 1);
    if !text[tag..].starts_with('$') {
        return Some(tag);
    }
    let delimiter = &text[..=tag];
    text[tag + 1..].find(delimiter).map(|at| tag + 1 + at + delimiter.len())
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
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
        let cases: [(&str, &[&str], Statement<'_>); 28] = [
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
        ];
        for (text, statements, last) in cases {
            assert_eq!(split(text), (statements.to_vec(), last), "{text:?}");
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
