//! Where tables come from: the list of connectors, and what they have in common.
//!
//! Each connector is a folder with the same rooms: `config`, `connection`, `error`, `codec`, `schema`, `plan`, `read` and
//! `write`. The rest of the engine knows the trait [`Connector`] and this list, and no connector by itself. What two
//! connectors need lies beside the list: the physical node ([`OperatorExec`]), the reader of table options, the metrics of
//! scans, and the point in time at which all scans of a query read.

pub(crate) mod cache;
mod connector;
mod descriptors;
mod kafka;
pub(crate) mod metrics;
pub(crate) mod mongodb;
pub(crate) mod options;
pub(crate) mod per_query;

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::LogicalPlan;
use tokio::runtime::Handle;

use self::cache::Cache;
pub use self::connector::{
    BuiltinTable, ClusterTime, Connector, Factory, NodeDecoder, NodeEncoder, ScanNode, TableDecoder,
    TableEncoder,
};
pub use self::descriptors::{Execution, Input, Operator, OperatorExec, one_input};
use self::kafka::Kafka;
pub use self::metrics::{BYTES_SCANNED, bytes_scanned};
use self::mongodb::MongoDb;
pub use self::mongodb::predictions_schema;
use crate::functions::Functions;
use crate::slots::Slots;
use crate::{Config, Error, Result};

/// The connectors that every process has.
fn builtin(config: &Config, shared: &Shared) -> Vec<Arc<dyn Connector>> {
    vec![
        Arc::new(MongoDb::new(config, shared)),
        Arc::new(Kafka::new(config, shared)),
        Arc::new(Cache::new(config)),
    ]
}

/// What a process gives to its connectors.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// Where background tasks of clients run. It outlives every scan.
    pub(crate) runtime: Handle,
    /// How many tasks the cluster runs at once.
    pub(crate) slots: Slots,
}

/// The connectors of a process, and what plans refer to by name besides them: the functions of the program.
#[derive(Debug)]
pub(crate) struct Connectors {
    list: Vec<Arc<dyn Connector>>,
    functions: Functions,
    slots: Slots,
}

/// A connection that a plan reads through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionName {
    /// The connector's name.
    pub(crate) connector: &'static str,
    /// The connection's name.
    pub(crate) connection: String,
}

impl Connectors {
    /// The connectors of a process with this configuration. Nothing connects before it is used. Clients live on `runtime`.
    pub(crate) fn new(config: &Config, runtime: Handle) -> Self {
        let shared = Shared { runtime, slots: Slots::default() };
        let mut list = builtin(config, &shared);
        for added in &config.connectors {
            // The last one of a name wins, as with functions and tables.
            list.retain(|known| known.name() != added.name());
            list.push(Arc::clone(added));
        }
        Self { list, functions: config.functions.clone(), slots: shared.slots }
    }

    /// All connectors.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(dyn Connector + 'static)> {
        self.list.iter().map(AsRef::as_ref)
    }

    /// The connector of a name that a plan carries.
    pub(crate) fn named(&self, name: &str) -> Result<&dyn Connector> {
        self.iter().find(|connector| connector.name() == name).ok_or_else(|| {
            let known: Vec<&str> = self.iter().map(Connector::name).collect();
            let message = format!("this process has no connector `{name}`; it has {}", known.join(", "));
            Error::PlanDecode { message }
        })
    }

    /// A connector by its type, for statements and functions that are about this one.
    pub(crate) fn get<C: Connector>(&self) -> Result<&C> {
        let found = self.iter().find_map(|connector| (connector as &dyn Any).downcast_ref::<C>());
        found.ok_or_else(|| Error::UnknownConnection { name: std::any::type_name::<C>().to_owned() })
    }

    /// How many tasks the cluster runs at once: set by who watches the executors, asked by who plans a scan.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The functions that the program registered.
    pub(crate) fn functions(&self) -> &Functions {
        &self.functions
    }

    /// The connections that the tables of a plan read through.
    pub(crate) fn connections_of(
        &self,
        plan: &LogicalPlan,
    ) -> datafusion::error::Result<BTreeSet<ConnectionName>> {
        let mut names = BTreeSet::new();
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node
                && let Ok(table) = source_as_provider(&scan.source)
            {
                names.extend(self.iter().filter_map(|connector| {
                    let connection = connector.connection_of(table.as_ref())?;
                    Some(ConnectionName { connector: connector.name(), connection })
                }));
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(names)
    }

    /// Checks that the server behind a connection answers. The error names the address and the setting.
    pub(crate) async fn check(&self, name: &ConnectionName) -> Result<()> {
        self.named(name.connector)?.check(&name.connection).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert!(told.contains("`cassandra`") && told.contains("mongodb, kafka, cache"), "{told}");
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
