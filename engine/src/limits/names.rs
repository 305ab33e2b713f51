//! The limit of what a statement becomes when each use of a name in `WITH` is the whole query behind it.
//!
//! `WITH a AS (…), b AS (SELECT * FROM a, a), c AS (SELECT * FROM b, b) …` doubles with each name, and planning it takes as long
//! as what comes of it is large. So the uses are counted in the syntax tree, which is as large as the text.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::parser::{CopyToSource, DFParser, Statement};
use datafusion::sql::sqlparser::ast::{ObjectName, Query, Visit as _, Visitor};

use super::SqlLimits;
use super::over;
use crate::{ConfigField, Result};

/// Checks the tables that a text of SQL reads, each use of a name counted with all that is behind it.
///
/// A text that cannot be parsed is left to the parser, which says what is wrong with it.
pub(super) fn check_names(sql: &str, limits: &SqlLimits) -> Result<()> {
    let Ok(statements) = DFParser::parse_sql(sql) else { return Ok(()) };
    for mut statement in &statements {
        while let Statement::Explain(explained) = statement {
            statement = &explained.statement;
        }
        let mut uses = Uses { most: limits.plan_nodes as u64, scopes: vec![Scope::default()] };
        let visited = match statement {
            Statement::Statement(statement) => statement.visit(&mut uses),
            Statement::CopyTo(copy) => match &copy.source {
                CopyToSource::Query(query) => query.visit(&mut uses),
                CopyToSource::Relation(_) => continue,
            },
            _ => continue,
        };
        if visited.is_break() {
            return Err(over("the nodes of the plan", limits.plan_nodes, ConfigField::LimitsPlanNodes));
        }
    }
    Ok(())
}

/// Counts while the tree is walked.
struct Uses {
    most: u64,
    /// The queries around what is being walked, the outermost first.
    scopes: Vec<Scope>,
}

/// A query.
#[derive(Default)]
struct Scope {
    /// The queries of its `WITH`, by where they lie in the tree, with their names.
    defined: HashMap<*const Query, String>,
    /// How large each name is that has been walked.
    names: HashMap<String, u64>,
    size: u64,
}

impl Uses {
    fn add(&mut self, size: u64) -> ControlFlow<()> {
        let Some(scope) = self.scopes.last_mut() else { return ControlFlow::Break(()) };
        scope.size = scope.size.saturating_add(size);
        if scope.size > self.most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Visitor for Uses {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let named = query.with.iter().flat_map(|with| &with.cte_tables);
        let defined = named
            .map(|name| (std::ptr::from_ref(name.query.as_ref()), name.alias.name.value.to_lowercase()))
            .collect();
        self.scopes.push(Scope { defined, ..Scope::default() });
        self.add(1)
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let Some(ended) = self.scopes.pop() else { return ControlFlow::Break(()) };
        if let Some(around) = self.scopes.last_mut()
            && let Some(name) = around.defined.get(&std::ptr::from_ref(query))
        {
            around.names.insert(name.clone(), ended.size);
            return ControlFlow::Continue(());
        }
        self.add(ended.size)
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let name = match relation.0.as_slice() {
            [part] => part.as_ident().map(|name| name.value.to_lowercase()),
            _ => None,
        };
        let size =
            name.and_then(|name| self.scopes.iter().rev().find_map(|scope| scope.names.get(&name)).copied());
        self.add(size.unwrap_or(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            for statement in ["", "EXPLAIN ", "CREATE VIEW v AS ", "CREATE TABLE c AS "] {
                let sql = format!("{statement}{}", chain(step, 40));
                let error = check_names(&sql, &limits).unwrap_err();
                assert_eq!(error.field(), Some(ConfigField::LimitsPlanNodes), "{sql}: {error}");
            }
            let copy = format!("COPY ({}) TO 'a.csv'", chain(step, 40));
            check_names(&copy, &limits).unwrap_err();
        }
        check_names(&chain("SELECT x FROM LAST", 100), &limits).unwrap();
        check_names("SELECT 1; SELECT * FROM a JOIN b ON a.k = b.k", &limits).unwrap();
        check_names("no SQL at all", &limits).unwrap();
    }
}
