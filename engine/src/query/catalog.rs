//! What a session knows: its tables with their columns, and its functions. For shells, which list and complete names.

use datafusion::datasource::TableType;

use super::session::Session;
use crate::Result;

/// A table that a query may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// The catalog.
    pub catalog: String,
    /// The schema within the catalog.
    pub schema: String,
    /// The name within the schema.
    pub name: String,
    /// `table`, `view` or `temporary table`.
    pub kind: &'static str,
    /// Its columns, in order.
    pub columns: Vec<ColumnInfo>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnInfo {
    /// Its name.
    pub name: String,
    /// Its Arrow type.
    pub data_type: String,
    /// Whether it may hold nulls.
    pub nullable: bool,
}

/// A function that a query may call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FunctionInfo {
    /// Its name.
    pub name: String,
    /// `scalar`, `aggregate` or `window`.
    pub kind: &'static str,
    /// How it is called, such as `abs(numeric_expression)`; empty where that is not documented.
    pub syntax: String,
    /// What it does, in a line; empty where that is not documented.
    pub description: String,
}

impl Session {
    /// The tables of this session, sorted by catalog, schema and name. `information_schema` is left out.
    pub async fn tables(&self) -> Result<Vec<TableInfo>> {
        let state = self.inner.context.0.state();
        let catalogs = state.catalog_list();
        let mut tables = Vec::new();
        for catalog_name in catalogs.catalog_names() {
            let Some(catalog) = catalogs.catalog(&catalog_name) else { continue };
            for schema_name in catalog.schema_names() {
                let Some(schema) = catalog.schema(&schema_name) else { continue };
                if schema_name == "information_schema" {
                    continue;
                }
                for name in schema.table_names() {
                    // It may have been dropped in between.
                    let Some(table) = schema.table(&name).await? else { continue };
                    let columns = table.schema();
                    let columns = columns.fields().iter().map(|field| ColumnInfo {
                        name: field.name().clone(),
                        data_type: field.data_type().to_string(),
                        nullable: field.is_nullable(),
                    });
                    tables.push(TableInfo {
                        catalog: catalog_name.clone(),
                        schema: schema_name.clone(),
                        name,
                        kind: match table.table_type() {
                            TableType::Base => "table",
                            TableType::View => "view",
                            TableType::Temporary => "temporary table",
                        },
                        columns: columns.collect(),
                    });
                }
            }
        }
        tables.sort_by(|a, b| (&a.catalog, &a.schema, &a.name).cmp(&(&b.catalog, &b.schema, &b.name)));
        Ok(tables)
    }

    /// Whether a table is where an unqualified name is looked up.
    pub fn is_default_schema(&self, table: &TableInfo) -> bool {
        let state = self.inner.context.0.state();
        let options = &state.config_options().catalog;
        table.catalog == options.default_catalog && table.schema == options.default_schema
    }

    /// The functions of this session, sorted by name. An alias is a function of its own.
    pub fn functions(&self) -> Vec<FunctionInfo> {
        let state = self.inner.context.0.state();
        let scalar = state.scalar_functions().iter().map(|(name, f)| (name, "scalar", f.documentation()));
        let aggregate =
            state.aggregate_functions().iter().map(|(name, f)| (name, "aggregate", f.documentation()));
        let window = state.window_functions().iter().map(|(name, f)| (name, "window", f.documentation()));
        let mut functions: Vec<FunctionInfo> = scalar
            .chain(aggregate)
            .chain(window)
            .map(|(name, kind, documentation)| {
                let line = |text: &str| text.trim().lines().next().unwrap_or_default().trim().to_owned();
                FunctionInfo {
                    name: name.clone(),
                    kind,
                    syntax: documentation.map(|d| line(&d.syntax_example)).unwrap_or_default(),
                    description: documentation.map(|d| line(&d.description)).unwrap_or_default(),
                }
            })
            .collect();
        functions.sort();
        functions
    }
}
