//! What a session remembers of the tables that it cached.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::logical_expr::LogicalPlan;

use crate::connectors::cache::CachedTable;

/// The tables that a session has cached.
#[derive(Debug)]
pub(crate) struct Registry {
    /// The name of this session's folder. Whoever knows it can read and remove what is cached, and nobody can guess it: it is
    /// in the plans of this session and nowhere else.
    pub(super) secret: String,
    pub(super) tables: tokio::sync::Mutex<Tables>,
    /// Held alone while a name is given to another table.
    pub(super) names: tokio::sync::RwLock<()>,
}

impl Default for Registry {
    fn default() -> Self {
        let secret = format!("{:032x}", rand::random::<u128>());
        Self { secret, tables: tokio::sync::Mutex::default(), names: tokio::sync::RwLock::default() }
    }
}

impl Registry {
    /// While this is held, no name changes its table: a query never finds that there is none.
    pub(crate) async fn freeze_names(&self) -> tokio::sync::RwLockReadGuard<'_, ()> {
        self.names.read().await
    }
}

#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) by_name: HashMap<String, Cached>,
    /// The number of the folder that was made last.
    pub(super) last: u64,
    /// Given up, and perhaps still read by a plan.
    pub(super) retired: Vec<Arc<CachedTable>>,
}

#[derive(Debug)]
pub(super) struct Cached {
    pub(super) name: TableReference,
    /// The table that has the name again when this one is uncached; `None` where `CREATE TABLE … AS` made the table.
    pub(super) original: Option<Arc<dyn TableProvider>>,
    /// The query whose result is cached.
    pub(super) plan: LogicalPlan,
    pub(super) table: Arc<CachedTable>,
}

impl Tables {
    /// Takes out what no plan reads any more.
    pub(super) fn unread(&mut self) -> Vec<Arc<CachedTable>> {
        let (unread, read) =
            self.retired.drain(..).partition(|table: &Arc<CachedTable>| Arc::strong_count(table) == 1);
        self.retired = read;
        unread
    }
}
