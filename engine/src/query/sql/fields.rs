//! Rewrites PostgreSQL's `(expression).field` to `(expression)['field']` before a statement is planned: DataFusion's parser
//! reads both, but its planner (55.2) refuses the first. `table.column` and `table.column.field` are left to DataFusion.

use std::ops::ControlFlow;

use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{AccessExpr, Expr, Query, Subscript, Value, visit_expressions_mut};

use super::parse::normal;

/// Rewrites a statement.
pub(super) fn in_statement(statement: &mut Statement) {
    match statement {
        Statement::Statement(statement) => {
            let _ = visit_expressions_mut(statement.as_mut(), rewrite);
        }
        Statement::Explain(explain) => in_statement(&mut explain.statement),
        Statement::CopyTo(copy) => {
            if let CopyToSource::Query(query) = &mut copy.source {
                in_query(query);
            }
        }
        Statement::CreateExternalTable(_) | Statement::Reset(_) => {}
    }
}

/// Rewrites a query.
pub(super) fn in_query(query: &mut Query) {
    let _ = visit_expressions_mut(query, rewrite);
}

/// Whether a text can hold a field access that is rewritten. Visiting an expression of thousands of parts takes a deep
/// stack, so other statements are not visited.
pub(super) fn may_have(sql: &str) -> bool {
    let mut closed = false;
    for c in sql.chars().filter(|c| !c.is_whitespace()) {
        if closed && c == '.' {
            return true;
        }
        closed = matches!(c, ')' | ']');
    }
    false
}

fn rewrite(expr: &mut Expr) -> ControlFlow<()> {
    if let Expr::CompoundFieldAccess { root, access_chain } = expr {
        // `table.column[…]`: what names a column stays.
        let mut names = matches!(**root, Expr::Identifier(_));
        for access in access_chain {
            names &= matches!(access, AccessExpr::Dot(Expr::Identifier(_)));
            if let AccessExpr::Dot(Expr::Identifier(field)) = access
                && !names
            {
                let name = Value::SingleQuotedString(normal(field)).with_empty_span();
                *access = AccessExpr::Subscript(Subscript::Index { index: Expr::Value(name) });
            }
        }
    }
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::DFParser;

    use super::*;

    fn rewritten(sql: &str) -> String {
        let mut statement = DFParser::parse_sql(sql).unwrap().pop_front().unwrap();
        if may_have(sql) {
            in_statement(&mut statement);
        }
        statement.to_string()
    }

    #[test]
    fn a_field_behind_parentheses_becomes_a_subscript() {
        for (sql, expected) in [
            ("SELECT (f(x)).label", "SELECT (f(x))['label']"),
            ("SELECT f(x).label AS l FROM t", "SELECT f(x)['label'] AS l FROM t"),
            ("SELECT (f(x)) . Label", "SELECT (f(x))['label']"),
            ("SELECT (f(x)).\"Label\"", "SELECT (f(x))['Label']"),
            ("SELECT (f(x)).a.b[1].c", "SELECT (f(x))['a']['b'][1]['c']"),
            ("SELECT t.s['a'].b FROM t", "SELECT t.s['a']['b'] FROM t"),
            (
                "SELECT 1 FROM t WHERE (f(x)).a = 'y' AND x IN (SELECT (g(z)).b FROM u)",
                "SELECT 1 FROM t WHERE (f(x))['a'] = 'y' AND x IN (SELECT (g(z))['b'] FROM u)",
            ),
            ("SELECT (f((g(x)).a)).b", "SELECT (f((g(x))['a']))['b']"),
            ("CREATE VIEW v AS SELECT (f(x)).a FROM t", "CREATE VIEW v AS SELECT (f(x))['a'] FROM t"),
            ("INSERT INTO t SELECT (f(x)).a FROM u", "INSERT INTO t SELECT (f(x))['a'] FROM u"),
        ] {
            assert_eq!(rewritten(sql), expected);
        }
        let copied = rewritten("COPY (SELECT (f(x)).a FROM t) TO 'file.csv' STORED AS CSV");
        assert!(copied.contains("(f(x))['a']"), "{copied}");
        assert!(rewritten("EXPLAIN SELECT (f(x)).a FROM t").contains("(f(x))['a']"));
    }

    #[test]
    fn everything_else_stays() {
        for sql in [
            "SELECT t.a, s.t.a, s.t.a.b FROM s.t",
            "SELECT t.s['a'], x[1] FROM t",
            "SELECT count(*) FROM (SELECT 1) AS t",
            "SELECT ').label' AS text",
            "SELECT (1 + 2) * .5",
        ] {
            let untouched = DFParser::parse_sql(sql).unwrap().pop_front().unwrap().to_string();
            assert_eq!(rewritten(sql), untouched);
        }
    }
}
