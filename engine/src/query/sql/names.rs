//! Names with capitals, as fields of documents have them: `userId`.
//!
//! SQL lower-cases a name that is not quoted. In the columns of a table of MongoDB it is the field's, so it is kept as it is
//! written; and in a statement that reads such a table, a name stays as it is where that is how a column is called and no
//! column is called like its lower case. Every other name means what it means in SQL.

use std::collections::HashSet;
use std::ops::ControlFlow;

use arrow::datatypes::{DataType, Fields};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType as SqlType, Expr, Ident, ObjectNamePart, Query, SelectItem, SetExpr,
    Statement as SqlStatement, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// The format of the tables whose columns are fields of documents.
const FORMAT: &str = "MONGODB";

/// Keeps the names of the columns that a table of MongoDB declares.
pub(super) fn in_declaration(statement: &mut Statement) {
    if let Statement::CreateExternalTable(table) = statement
        && table.file_type.eq_ignore_ascii_case(FORMAT)
    {
        for column in &mut table.columns {
            keep(&mut column.name);
            keep_parts(&mut column.data_type);
        }
    }
}

fn keep(name: &mut Ident) {
    name.quote_style.get_or_insert('"');
}

fn keep_parts(data_type: &mut SqlType) {
    match data_type {
        SqlType::Struct(parts, _) => {
            for part in parts {
                part.field_name.iter_mut().for_each(keep);
                keep_parts(&mut part.field_type);
            }
        }
        SqlType::Array(
            ArrayElemTypeDef::AngleBracket(element) | ArrayElemTypeDef::SquareBracket(element, _),
        ) => keep_parts(element),
        _ => {}
    }
}

/// Keeps the names of columns with capitals that a statement reads or writes.
pub(super) async fn in_statement(context: &SessionContext, sql: &str, statement: &mut Statement) {
    let mut names = with_capitals(sql);
    if names.is_empty() {
        return;
    }
    // What is wrong with a table is told when the statement is planned.
    let tables = context.state().resolve_table_references(statement).unwrap_or_default();
    let mut columns = HashSet::new();
    for table in tables {
        if let Ok(table) = context.table_provider(table).await {
            add_names(table.schema().fields(), &mut columns);
        }
    }
    names.retain(|name| columns.contains(name) && !columns.contains(&name.to_lowercase()));
    if names.is_empty() {
        return;
    }
    let mut own = Aliases::default();
    rewrite(statement, &mut own, &mut Keeper { names: &HashSet::new() });
    names.retain(|name| !own.names.contains(&name.to_lowercase()));
    rewrite(statement, &mut Aliases::default(), &mut Keeper { names: &names });
}

/// The names in a text that are not quoted and have capitals.
fn with_capitals(sql: &str) -> HashSet<String> {
    // A text that cannot be read is the parser's to tell.
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().unwrap_or_default();
    let name = |token| match token {
        Token::Word(word) if word.quote_style.is_none() && word.value.contains(char::is_uppercase) => {
            // Most capitals are of keywords.
            let keyword = word.keyword != Keyword::NoKeyword && !word.value.contains(char::is_lowercase);
            (!keyword).then_some(word.value)
        }
        _ => None,
    };
    tokens.into_iter().filter_map(name).collect()
}

fn add_names(fields: &Fields, names: &mut HashSet<String>) {
    for field in fields {
        names.insert(field.name().clone());
        let mut inner = field.data_type();
        while let DataType::List(item) = inner {
            inner = item.data_type();
        }
        if let DataType::Struct(parts) = inner {
            add_names(parts, names);
        }
    }
}

/// Looks at the aliases in a statement, and keeps names in it.
fn rewrite(statement: &mut Statement, aliases: &mut Aliases, keeper: &mut Keeper<'_>) {
    match statement {
        Statement::Statement(statement) => {
            let _ = Visit::visit(statement.as_ref(), aliases);
            let _ = VisitMut::visit(statement.as_mut(), keeper);
            if let SqlStatement::Insert(insert) = statement.as_mut() {
                let parts = insert.columns.iter_mut().flat_map(|column| &mut column.0);
                for part in parts {
                    if let ObjectNamePart::Identifier(name) = part {
                        keeper.keep(name);
                    }
                }
            }
        }
        Statement::Explain(explain) => rewrite(&mut explain.statement, aliases, keeper),
        Statement::CopyTo(copy) => {
            if let CopyToSource::Query(query) = &mut copy.source {
                let _ = Visit::visit(query.as_ref(), aliases);
                let _ = VisitMut::visit(query.as_mut(), keeper);
            }
        }
        Statement::CreateExternalTable(_) | Statement::Reset(_) => {}
    }
}

/// The names that a statement gives itself, in lower case.
#[derive(Default)]
struct Aliases {
    names: HashSet<String>,
}

impl Aliases {
    fn add(&mut self, name: &Ident) {
        if name.quote_style.is_none() {
            self.names.insert(name.value.to_lowercase());
        }
    }

    fn add_selected(&mut self, body: &SetExpr) {
        match body {
            SetExpr::Select(select) => {
                for item in &select.projection {
                    if let SelectItem::ExprWithAlias { alias, .. } = item {
                        self.add(alias);
                    }
                }
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.add_selected(left);
                self.add_selected(right);
            }
            _ => {}
        }
    }
}

impl Visitor for Aliases {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for table in query.with.iter().flat_map(|with| &with.cte_tables) {
            table.alias.columns.iter().for_each(|column| self.add(&column.name));
        }
        self.add_selected(&query.body);
        ControlFlow::Continue(())
    }
}

/// Keeps these names as they are written.
struct Keeper<'a> {
    names: &'a HashSet<String>,
}

impl Keeper<'_> {
    fn keep(&self, name: &mut Ident) {
        if name.quote_style.is_none() && self.names.contains(&name.value) {
            keep(name);
        }
    }
}

impl VisitorMut for Keeper<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => self.keep(name),
            Expr::CompoundIdentifier(parts) => parts.iter_mut().for_each(|part| self.keep(part)),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Schema};
    use datafusion::datasource::empty::EmptyTable;
    use datafusion::sql::parser::DFParser;

    use super::*;

    fn parsed(sql: &str) -> Statement {
        DFParser::parse_sql(sql).unwrap().pop_front().unwrap()
    }

    #[test]
    fn declared_columns_of_documents_keep_their_names() {
        let sql = "CREATE EXTERNAL TABLE t (_id INT, userId INT, s STRUCT<zipCode INT, l ARRAY<STRUCT<skU INT>>>) \
                   STORED AS mongodb LOCATION 'c'";
        let mut statement = parsed(sql);
        in_declaration(&mut statement);
        let Statement::CreateExternalTable(table) = statement else { panic!("{statement}") };
        let columns: Vec<String> = table.columns.iter().map(ToString::to_string).collect();
        assert_eq!(columns[1], "\"userId\" INT");
        assert!(columns[2].contains("\"zipCode\" INT") && columns[2].contains("\"skU\" INT"), "{columns:?}");
        let mut other = parsed("CREATE EXTERNAL TABLE t (userId INT) STORED AS CSV LOCATION 'c'");
        in_declaration(&mut other);
        let Statement::CreateExternalTable(table) = other else { panic!("{other}") };
        assert_eq!(table.columns[0].to_string(), "userId INT");
    }

    #[tokio::test]
    async fn names_of_columns_with_capitals_are_kept() {
        let context = SessionContext::new();
        let field = |name: &str| Field::new(name, DataType::Int32, true);
        let part = Field::new_struct("s", vec![field("zipCode")], true);
        let fields = vec![field("_id"), field("userId"), field("Both"), field("both"), part];
        let table = Arc::new(EmptyTable::new(Arc::new(Schema::new(fields))));
        context.register_table("t", table).unwrap();
        for (sql, expected) in [
            (
                "SELECT userId FROM t WHERE t.userId = 5 GROUP BY userId ORDER BY userId",
                "SELECT \"userId\" FROM t WHERE t.\"userId\" = 5 GROUP BY \"userId\" ORDER BY \"userId\"",
            ),
            ("SELECT s.zipCode FROM t", "SELECT s.\"zipCode\" FROM t"),
            ("INSERT INTO t (_id, userId) VALUES (1, 2)", "INSERT INTO t (_id, \"userId\") VALUES (1, 2)"),
            ("SELECT count(userId) AS Users FROM t", "SELECT count(\"userId\") AS Users FROM t"),
            ("SELECT userid, USERID, Both, Other FROM t", "SELECT userid, USERID, Both, Other FROM t"),
            ("SELECT _id AS userId FROM t ORDER BY userId", "SELECT _id AS userId FROM t ORDER BY userId"),
            ("EXPLAIN SELECT userId FROM t", "EXPLAIN SELECT \"userId\" FROM t"),
            ("SELECT userId FROM nowhere", "SELECT userId FROM nowhere"),
        ] {
            let mut statement = parsed(sql);
            in_statement(&context, sql, &mut statement).await;
            assert_eq!(statement.to_string(), expected);
        }
    }
}
