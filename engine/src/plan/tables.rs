//! The tables that every session has from the start: one list, for the client and for what the scheduler plans itself.

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;

use crate::connectors::registry::Connectors;

/// Registers them in the default schema of `state`. Nothing connects to a server.
pub(crate) fn register(state: &SessionState, connectors: &Connectors) -> Result<()> {
    let options = &state.config_options().catalog;
    let catalog = state.catalog_list().catalog(&options.default_catalog);
    let schema = catalog.and_then(|catalog| catalog.schema(&options.default_schema)).ok_or_else(|| {
        DataFusionError::Internal(format!(
            "there is no schema {}.{}",
            options.default_catalog, options.default_schema
        ))
    })?;
    for connector in connectors.iter() {
        for (name, table) in connector.tables()? {
            schema.register_table(name.to_owned(), table)?;
        }
    }
    Ok(())
}
