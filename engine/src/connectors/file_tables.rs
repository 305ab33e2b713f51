//! Tables over files out of statements: `CREATE EXTERNAL TABLE … STORED AS CSV LOCATION '/data/a.csv'`.
//!
//! DataFusion makes them. What it would make of an unbounded one opens its file by itself, and not through the stores that
//! know which files are allowed (see [`super::files`]), so there is none.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider, TableProviderFactory};
use datafusion::datasource::listing_table_factory::ListingTableFactory;
use datafusion::error::Result;
use datafusion::logical_expr::CreateExternalTable;

use crate::Error;

/// The formats of tables whose location is a file or a folder.
pub(crate) const FILE_FORMATS: [&str; 6] = ["PARQUET", "CSV", "JSON", "NDJSON", "ARROW", "AVRO"];

/// Makes tables over files.
#[derive(Debug, Default)]
pub(crate) struct FileTables {
    listing: ListingTableFactory,
}

#[async_trait]
impl TableProviderFactory for FileTables {
    async fn create(
        &self,
        state: &dyn Session,
        statement: &CreateExternalTable,
    ) -> Result<Arc<dyn TableProvider>> {
        let is_asked = |(name, value): (&String, &String)| {
            name.to_lowercase().ends_with("unbounded") && value.eq_ignore_ascii_case("true")
        };
        if statement.unbounded || statement.options.iter().any(is_asked) {
            return Err(Error::UnsupportedStatement {
                statement: "an unbounded table over a file",
                instead: "a file is read as it is when a query begins; STORED AS KAFKA reads what goes on",
            }
            .into());
        }
        self.listing.create(state, statement).await
    }
}
