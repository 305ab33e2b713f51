//! The limit of what a statement becomes when each use of a name in `WITH` is the whole query behind it.
//!
//! `WITH a AS (…), b AS (SELECT * FROM a, a), c AS (SELECT * FROM b, b) …` doubles with each name, and planning it takes as long
//! as what comes of it is large. `WITH a AS (…), b AS (SELECT * FROM a), c AS (SELECT * FROM b) …` does not double, and is as deep
//! as it has names. So the uses are counted in the syntax tree, which is as large as the text and no deeper than its brackets.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, PipeOperator, Query, Select, SetExpr, TableFactor, Visit as _, Visitor,
};

use super::SqlLimits;
use super::brake::{Parsed, parse};
use super::over;
use super::stack::deep;
use crate::{ConfigField, Result};

/// Checks the tables that a text of SQL reads, each use of a name counted with all that is behind it, and hands each statement
/// that passes to `also`.
///
/// A text that cannot be parsed is left to the parser, which says what is wrong with it. One that takes the parser too long is
/// refused.
pub(super) fn check_parsed(
    sql: &str,
    limits: &SqlLimits,
    also: impl Fn(&Statement) -> Result<()>,
) -> Result<()> {
    // Parsing, walking and dropping a tree are recursive.
    deep(|| match parse(sql, limits)? {
        Parsed::Statements(statements) => statements
            .iter()
            .try_for_each(|statement| check(statement, limits).and_then(|()| also(statement))),
        Parsed::Cached(query) => told(query.visit(&mut Uses::new(limits)), limits),
        Parsed::Nothing => Ok(()),
    })
}

fn check(mut statement: &Statement, limits: &SqlLimits) -> Result<()> {
    while let Statement::Explain(explained) = statement {
        statement = &explained.statement;
    }
    let mut uses = Uses::new(limits);
    let visited = match statement {
        Statement::Statement(statement) => statement.visit(&mut uses),
        Statement::CopyTo(copy) => match &copy.source {
            CopyToSource::Query(query) => query.visit(&mut uses),
            CopyToSource::Relation(_) => return Ok(()),
        },
        _ => return Ok(()),
    };
    told(visited, limits)
}

fn told(visited: ControlFlow<TooMuch>, limits: &SqlLimits) -> Result<()> {
    match visited {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(TooMuch::Nodes) => {
            Err(over("the nodes of the plan", limits.plan_nodes, ConfigField::LimitsPlanNodes))
        }
        ControlFlow::Break(TooMuch::Depth) => {
            Err(over("the depth of the plan", limits.depth, ConfigField::LimitsSqlDepth))
        }
    }
}

/// What there is too much of.
#[derive(Clone, Copy, Debug)]
enum TooMuch {
    Nodes,
    Depth,
}

/// The plan of a query, or of a table.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    nodes: u64,
    depth: u64,
}

/// Counts while the tree is walked.
struct Uses {
    most: Size,
    /// The queries around what is being walked, the outermost first.
    scopes: Vec<Scope>,
}

/// A query.
#[derive(Default)]
struct Scope {
    /// The queries of its `WITH`, by where they lie in the tree, with their names.
    defined: HashMap<*const Query, String>,
    /// How large each name is that has been walked.
    names: HashMap<String, Size>,
    nodes: u64,
    /// The depth of what it is made of itself.
    own: u64,
    /// The depth of the deepest query or table in it.
    below: u64,
}

impl Uses {
    fn new(limits: &SqlLimits) -> Self {
        let most = Size { nodes: limits.plan_nodes as u64, depth: limits.depth as u64 };
        Self { most, scopes: vec![Scope::default()] }
    }

    fn add(&mut self, size: Size) -> ControlFlow<TooMuch> {
        let Some(scope) = self.scopes.last_mut() else { return ControlFlow::Break(TooMuch::Nodes) };
        scope.nodes = scope.nodes.saturating_add(size.nodes);
        scope.below = scope.below.max(size.depth);
        if scope.nodes > self.most.nodes {
            ControlFlow::Break(TooMuch::Nodes)
        } else {
            ControlFlow::Continue(())
        }
    }
}

impl Visitor for Uses {
    type Break = TooMuch;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<TooMuch> {
        let named = query.with.iter().flat_map(|with| &with.cte_tables);
        let defined =
            named.map(|name| (std::ptr::from_ref(name.query.as_ref()), normal(&name.alias.name))).collect();
        self.scopes.push(Scope { defined, own: levels(query), ..Scope::default() });
        self.add(Size { nodes: 1 + query.pipe_operators.len() as u64, depth: 0 })
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<TooMuch> {
        let Some(ended) = self.scopes.pop() else { return ControlFlow::Break(TooMuch::Nodes) };
        let size = Size { nodes: ended.nodes, depth: ended.own + ended.below };
        if size.depth > self.most.depth {
            return ControlFlow::Break(TooMuch::Depth);
        }
        if let Some(around) = self.scopes.last_mut()
            && let Some(name) = around.defined.get(&std::ptr::from_ref(query))
        {
            around.names.insert(name.clone(), size);
            return ControlFlow::Continue(());
        }
        self.add(size)
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<TooMuch> {
        // Joins in brackets are a part of the query that they stand in.
        if let TableFactor::NestedJoin { table_with_joins, .. } = table
            && let Some(scope) = self.scopes.last_mut()
        {
            scope.own += table_with_joins.joins.len() as u64;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<TooMuch> {
        // DataFusion looks for a name of several parts, too, with its periods.
        let parts: Option<Vec<String>> = relation.0.iter().map(|part| part.as_ident().map(normal)).collect();
        let used = parts
            .map(|parts| parts.join("."))
            .and_then(|name| self.scopes.iter().rev().find_map(|scope| scope.names.get(&name)).copied());
        // A name is one level more, which gives its columns the name.
        self.add(used.map_or(Size { nodes: 1, depth: 1 }, |size| Size { depth: size.depth + 1, ..size }))
    }
}

/// The name under which DataFusion keeps an identifier: `"A"` and `a` are two, and so are `É` and `é`.
fn normal(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_ascii_lowercase() }
}

/// How deep the plan of a query is above the queries and tables that it reads.
fn levels(query: &Query) -> u64 {
    let mut deepest = 0;
    let mut waiting = vec![(query.body.as_ref(), 1)];
    while let Some((body, depth)) = waiting.pop() {
        let own = match body {
            SetExpr::SetOperation { left, right, .. } => {
                waiting.extend([(left.as_ref(), depth + 1), (right.as_ref(), depth + 1)]);
                0
            }
            SetExpr::Select(select) => levels_of_select(select),
            _ => 0,
        };
        deepest = deepest.max(depth + own);
    }
    let piped: u64 = query.pipe_operators.iter().map(levels_of_pipe).sum();
    deepest + piped + u64::from(query.order_by.is_some()) + u64::from(query.limit_clause.is_some())
}

fn levels_of_select(select: &Select) -> u64 {
    let joins: usize = select.from.iter().map(|table| table.joins.len()).sum();
    let clauses = [
        select.selection.is_some(),
        select.having.is_some(),
        select.qualify.is_some(),
        select.distinct.is_some(),
    ];
    (joins + select.from.len().saturating_sub(1)) as u64 + clauses.into_iter().map(u64::from).sum::<u64>()
}

fn levels_of_pipe(operator: &PipeOperator) -> u64 {
    match operator {
        PipeOperator::Union { queries, .. }
        | PipeOperator::Intersect { queries, .. }
        | PipeOperator::Except { queries, .. } => queries.len() as u64,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_names(sql: &str, limits: &SqlLimits) -> Result<()> {
        check_parsed(sql, limits, |_| Ok(()))
    }

    fn chain(step: &str, names: usize) -> String {
        let next = |n: usize| format!(", t{n} AS ({})", step.replace("LAST", &format!("t{}", n - 1)));
        let rest: String = (1..names).map(next).collect();
        format!("WITH t0 AS (SELECT 1 AS x){rest} SELECT * FROM t{}", names - 1)
    }

    #[test]
    fn a_text_that_doubles_is_refused_and_a_long_one_is_not() {
        let limits = SqlLimits::default();
        for step in [
            "SELECT a.x FROM LAST a, LAST b",
            "SELECT x FROM LAST UNION ALL SELECT x FROM LAST",
            "SELECT (SELECT max(x) FROM LAST) + (SELECT min(x) FROM LAST) AS x",
            "SELECT x FROM LAST WHERE x IN (SELECT x FROM LAST)",
            "WITH i AS (SELECT x FROM LAST UNION ALL SELECT x FROM LAST) SELECT x FROM i",
        ] {
            check_names(&chain(step, 8), &limits).unwrap();
            for statement in ["", "EXPLAIN ", "CREATE VIEW v AS ", "CREATE TABLE c AS ", "CACHE TABLE c "] {
                let sql = format!("{statement}{}", chain(step, 40));
                let error = check_names(&sql, &limits).unwrap_err();
                assert_eq!(error.field(), Some(ConfigField::LimitsPlanNodes), "{sql}: {error}");
            }
            let copy = format!("COPY ({}) TO 'a.csv'", chain(step, 40));
            check_names(&copy, &limits).unwrap_err();
            let cache = format!("CACHE TABLE c ({})", chain(step, 40));
            check_names(&cache, &limits).unwrap_err();
        }
        check_names(&chain("SELECT x FROM LAST", 100), &limits).unwrap();
        check_names("SELECT 1; SELECT * FROM a JOIN b ON a.k = b.k", &limits).unwrap();
        check_names("no SQL at all", &limits).unwrap();
    }

    /// `t1` and `T1` are one name, `"T1"` is another.
    #[test]
    fn a_name_in_quotes_hides_no_other() {
        let limits = SqlLimits::default();
        let hidden = |other: &dyn Fn(usize) -> String| {
            let next = |n: usize| {
                let last = n - 1;
                format!(
                    ", t{n} AS (SELECT 1 FROM T{last} UNION ALL SELECT 1 FROM t{last}), {} AS (SELECT 1)",
                    other(n)
                )
            };
            let names: String = (1..40).map(next).collect();
            format!("WITH t0 AS (SELECT 1){names} SELECT * FROM t39")
        };
        for sql in [hidden(&|n| format!("\"T{n}\"")), hidden(&|n| format!("`T{n}`"))] {
            let error = check_names(&sql, &limits).unwrap_err();
            assert_eq!(error.field(), Some(ConfigField::LimitsPlanNodes), "{sql}: {error}");
        }
        // In quotes and in parts, it is the name that has the period in it.
        let next = |n: usize| {
            let last = n - 1;
            format!(", \"s.t{n}\" AS (SELECT 1 FROM s.t{last} UNION ALL SELECT 1 FROM S.T{last})")
        };
        let names: String = (1..40).map(next).collect();
        let sql = format!("WITH \"s.t0\" AS (SELECT 1){names} SELECT * FROM s.t39");
        assert_eq!(check_names(&sql, &limits).unwrap_err().field(), Some(ConfigField::LimitsPlanNodes));
        // What is two names for DataFusion is not counted as one.
        let both = "WITH \"A\" AS (SELECT 1), a AS (SELECT 1 FROM \"A\"), b AS (SELECT 1 FROM a, \"A\") SELECT * FROM b";
        check_names(both, &limits).unwrap();
    }

    #[test]
    fn names_on_names_and_pipes_are_as_deep_as_they_are_many() {
        let limits = SqlLimits::default();
        let piped = |operator: &str, times: usize| format!("SELECT 1 AS x FROM t{}", operator.repeat(times));
        for (step, fits) in [
            ("SELECT *, 1 AS c FROM LAST", 400),
            ("SELECT x FROM LAST WHERE x > 1 ORDER BY x LIMIT 5", 180),
            ("SELECT x FROM LAST |> WHERE x > 1 |> EXTEND 1 AS y", 200),
            ("SELECT x FROM (a JOIN b ON c CROSS JOIN LAST)", 200),
        ] {
            check_names(&chain(step, fits), &limits).unwrap();
            let error = check_names(&chain(step, 3_000), &limits).unwrap_err();
            assert_eq!(error.field(), Some(ConfigField::LimitsSqlDepth), "{step}: {error}");
        }
        for operator in [" |> EXTEND 1 AS c", " |> WHERE x > 1", " |> UNION ALL (SELECT 1), (SELECT 1)"] {
            check_names(&piped(operator, 400), &limits).unwrap();
            let error = check_names(&piped(operator, 3_000), &limits).unwrap_err();
            assert_eq!(error.field(), Some(ConfigField::LimitsSqlDepth), "{operator}: {error}");
        }
        // Side by side they are not deep.
        let beside: String = (0..2_000).map(|n| format!("t{n} AS (SELECT 1), ")).collect();
        check_names(&format!("WITH {beside}last AS (SELECT 1) SELECT * FROM last"), &limits).unwrap();
        let wide = vec!["SELECT x FROM t WHERE x > 1"; 500].join(" UNION ALL ");
        check_names(&wide, &limits).unwrap();
    }
}
