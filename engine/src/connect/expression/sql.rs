//! Expressions in SQL, as in `expr("a + 1")`, `filter("a > 1")` and `selectExpr`: a text becomes the expression that a
//! program would have built, so that both mean the same.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, CeilFloorKind, DateTimeField, DuplicateTreatment, Expr, Function,
    FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectNamePart, OrderByExpr, SelectItem,
    Subscript, UnaryOperator, Value, WindowType,
};
use datafusion::sql::sqlparser::dialect::SparkSqlDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, TokenizerError};
use firesteel_proto::spark::connect as proto;
use firesteel_proto::spark::connect::expression::literal::{self, LiteralType};
use firesteel_proto::spark::connect::expression::sort_order::{NullOrdering, SortDirection};
use firesteel_proto::spark::connect::expression::{
    Alias, Cast, ExprType, Literal, SortOrder, UnresolvedAttribute, UnresolvedExtractValue,
    UnresolvedFunction, UnresolvedStar, Window, cast,
};

use super::super::error::{Result, SparkError};
use crate::limits::{SqlLimits, check_sql};

/// The longest text of an expression, in bytes.
const LONGEST: usize = 64 << 10;

/// Parses an expression, with or without an alias.
pub(in super::super) fn parse(text: &str) -> Result<proto::Expression> {
    if text.len() > LONGEST {
        return Err(SparkError::syntax(format!(
            "the expression has {} bytes; {LONGEST} are the most",
            text.len()
        )));
    }
    // A chain of operators is a tree as deep as it is long, of which the parser's own limit knows nothing.
    check_sql(&format!("SELECT {text}"), &SqlLimits::default())?;
    let syntax = |error: ParserError| SparkError::syntax(error.to_string());
    let dialect = SparkSqlDialect {};
    let tokens = tokens(text).map_err(|error| SparkError::syntax(error.to_string()))?;
    let mut parser = Parser::new(&dialect).with_recursion_limit(40).with_tokens_with_locations(tokens);
    let item = parser.parse_select_item().map_err(syntax)?;
    let next = parser.peek_token();
    if next.token != Token::EOF {
        return Err(SparkError::syntax(format!(
            "near '{next}' in {text:?}: the end of the expression was expected"
        )));
    }
    match item {
        SelectItem::UnnamedExpr(expr) => translate(&expr),
        SelectItem::ExprWithAlias { expr, alias } => Ok(of(ExprType::Alias(Box::new(Alias {
            expr: Some(Box::new(translate(&expr)?)),
            name: vec![alias.value],
            metadata: None,
        })))),
        SelectItem::Wildcard(_) => Ok(star(None)),
        SelectItem::QualifiedWildcard(name, _) => {
            Ok(star(Some(format!("{name}").trim_end_matches(".*").to_owned())))
        }
        other => Err(SparkError::unsupported(format!("{other} as an expression"))),
    }
}

/// The tokens of a text. The `D` behind a number belongs to it; to the tokenizer it is a name.
fn tokens(text: &str) -> std::result::Result<Vec<TokenWithSpan>, TokenizerError> {
    let mut tokens: Vec<TokenWithSpan> = Vec::new();
    for token in Tokenizer::new(&SparkSqlDialect {}, text).tokenize_with_location()? {
        let is_suffix = matches!(&token.token, Token::Word(word)
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("d"));
        match tokens.last_mut().map(|last| &mut last.token) {
            Some(Token::Number(digits, false)) if is_suffix => digits.push('d'),
            _ => tokens.push(token),
        }
    }
    Ok(tokens)
}

fn of(kind: ExprType) -> proto::Expression {
    proto::Expression { common: None, expr_type: Some(kind) }
}

fn star(target: Option<String>) -> proto::Expression {
    let unparsed_target = target.map(|target| format!("{target}.*"));
    of(ExprType::UnresolvedStar(UnresolvedStar { unparsed_target, plan_id: None }))
}

fn constant(value: LiteralType) -> proto::Expression {
    of(ExprType::Literal(Literal { literal_type: Some(value), data_type: None }))
}

fn call(name: &str, arguments: Vec<proto::Expression>) -> proto::Expression {
    let function_name = name.to_owned();
    of(ExprType::UnresolvedFunction(UnresolvedFunction {
        function_name,
        arguments,
        ..UnresolvedFunction::default()
    }))
}

fn negated(yes: bool, expr: proto::Expression) -> proto::Expression {
    if yes { call("not", vec![expr]) } else { expr }
}

fn named(parts: &[Ident]) -> proto::Expression {
    let part = |part: &Ident| format!("`{}`", part.value.replace('`', "``"));
    let unparsed_identifier = parts.iter().map(part).collect::<Vec<_>>().join(".");
    of(ExprType::UnresolvedAttribute(UnresolvedAttribute {
        unparsed_identifier,
        plan_id: None,
        is_metadata_column: None,
    }))
}

fn all(exprs: &[Expr]) -> Result<Vec<proto::Expression>> {
    exprs.iter().map(translate).collect()
}

fn translate(expr: &Expr) -> Result<proto::Expression> {
    let unsupported = || SparkError::unsupported(format!("`{expr}` in an expression"));
    let unary = |name: &str, child: &Expr| Ok(call(name, vec![translate(child)?]));
    match expr {
        Expr::Identifier(name) => Ok(named(std::slice::from_ref(name))),
        Expr::CompoundIdentifier(names) => Ok(named(names)),
        Expr::Nested(inner) => translate(inner),
        Expr::Value(value) => constant_of(&value.value).ok_or_else(unsupported),
        Expr::TypedString(typed) => {
            let text = typed.value.clone().into_string().ok_or_else(unsupported)?;
            cast_of(constant(LiteralType::String(text)), &typed.data_type.to_string())
        }
        Expr::IsNull(child) => unary("isnull", child),
        Expr::IsNotNull(child) => unary("isnotnull", child),
        Expr::IsTrue(child) => Ok(call("<=>", vec![translate(child)?, constant(LiteralType::Boolean(true))])),
        Expr::IsFalse(child) => {
            Ok(call("<=>", vec![translate(child)?, constant(LiteralType::Boolean(false))]))
        }
        Expr::IsNotDistinctFrom(left, right) => Ok(call("<=>", vec![translate(left)?, translate(right)?])),
        Expr::IsDistinctFrom(left, right) => {
            Ok(call("not", vec![call("<=>", vec![translate(left)?, translate(right)?])]))
        }
        Expr::InList { expr, list, negated: not } => {
            let mut arguments = vec![translate(expr)?];
            arguments.extend(all(list)?);
            Ok(negated(*not, call("in", arguments)))
        }
        Expr::Between { expr, negated: not, low, high } => {
            let value = translate(expr)?;
            let above = call(">=", vec![value.clone(), translate(low)?]);
            let below = call("<=", vec![value, translate(high)?]);
            Ok(negated(*not, call("and", vec![above, below])))
        }
        Expr::Like { negated: not, any: false, expr, pattern, escape_char: None } => {
            Ok(negated(*not, call("like", vec![translate(expr)?, translate(pattern)?])))
        }
        Expr::ILike { negated: not, any: false, expr, pattern, escape_char: None } => {
            Ok(negated(*not, call("ilike", vec![translate(expr)?, translate(pattern)?])))
        }
        Expr::RLike { negated: not, expr, pattern, .. } => {
            Ok(negated(*not, call("rlike", vec![translate(expr)?, translate(pattern)?])))
        }
        // The parser takes all that follows for the divisor, whatever binds closer.
        Expr::BinaryOp { op: BinaryOperator::MyIntegerDivide, right, .. }
            if matches!(
                right.as_ref(),
                Expr::BinaryOp { .. } | Expr::Between { .. } | Expr::InList { .. }
            ) =>
        {
            Err(SparkError::unsupported(format!("`{expr}` without parentheses around what div divides")))
        }
        Expr::BinaryOp { left, op, right } => {
            let name = operator(op).ok_or_else(unsupported)?;
            Ok(call(name, vec![translate(left)?, translate(right)?]))
        }
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => unary("not", expr),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match expr.as_ref() {
            Expr::Value(value) => match &value.value {
                Value::Number(digits, long) => number(&format!("-{digits}"), *long).ok_or_else(unsupported),
                _ => unary("negative", expr),
            },
            _ => unary("negative", expr),
        },
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => translate(expr),
        Expr::UnaryOp { op: UnaryOperator::BitwiseNot, expr } => unary("~", expr),
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon | CastKind::TryCast,
            expr,
            data_type,
            ..
        } => cast_of(translate(expr)?, &data_type.to_string()),
        Expr::Case { operand, conditions, else_result, .. } => {
            let mut arguments = Vec::new();
            for case in conditions {
                let condition = translate(&case.condition)?;
                arguments.push(match operand {
                    Some(operand) => call("=", vec![translate(operand)?, condition]),
                    None => condition,
                });
                arguments.push(translate(&case.result)?);
            }
            if let Some(otherwise) = else_result {
                arguments.push(translate(otherwise)?);
            }
            Ok(call("when", arguments))
        }
        Expr::Function(function) => function_of(function),
        Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
            unary("ceil", expr)
        }
        Expr::Floor { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
            unary("floor", expr)
        }
        Expr::Substring { expr, substring_from: Some(from), substring_for, .. } => {
            let mut arguments = vec![translate(expr)?, translate(from)?];
            if let Some(length) = substring_for {
                arguments.push(translate(length)?);
            }
            Ok(call("substring", arguments))
        }
        Expr::Trim { expr, trim_where: None, trim_what: None, trim_characters: None } => unary("trim", expr),
        Expr::Extract { field, expr, .. } => unary(&field.to_string().to_lowercase(), expr),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let mut value = translate(root)?;
            for access in access_chain {
                let part = match access {
                    AccessExpr::Dot(Expr::Identifier(name)) => {
                        constant(LiteralType::String(name.value.clone()))
                    }
                    AccessExpr::Subscript(Subscript::Index { index }) => translate(index)?,
                    _ => return Err(unsupported()),
                };
                value = of(ExprType::UnresolvedExtractValue(Box::new(UnresolvedExtractValue {
                    child: Some(Box::new(value)),
                    extraction: Some(Box::new(part)),
                })));
            }
            Ok(value)
        }
        _ => Err(unsupported()),
    }
}

fn operator(op: &BinaryOperator) -> Option<&'static str> {
    Some(match op {
        BinaryOperator::Plus => "+",
        BinaryOperator::Minus => "-",
        BinaryOperator::Multiply => "*",
        BinaryOperator::Divide => "/",
        BinaryOperator::Modulo => "%",
        BinaryOperator::StringConcat => "concat",
        BinaryOperator::Gt => ">",
        BinaryOperator::Lt => "<",
        BinaryOperator::GtEq => ">=",
        BinaryOperator::LtEq => "<=",
        BinaryOperator::Spaceship => "<=>",
        BinaryOperator::Eq => "=",
        BinaryOperator::NotEq => "!=",
        BinaryOperator::And => "and",
        BinaryOperator::Or => "or",
        BinaryOperator::BitwiseOr => "|",
        BinaryOperator::BitwiseAnd => "&",
        BinaryOperator::BitwiseXor => "^",
        BinaryOperator::MyIntegerDivide => "div",
        _ => return None,
    })
}

fn cast_of(expr: proto::Expression, data_type: &str) -> Result<proto::Expression> {
    super::super::types::ddl::parse(data_type)?;
    Ok(of(ExprType::Cast(Box::new(Cast {
        expr: Some(Box::new(expr)),
        eval_mode: 0,
        cast_to_type: Some(cast::CastToType::TypeStr(data_type.to_owned())),
    }))))
}

fn constant_of(value: &Value) -> Option<proto::Expression> {
    Some(match value {
        Value::Number(digits, long) => return number(digits, *long),
        Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => {
            constant(LiteralType::String(unescaped(text)))
        }
        Value::Boolean(value) => constant(LiteralType::Boolean(*value)),
        Value::Null => {
            let kind = Some(proto::data_type::Kind::Null(proto::data_type::Null {}));
            constant(LiteralType::Null(proto::DataType { kind }))
        }
        _ => return None,
    })
}

/// A text without the escapes that Spark has in it. `\%` and `\_` are left to patterns.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('b') => out.push('\u{8}'),
            Some('0') => out.push('\0'),
            Some('Z') => out.push('\u{1a}'),
            Some(mark @ ('%' | '_')) => out.extend(['\\', mark]),
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out
}

/// Digits are an int, a bigint (where they are too many, or `L` is behind them) or a decimal; with an exponent or `D` they are a
/// double.
fn number(digits: &str, long: bool) -> Option<proto::Expression> {
    let lower = digits.to_lowercase();
    if let Some(digits) = lower.strip_suffix('d')
        && let Ok(value) = digits.parse()
    {
        return Some(constant(LiteralType::Double(value)));
    }
    if lower.contains('e') {
        return Some(constant(LiteralType::Double(lower.parse().ok()?)));
    }
    if !long && let Ok(value) = lower.parse() {
        return Some(constant(LiteralType::Integer(value)));
    }
    if let Ok(value) = lower.parse() {
        return Some(constant(LiteralType::Long(value)));
    }
    Some(constant(LiteralType::Decimal(literal::Decimal { value: lower, precision: None, scale: None })))
}

fn function_of(function: &Function) -> Result<proto::Expression> {
    let unsupported = || SparkError::unsupported(format!("`{function}` in an expression"));
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return Err(unsupported()) };
    let (arguments, is_distinct) = match &function.args {
        FunctionArguments::None => (Vec::new(), false),
        FunctionArguments::Subquery(_) => return Err(unsupported()),
        FunctionArguments::List(list) => {
            let argument = |argument: &FunctionArg| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => translate(expr),
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => Ok(star(None)),
                _ => Err(unsupported()),
            };
            if !list.clauses.is_empty() {
                return Err(unsupported());
            }
            let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
            (list.args.iter().map(argument).collect::<Result<Vec<_>>>()?, distinct)
        }
    };
    if function.filter.is_some() || function.null_treatment.is_some() || !function.within_group.is_empty() {
        return Err(unsupported());
    }
    let function_name = name.value.to_lowercase();
    let called = of(ExprType::UnresolvedFunction(UnresolvedFunction {
        function_name,
        arguments,
        is_distinct,
        ..UnresolvedFunction::default()
    }));
    match &function.over {
        None => Ok(called),
        Some(WindowType::WindowSpec(spec)) if spec.window_name.is_none() && spec.window_frame.is_none() => {
            Ok(of(ExprType::Window(Box::new(Window {
                window_function: Some(Box::new(called)),
                partition_spec: all(&spec.partition_by)?,
                order_spec: spec.order_by.iter().map(key).collect::<Result<_>>()?,
                frame_spec: None,
            }))))
        }
        Some(_) => Err(unsupported()),
    }
}

fn key(key: &OrderByExpr) -> Result<SortOrder> {
    let direction = match key.options.asc {
        Some(false) => SortDirection::Descending,
        _ => SortDirection::Ascending,
    };
    let nulls = match key.options.nulls_first {
        Some(true) => NullOrdering::SortNullsFirst,
        Some(false) => NullOrdering::SortNullsLast,
        None => NullOrdering::SortNullsUnspecified,
    };
    let child = Some(Box::new(translate(&key.expr)?));
    Ok(SortOrder { child, direction: direction.into(), null_ordering: nulls.into() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_a_syntax_error() {
        for text in ["", "a +", "a b c", "("] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.kind, super::super::super::error::Kind::Parse, "{text}: {error}");
        }
        assert!(parse("(SELECT 1)").is_err());
        let long = format!("a{}", " + a".repeat(10_000));
        assert_eq!(parse(&long).unwrap_err().class, "UNSUPPORTED_FEATURE");
    }

    #[test]
    fn numbers_have_the_types_of_their_suffixes() {
        for (text, expected) in [
            ("7", LiteralType::Integer(7)),
            ("7L", LiteralType::Long(7)),
            ("-7L", LiteralType::Long(-7)),
            ("3000000000", LiteralType::Long(3_000_000_000)),
            ("2.5D", LiteralType::Double(2.5)),
            ("1e3", LiteralType::Double(1000.0)),
        ] {
            assert_eq!(parse(text).unwrap(), constant(expected), "{text}");
        }
        // With a blank before it, it is the name of the column.
        assert!(matches!(parse("7 d").unwrap().expr_type, Some(ExprType::Alias(_))));
        assert!(parse("a div 2 + 1").is_err() && parse("(a div 2) + 1").is_ok());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-c0-9 .,()+*<>='`\"-]{0,30}") {
            let _ = parse(&text);
        }
    }
}
