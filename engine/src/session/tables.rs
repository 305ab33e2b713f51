//! The tables that every session has from the start: one list, for the client and for what the scheduler plans itself.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;

use crate::Config;
use crate::config::DEFAULT_CONNECTION;
use crate::connections::Connections;
use crate::kafka::{Format, KafkaTable, TableOptions};
use crate::mongodb::MongoTable;

/// Registers them in the default schema of `state`. Nothing connects to a server.
pub(crate) fn register(state: &SessionState, config: &Config, connections: &Arc<Connections>) -> Result<()> {
    let options = &state.config_options().catalog;
    let catalog = state.catalog_list().catalog(&options.default_catalog);
    let schema = catalog.and_then(|catalog| catalog.schema(&options.default_schema)).ok_or_else(|| {
        DataFusionError::Internal(format!(
            "there is no schema {}.{}",
            options.default_catalog, options.default_schema
        ))
    })?;
    for (name, table) in builtin(config, connections)? {
        schema.register_table(name.to_owned(), table)?;
    }
    Ok(())
}

fn builtin(
    config: &Config,
    connections: &Arc<Connections>,
) -> Result<Vec<(&'static str, Arc<dyn TableProvider>)>> {
    let predictions = MongoTable::new(
        Arc::clone(connections),
        DEFAULT_CONNECTION,
        &config.mongodb.database,
        "predictions",
        crate::predictions_schema(),
        config.scan.clone(),
    )?
    .with_write(config.write.clone());
    let topic =
        |topic, format| Arc::new(KafkaTable::new(Arc::clone(connections), TableOptions::new(topic, format)));
    Ok(vec![
        ("predictions", Arc::new(predictions)),
        ("images", topic(&config.kafka.images_topic, Format::Images)),
        ("predictions_topic", topic(&config.kafka.predictions_topic, Format::Predictions)),
    ])
}
