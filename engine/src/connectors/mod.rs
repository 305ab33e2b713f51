//! Where tables come from: the list of connectors, and what they have in common.
//!
//! Each connector is a folder with the same rooms: `config`, `connection`, `error`, `codec`, `schema`, `plan`, `read` and
//! `write`. The rest of the engine knows the trait [`Connector`] and this list, and no connector by itself. What two
//! connectors need lies beside the list: the physical node ([`OperatorExec`]), the reader of table options, the metrics of
//! scans, and the point in time at which all scans of a query read.

pub(crate) mod cache;
pub(crate) mod connector;
pub(crate) mod descriptors;
pub(crate) mod file_tables;
pub(crate) mod files;
pub(crate) mod images;
pub(crate) mod kafka;
pub(crate) mod metrics;
pub(crate) mod mongodb;
pub(crate) mod named;
pub(crate) mod options;
pub(crate) mod per_query;
pub(crate) mod records;
pub(crate) mod registry;

use std::sync::Arc;

use tokio::runtime::Handle;

use self::cache::Cache;
pub use self::connector::{
    BuiltinTable, ClusterTime, Connector, Factory, NodeDecoder, NodeEncoder, ScanNode, TableDecoder,
    TableEncoder,
};
pub use self::descriptors::{Execution, Input, Operator, OperatorExec, one_input};
use self::files::FileStores;
use self::images::Images;
use self::kafka::Kafka;
pub use self::metrics::{BYTES_SCANNED, bytes_scanned};
use self::mongodb::MongoDb;
pub use self::mongodb::predictions_schema;
use self::registry::{Connectors, Shared};
use crate::Config;
use crate::lease::{Fence, Lease};
use crate::slots::Slots;

/// The connectors that every process has.
fn builtin(config: &Config, shared: &Shared) -> Vec<Arc<dyn Connector>> {
    vec![
        Arc::new(MongoDb::new(config, shared)),
        Arc::new(Kafka::new(config, shared)),
        Arc::new(Images::new(&config.functions, shared)),
        Arc::new(Cache::new(config)),
    ]
}

impl Connectors {
    /// The connectors of a process with this configuration. Nothing connects before it is used. Clients live on `runtime`.
    pub(crate) fn new(config: &Config, runtime: Handle) -> Self {
        let shared = Shared {
            runtime,
            slots: Slots::default(),
            lease: Lease::default(),
            fence: Fence::default(),
            files: Arc::new(FileStores::new(&config.files)),
        };
        let mut list = builtin(config, &shared);
        for added in &config.connectors {
            // The last one of a name wins, as with functions and tables.
            list.retain(|known| known.name() != added.name());
            list.push(Arc::clone(added));
        }
        Self {
            list,
            functions: config.functions.clone(),
            slots: shared.slots,
            lease: shared.lease,
            fence: shared.fence,
            files: shared.files,
            limits: config.limits,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Error;
    use crate::config::DEFAULT_CONNECTION;

    #[tokio::test]
    async fn a_name_that_is_not_configured_is_told() {
        let connectors = Connectors::new(&Config::default(), Handle::current());
        let mongodb = connectors.get::<MongoDb>().unwrap();
        let kafka = connectors.get::<Kafka>().unwrap();
        assert!(
            mongodb.connection(DEFAULT_CONNECTION).is_ok() && kafka.connection(DEFAULT_CONNECTION).is_ok()
        );
        assert!(
            matches!(mongodb.connection("other"), Err(Error::UnknownConnection { name }) if name == "other")
        );
        assert!(
            matches!(kafka.connection("other"), Err(Error::UnknownConnection { name }) if name == "other")
        );
        let told = connectors.named("cassandra").unwrap_err().to_string();
        assert!(told.contains("`cassandra`") && told.contains("mongodb, kafka, images, cache"), "{told}");
    }

    #[tokio::test]
    async fn names_of_connectors_and_scans_are_distinct() {
        let connectors = Connectors::new(&Config::default(), Handle::current());
        let names: BTreeSet<&str> = connectors.iter().map(Connector::name).collect();
        assert_eq!(names.len(), connectors.iter().count());
        let scans: Vec<&ScanNode> = connectors.iter().flat_map(Connector::scans).collect();
        let (nodes, labels): (BTreeSet<&str>, BTreeSet<&str>) =
            scans.iter().map(|scan| (scan.name, scan.label)).unzip();
        assert_eq!((nodes.len(), labels.len()), (scans.len(), scans.len()));
    }
}
