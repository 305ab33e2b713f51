//! What Spark calls a column that has no name: the text of its expression.

use firesteel_proto::spark::connect as proto;
use firesteel_proto::spark::connect::expression::literal::LiteralType;
use firesteel_proto::spark::connect::expression::{Cast, ExprType, Literal, UnresolvedFunction};

use super::super::frame::parts;
use super::super::show::number;
use super::super::types;
use super::sql;

/// Operators that stand between their operands.
const INFIX: [&str; 20] = [
    "+", "-", "*", "/", "%", "=", "==", "<", ">", "<=", ">=", "!=", "<>", "<=>", "and", "or", "&", "|", "^",
    "div",
];

/// The name of a column that an expression makes.
pub(in super::super) fn name_of(expr: &proto::Expression) -> String {
    match &expr.expr_type {
        Some(ExprType::UnresolvedAttribute(name)) => {
            parts(&name.unparsed_identifier).ok().and_then(|mut parts| parts.pop()).unwrap_or_default()
        }
        Some(ExprType::Alias(alias)) => alias.name.first().cloned().unwrap_or_default(),
        // A cast of a column is called like the column.
        Some(ExprType::Cast(cast)) => match cast.expr.as_deref() {
            Some(child) if is_named(child) => name_of(child),
            _ => text(expr),
        },
        _ => text(expr),
    }
}

fn is_named(expr: &proto::Expression) -> bool {
    match &expr.expr_type {
        Some(ExprType::UnresolvedAttribute(_) | ExprType::Alias(_)) => true,
        Some(ExprType::Cast(cast)) => cast.expr.as_deref().is_some_and(is_named),
        _ => false,
    }
}

/// An expression as Spark writes it within the name of a column.
fn text(expr: &proto::Expression) -> String {
    let child = |expr: Option<&proto::Expression>| expr.map(text).unwrap_or_default();
    match &expr.expr_type {
        Some(ExprType::Literal(value)) => literal(value),
        Some(ExprType::UnresolvedAttribute(name)) => {
            parts(&name.unparsed_identifier).map(|parts| parts.join(".")).unwrap_or_default()
        }
        Some(ExprType::UnresolvedFunction(function)) => call(function),
        Some(ExprType::CallFunction(function)) => call(&UnresolvedFunction {
            function_name: function.function_name.clone(),
            arguments: function.arguments.clone(),
            ..UnresolvedFunction::default()
        }),
        Some(ExprType::ExpressionString(sql)) => {
            sql::parse(&sql.expression).map_or_else(|_| sql.expression.clone(), |expr| text(&expr))
        }
        Some(ExprType::Alias(alias)) => {
            format!("{} AS {}", child(alias.expr.as_deref()), alias.name.first().cloned().unwrap_or_default())
        }
        Some(ExprType::Cast(cast)) => format!("CAST({} AS {})", child(cast.expr.as_deref()), target(cast)),
        Some(ExprType::UnresolvedStar(_)) => "*".to_owned(),
        Some(ExprType::UnresolvedExtractValue(extract)) => {
            let (value, part) = (child(extract.child.as_deref()), child(extract.extraction.as_deref()));
            match extract.extraction.as_deref().and_then(|part| part.expr_type.as_ref()) {
                Some(ExprType::Literal(Literal { literal_type: Some(LiteralType::String(_)), .. })) => {
                    format!("{value}.{part}")
                }
                _ => format!("{value}[{part}]"),
            }
        }
        Some(ExprType::Window(window)) => {
            let function = child(window.window_function.as_deref());
            let partition: Vec<String> = window.partition_spec.iter().map(text).collect();
            let order = window.order_spec.iter().map(order).collect::<Vec<_>>();
            let mut parts = Vec::new();
            if !partition.is_empty() {
                parts.push(format!("PARTITION BY {}", partition.join(", ")));
            }
            if !order.is_empty() {
                parts.push(format!("ORDER BY {}", order.join(", ")));
            }
            let frame = match order.is_empty() {
                true => "unspecifiedframe$()",
                false => "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
            };
            parts.push(frame.to_owned());
            format!("{function} OVER ({})", parts.join(" "))
        }
        _ => "expression".to_owned(),
    }
}

fn order(key: &proto::expression::SortOrder) -> String {
    use proto::expression::sort_order::{NullOrdering, SortDirection};
    let descending = key.direction() == SortDirection::Descending;
    let nulls = match key.null_ordering() {
        NullOrdering::SortNullsFirst => "FIRST",
        NullOrdering::SortNullsLast => "LAST",
        NullOrdering::SortNullsUnspecified if descending => "LAST",
        NullOrdering::SortNullsUnspecified => "FIRST",
    };
    let child = key.child.as_deref().map(text).unwrap_or_default();
    format!("{child} {} NULLS {nulls}", if descending { "DESC" } else { "ASC" })
}

fn target(cast: &Cast) -> String {
    use proto::expression::cast::CastToType;
    match &cast.cast_to_type {
        Some(CastToType::Type(data_type)) => types::ddl::name(data_type),
        Some(CastToType::TypeStr(text)) => {
            types::ddl::parse(text).map_or_else(|_| text.to_uppercase(), |parsed| types::ddl::name(&parsed))
        }
        None => String::new(),
    }
}

fn call(function: &UnresolvedFunction) -> String {
    let name = function.function_name.to_lowercase();
    let arguments: Vec<String> = function.arguments.iter().map(text).collect();
    match (name.as_str(), arguments.as_slice()) {
        (operator, [left, right]) if INFIX.contains(&operator) => match operator {
            "==" => format!("({left} = {right})"),
            "!=" | "<>" => format!("(NOT ({left} = {right}))"),
            "and" | "or" => format!("({left} {} {right})", operator.to_uppercase()),
            operator => format!("({left} {operator} {right})"),
        },
        ("not" | "!", [value]) => format!("(NOT {value})"),
        ("negative" | "-", [value]) => format!("(- {value})"),
        ("~", [value]) => format!("~{value}"),
        ("isnull", [value]) => format!("({value} IS NULL)"),
        ("isnotnull", [value]) => format!("({value} IS NOT NULL)"),
        ("in", [value, list @ ..]) => format!("({value} IN ({}))", list.join(", ")),
        ("like", [value, pattern]) => format!("{value} LIKE {pattern}"),
        ("ilike", [value, pattern]) => format!("ilike({value}, {pattern})"),
        ("rlike", [value, pattern]) => format!("RLIKE({value}, {pattern})"),
        ("when", _) => {
            let mut text = "CASE".to_owned();
            let (pairs, rest) = arguments.as_chunks::<2>();
            for [condition, value] in pairs {
                text.push_str(&format!(" WHEN {condition} THEN {value}"));
            }
            if let [value] = rest {
                text.push_str(&format!(" ELSE {value}"));
            }
            text + " END"
        }
        ("count", [star]) if star == "*" => "count(1)".to_owned(),
        ("if", _) => format!("(IF({}))", arguments.join(", ")),
        ("first" | "last" | "first_value" | "last_value" | "any_value", [value, ..]) => {
            format!("{name}({value})")
        }
        ("power" | "pow", _) => format!("{}({})", name.to_uppercase(), arguments.join(", ")),
        ("mean", _) => format!("avg({})", arguments.join(", ")),
        ("ceil" | "floor", [value, ..]) => format!("{}({value})", name.to_uppercase()),
        ("sqrt" | "exp" | "log10" | "log2" | "sin" | "cos" | "tan" | "signum", _) => {
            format!("{}({})", name.to_uppercase(), arguments.join(", "))
        }
        _ if function.is_distinct => format!("{name}(DISTINCT {})", arguments.join(", ")),
        _ => format!("{name}({})", arguments.join(", ")),
    }
}

fn literal(value: &Literal) -> String {
    match &value.literal_type {
        Some(LiteralType::Null(_)) | None => "NULL".to_owned(),
        Some(LiteralType::Boolean(value)) => value.to_string(),
        Some(LiteralType::Byte(value) | LiteralType::Short(value) | LiteralType::Integer(value)) => {
            value.to_string()
        }
        Some(LiteralType::Long(value)) => value.to_string(),
        Some(LiteralType::Float(value)) => number::float(*value),
        Some(LiteralType::Double(value)) => number::double(*value),
        Some(LiteralType::Decimal(value)) => value.value.clone(),
        Some(LiteralType::String(value)) => value.clone(),
        Some(LiteralType::Array(array)) => {
            format!("array({})", array.elements.iter().map(literal).collect::<Vec<_>>().join(", "))
        }
        Some(LiteralType::Date(days)) => format!("DATE '{}'", number::date(*days)),
        Some(_) => super::super::literal::value(value).map(|value| value.to_string()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_called_like_its_expression() {
        for (sql, name) in [
            ("a", "a"),
            ("t.a", "a"),
            ("a + 1", "(a + 1)"),
            ("count(*)", "count(1)"),
            ("count(DISTINCT a)", "count(DISTINCT a)"),
            ("a <> 'x' AND NOT b", "((NOT (a = x)) AND (NOT b))"),
            ("CAST(a AS BIGINT)", "a"),
            ("CAST(a + 1 AS STRING)", "CAST((a + 1) AS STRING)"),
            ("CASE WHEN a = 1 THEN 2 ELSE 3 END", "CASE WHEN (a = 1) THEN 2 ELSE 3 END"),
            ("sum(x) AS total", "total"),
            ("a IN (1, 2)", "(a IN (1, 2))"),
        ] {
            assert_eq!(name_of(&sql::parse(sql).unwrap()), name, "{sql}");
        }
    }
}
