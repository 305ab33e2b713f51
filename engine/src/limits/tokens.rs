//! The walk over the tokens of a statement: what each of them means for the depth of the tree.
//!
//! sqlparser takes nearly every keyword for a name where an operand or a table has to come. So a keyword means here what it says
//! only where it can: behind an operator, `FROM` or `AS` it is a name, and neither ends an expression nor a list of tables.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Word};

/// What a token stands behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Behind {
    /// The beginning of a statement, a bracket or a clause: an operand comes, or a keyword.
    #[default]
    Beginning,
    /// Something that an operand or a name has to follow.
    Operator,
    /// Something that a table has to follow.
    Table,
    /// An operand, a name or a bracket that ends: an operator comes, or a keyword.
    Operand,
}

/// How far a `CASE` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Case {
    /// It is none.
    #[default]
    No,
    /// So far it may be a name.
    Open,
    /// `THEN` has come.
    Certain,
}

/// The part of a statement between two brackets.
#[derive(Debug, Default)]
pub(super) struct Level {
    /// The depth of the expression that is being read.
    expression: usize,
    /// The depth of the deepest one before it.
    deepest: usize,
    /// Joins, set operations and pipes, each of which is one level of the plan.
    chain: usize,
    /// Whether a comma stands between tables, which is a join.
    tables: bool,
    /// Whether a comma stands between the rows of a table: `FROM VALUES (1), (2)`.
    rows: bool,
    /// Names and subscripts behind one another, such as `a.b.c`.
    pub(super) path: usize,
    /// Whether `CASE` began it, which `END` ends.
    case: Case,
    /// Whether it is the name of an operator: `OPERATOR(+)`.
    is_operator: bool,
    /// Types in each other, such as `ARRAY<ARRAY<INT>>`, those around the brackets included.
    pub(super) types: usize,
    /// `INTERVAL`s that no value follows yet.
    pub(super) intervals: usize,
    /// The brackets that stand at its beginning without anything between them.
    brackets: usize,
    /// How often the parser may read it. It tries each of several brackets before a query as the one that a table begins with.
    pub(super) readings: usize,
}

impl Level {
    /// A level in `outer`.
    fn inside(outer: &Self) -> Self {
        Self { types: outer.types, readings: outer.readings.max(1), ..Self::default() }
    }

    /// An expression ends: what follows is beside it and not above it.
    fn end_expression(&mut self) {
        self.deepest = self.deepest.max(self.expression);
        self.expression = 0;
        self.intervals = 0;
    }

    pub(super) fn depth(&self) -> usize {
        self.chain + self.deepest.max(self.expression)
    }

    /// What a bracket that has just been closed holds is an operand here.
    fn take(&mut self, inner: &Self) {
        self.expression = self.expression.max(inner.depth() + 1);
    }

    /// What began with `CASE` goes on with what is here: it was a name.
    fn go_on(&mut self, inner: &Self) {
        self.expression += inner.depth() + 1;
    }

    /// What is in it is read once for each bracket before it, if it is a query.
    fn begin_query(&mut self) {
        self.readings = self.readings.max(1).saturating_mul(self.brackets.max(1));
    }
}

/// Where in a text the walk over its tokens is.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// What is around `level`, the outermost first.
    pub(super) levels: Vec<Level>,
    pub(super) level: Level,
    behind: Behind,
    /// The keyword just before.
    last: Option<Keyword>,
    /// Whether a bracket has been opened just before.
    is_opened: bool,
    /// Whether `IS`, an operator, has come and nothing since but `NOT` and `DISTINCT`.
    is_comparison: bool,
}

impl Place {
    /// A bracket, or `CASE`, opens a level.
    fn open(&mut self, case: Case) -> &mut Level {
        let inner = Level { case, ..Level::inside(&self.level) };
        self.levels.push(std::mem::replace(&mut self.level, inner));
        self.behind = Behind::Beginning;
        &mut self.level
    }

    /// A bracket ends. One `CASE` more than there is an `END` is for the parser to complain about.
    pub(super) fn close(&mut self) {
        self.leave_cases();
        let mut is_operator = false;
        if let Some(outer) = self.levels.pop() {
            let inner = std::mem::replace(&mut self.level, outer);
            self.level.take(&inner);
            is_operator = inner.is_operator;
        }
        self.behind = if is_operator { Behind::Operator } else { Behind::Operand };
    }

    /// What cannot be in a `CASE` says that those which are open are names.
    fn leave_cases(&mut self) {
        while self.level.case != Case::No
            && let Some(outer) = self.levels.pop()
        {
            let inner = std::mem::replace(&mut self.level, outer);
            self.level.go_on(&inner);
        }
    }

    /// A clause begins.
    fn clause(&mut self) {
        self.leave_cases();
        self.level.end_expression();
        self.behind = Behind::Beginning;
    }

    fn operator(&mut self) {
        self.level.expression += 1;
        self.level.rows = false;
        self.behind = Behind::Operator;
    }

    fn comma(&mut self) {
        self.leave_cases();
        self.level.end_expression();
        let is_join = self.level.tables && !self.level.rows;
        self.level.chain += usize::from(is_join);
        self.behind = if is_join { Behind::Table } else { Behind::Beginning };
    }

    /// Whether a keyword would be a name here.
    fn has_name(&self) -> bool {
        matches!(self.behind, Behind::Operator | Behind::Table)
    }
}

/// Whether a token opens, or closes, a bracket.
fn opens(token: &Token) -> bool {
    matches!(token, Token::LParen | Token::LBracket | Token::LBrace)
}

pub(super) fn closes(token: &Token) -> bool {
    matches!(token, Token::RParen | Token::RBracket | Token::RBrace)
}

/// Takes note of a token.
pub(super) fn see(token: &Token, behind_period: bool, place: &mut Place) {
    let (last, is_opened) = (place.last.take(), std::mem::take(&mut place.is_opened));
    let is_comparison = std::mem::take(&mut place.is_comparison);
    match token {
        token if opens(token) => {
            // A subscript, and a number of times in a pattern of rows.
            place.level.expression += usize::from(*token != Token::LParen);
            let brackets = if is_opened { place.level.brackets } else { 0 };
            let inner = place.open(Case::No);
            inner.is_operator = last == Some(Keyword::OPERATOR);
            if *token == Token::LParen {
                inner.brackets = brackets + 1;
                place.is_opened = true;
            }
        }
        token if closes(token) => place.close(),
        Token::Comma => {
            // Rows end with a bracket.
            place.level.rows &= last.is_none();
            place.comma();
        }
        Token::SemiColon => *place = Place::default(),
        Token::VerticalBarRightAngleBracket => {
            place.clause();
            place.level.chain += 1;
            place.level.tables = false;
        }
        Token::Word(Word { keyword, quote_style: None, .. }) if !behind_period => {
            let before = Before { last, is_opened, is_comparison };
            word(*keyword, before, place);
            place.last = Some(*keyword);
        }
        Token::Period => {
            place.level.path += 1;
            // A table's full name and a column are no path yet.
            place.level.expression += usize::from(place.level.path > 3);
            place.behind = Behind::Operand;
        }
        // Behind `=>` comes the value of a named argument.
        Token::RArrow => place.behind = Behind::Operator,
        // All columns, where an operand would be.
        Token::Mul if behind_period || place.behind == Behind::Beginning => place.behind = Behind::Operand,
        // How often, in a pattern of rows.
        Token::Placeholder(_) if place.behind == Behind::Operand => place.level.expression += 1,
        token if is_operand(token) => {
            place.level.intervals = 0;
            place.level.rows = false;
            place.behind = Behind::Operand;
        }
        _ => {
            let types = &mut place.level.types;
            *types = match token {
                Token::Lt if matches!(last, Some(Keyword::ARRAY | Keyword::STRUCT | Keyword::MAP)) => {
                    *types + 1
                }
                Token::Gt => types.saturating_sub(1),
                Token::ShiftRight => types.saturating_sub(2),
                _ => *types,
            };
            place.level.intervals = 0;
            place.operator();
        }
    }
}

/// What stands before a word.
struct Before {
    last: Option<Keyword>,
    is_opened: bool,
    is_comparison: bool,
}

/// What a keyword means for the depth. One that is a name here, such as a column called `at`, counts too much and not too
/// little.
fn word(keyword: Keyword, before: Before, place: &mut Place) {
    place.level.rows = false;
    match keyword {
        Keyword::AND | Keyword::OR => {
            place.operator();
            // Neither goes on behind these.
            place.level.types = place.levels.last().map_or(0, |outer| outer.types);
            place.level.intervals = 0;
        }
        Keyword::IS => {
            place.is_comparison = place.behind == Behind::Operand;
            place.operator();
        }
        Keyword::NOT => {
            place.is_comparison = before.is_comparison;
            place.operator();
        }
        Keyword::DISTINCT => {
            place.is_comparison = before.is_comparison;
            place.behind = match place.behind {
                _ if before.is_comparison => Behind::Operator,
                Behind::Operator | Behind::Table => Behind::Operand,
                Behind::Beginning | Behind::Operand => Behind::Beginning,
            };
        }
        Keyword::XOR
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
        | Keyword::AT => place.operator(),
        Keyword::NOTNULL => {
            place.operator();
            place.behind = Behind::Operand;
        }
        Keyword::INTERVAL => {
            place.operator();
            place.level.intervals += 1;
        }
        // The ends of `AT TIME ZONE` and `SIMILAR TO`, and what a name or a value follows.
        Keyword::ZONE if before.last == Some(Keyword::TIME) => place.behind = Behind::Operator,
        Keyword::TO if before.last == Some(Keyword::SIMILAR) => place.behind = Behind::Operator,
        Keyword::AS | Keyword::ESCAPE | Keyword::TABLESAMPLE | Keyword::SAMPLE => {
            place.behind = Behind::Operator
        }
        Keyword::BERNOULLI | Keyword::SYSTEM | Keyword::ROW | Keyword::BLOCK
            if matches!(before.last, Some(Keyword::TABLESAMPLE | Keyword::SAMPLE)) =>
        {
            place.behind = Behind::Operator;
        }
        Keyword::CASE => {
            place.open(Case::Open);
            place.behind = Behind::Operator;
        }
        Keyword::WHEN | Keyword::THEN | Keyword::ELSE
            if !place.has_name() || keyword == Keyword::WHEN && before.last == Some(Keyword::CASE) =>
        {
            if place.level.case != Case::No {
                place.level.end_expression();
                if keyword == Keyword::THEN {
                    place.level.case = Case::Certain;
                }
            }
            place.behind = Behind::Operator;
        }
        Keyword::END if place.level.case != Case::No && place.behind == Behind::Operand => end_case(place),
        _ if clause(keyword, &before, place) => {}
        _ => place.behind = Behind::Operand,
    }
}

/// `CASE … END` is an operand. One without `THEN` was two names.
fn end_case(place: &mut Place) {
    if let Some(outer) = place.levels.pop() {
        let inner = std::mem::replace(&mut place.level, outer);
        if inner.case == Case::Certain {
            place.level.take(&inner);
        } else {
            place.level.go_on(&inner);
        }
    }
    place.behind = Behind::Operand;
}

/// What the keyword of a clause means for the depth. False: it is none.
fn clause(keyword: Keyword, before: &Before, place: &mut Place) -> bool {
    let is_name = place.has_name();
    let is_begin = before.is_opened
        && matches!(
            keyword,
            Keyword::SELECT
                | Keyword::FROM
                | Keyword::WITH
                | Keyword::VALUES
                | Keyword::VALUE
                | Keyword::TABLE
                | Keyword::INSERT
                | Keyword::UPDATE
                | Keyword::DELETE
                | Keyword::MERGE
        );
    if is_begin {
        place.level.begin_query();
    }
    match keyword {
        Keyword::FROM if before.is_comparison && before.last == Some(Keyword::DISTINCT) => place.operator(),
        // Behind an operator, which `*` may be, it ends no expression. What follows may be tables all the same.
        Keyword::FROM | Keyword::USING => {
            if !is_name {
                place.clause();
            }
            place.level.tables = true;
            place.behind = Behind::Table;
        }
        Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::MINUS | Keyword::VIEW => {
            let is_piped = before.last.is_none() && place.behind == Behind::Beginning;
            if is_name {
                place.behind = Behind::Operand;
            } else {
                place.clause();
                // Several queries may stand behind a pipe.
                place.level.tables = is_piped;
            }
            place.level.chain += 1;
        }
        Keyword::JOIN | Keyword::APPLY | Keyword::PIVOT | Keyword::UNPIVOT | Keyword::MATCH_RECOGNIZE => {
            if !is_name {
                place.clause();
            }
            place.level.chain += 1;
            place.behind = Behind::Table;
        }
        // A query of its own, as in `CREATE VIEW v AS SELECT`.
        Keyword::SELECT if before.last == Some(Keyword::AS) => place.behind = Behind::Beginning,
        Keyword::VALUES if place.behind == Behind::Table => {
            place.level.rows = true;
            place.behind = Behind::Operand;
        }
        _ if is_name => return false,
        Keyword::SELECT
        | Keyword::WHERE
        | Keyword::HAVING
        | Keyword::ORDER
        | Keyword::LIMIT
        | Keyword::QUALIFY
        | Keyword::WINDOW
        | Keyword::SET => {
            place.clause();
            place.level.tables = false;
        }
        // Behind `WITHIN` it is a part of a function.
        Keyword::GROUP if before.last == Some(Keyword::WITHIN) => return false,
        Keyword::GROUP => {
            place.clause();
            place.level.tables = false;
        }
        // Of a sample of a table too, which other tables may follow.
        Keyword::OFFSET | Keyword::ON => {
            place.clause();
            place.behind = Behind::Operator;
        }
        // Behind a table it is the table's name here.
        Keyword::VALUES if !place.level.tables => place.clause(),
        Keyword::BY | Keyword::ALL => place.behind = Behind::Beginning,
        _ => return false,
    }
    true
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
