//! The connectors of a process, as the rest of the engine asks them.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::LogicalPlan;
use tokio::runtime::Handle;

use super::connector::Connector;
use super::files::FileStores;
use crate::functions::Functions;
use crate::lease::{Fence, Lease};
use crate::limits::SqlLimits;
use crate::slots::Slots;
use crate::{Error, Result};

/// The parts of a process that its connectors share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// Where background tasks of clients run. It outlives every scan.
    pub(crate) runtime: Handle,
    /// How many tasks the cluster runs at once.
    pub(crate) slots: Slots,
    /// Until when tasks of this process may write.
    pub(crate) lease: Lease,
    /// Until when lost executors may still write.
    pub(crate) fence: Fence,
    /// The files that plans may have.
    pub(crate) files: Arc<FileStores>,
}

/// The connectors of a process, and what plans refer to by name besides them: the functions of the program.
#[derive(Debug)]
pub(crate) struct Connectors {
    pub(super) list: Vec<Arc<dyn Connector>>,
    pub(super) functions: Functions,
    pub(super) slots: Slots,
    pub(super) lease: Lease,
    pub(super) fence: Fence,
    pub(super) files: Arc<FileStores>,
    pub(super) limits: SqlLimits,
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

    /// Until when tasks of this process may write: kept by its registration as an executor, asked by who writes.
    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Until when lost executors may still write: kept by who watches the executors, passed by who plans a write.
    pub(crate) fn fence(&self) -> &Fence {
        &self.fence
    }

    /// The files that plans may have in this process.
    pub(crate) fn files(&self) -> &Arc<FileStores> {
        &self.files
    }

    /// How much one request may ask this process for.
    pub(crate) fn limits(&self) -> &SqlLimits {
        &self.limits
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
