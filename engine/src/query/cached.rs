//! The statements about cached tables, and what a session remembers of the tables that it cached.
//!
//! Statements about the cache wait for each other; queries wait for none. Files that a statement replaces or gives up are
//! removed once no plan of the session reads them any more: at once, or by a later statement about the cache. The
//! session's end removes them all.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array};
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{CreateMemoryTable, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{Query, Statement};

use super::registry::{Cached, Tables};
use super::session::Session;
use crate::connectors::cache::{Action, Cache, CacheJob, CachedTable, Folder, Stamp, outcome_of};
use crate::query::sql::{CacheStatement, Outcome, local_rows};
use crate::{Error, Result};

/// How long the session's end waits for its files to be removed.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);

impl Session {
    /// Runs a statement about cached tables.
    pub(crate) async fn execute_cache(&self, statement: CacheStatement) -> Result<Outcome> {
        match statement {
            CacheStatement::Cache { name, query } => self.cache(name, query).await,
            CacheStatement::Uncache { name, if_exists } => {
                if self.forget_cached(&name).await? || if_exists {
                    Ok(Outcome::Done("UNCACHE TABLE".to_owned()))
                } else {
                    Err(Error::NotCached { table: name.to_string() })
                }
            }
            CacheStatement::Refresh { name } => self.refresh(&name).await,
            CacheStatement::Clear => {
                let names: Vec<TableReference> = {
                    let tables = self.cached().tables.lock().await;
                    let cached = tables.by_name.values().filter(|cached| cached.original.is_some());
                    cached.map(|cached| cached.name.clone()).collect()
                };
                for name in &names {
                    self.forget_cached(name).await?;
                }
                Ok(Outcome::Done(format!("CLEAR CACHE: {} tables", names.len())))
            }
            CacheStatement::Show => self.show_cached().await,
        }
    }

    async fn cache(&self, name: TableReference, query: Option<Box<Query>>) -> Result<Outcome> {
        let mut tables = self.cached().tables.lock().await;
        let key = self.key(&name);
        if let Some(cached) = tables.by_name.get(&key) {
            if query.is_some() {
                return Err(Error::TableExists { table: name.to_string() });
            }
            return Ok(Outcome::Done(format!(
                "CACHE TABLE: {name} is cached already, at {}; REFRESH TABLE reads it anew",
                cached.table.stamp
            )));
        }
        let context = self.context();
        let (original, plan) = match query {
            None => {
                let provider = context.table_provider(name.clone()).await?;
                let source = provider_as_source(Arc::clone(&provider));
                let plan = LogicalPlanBuilder::scan(name.clone(), source, None)?.build()?;
                (provider, plan)
            }
            Some(query) => {
                if context.table_exist(name.clone())? {
                    return Err(Error::TableExists { table: name.to_string() });
                }
                let definition = query.to_string();
                let statement = SqlStatement::Statement(Box::new(Statement::Query(query)));
                let plan = Box::pin(context.state().statement_to_plan(statement)).await?;
                let view: Arc<dyn TableProvider> = Arc::new(ViewTable::new(plan.clone(), Some(definition)));
                (view, plan)
            }
        };
        let cached = self.fill(&mut tables, name.clone(), Some(original), plan).await?;
        let table = Arc::clone(&cached.table);
        let told = format!("CACHE TABLE: {} rows, cached at {}", table.rows(), table.stamp);
        self.put(name, table).await?;
        tables.by_name.insert(key, cached);
        Ok(Outcome::Done(told))
    }

    async fn refresh(&self, name: &TableReference) -> Result<Outcome> {
        let mut tables = self.cached().tables.lock().await;
        let key = self.key(name);
        let not_cached = || Error::NotCached { table: name.to_string() };
        let (original, plan) = match tables.by_name.get(&key) {
            Some(Cached { original: Some(original), plan, .. }) => (Arc::clone(original), plan.clone()),
            _ => return Err(not_cached()),
        };
        let cached = self.fill(&mut tables, name.clone(), Some(original), plan).await?;
        let table = Arc::clone(&cached.table);
        let told = format!("REFRESH TABLE: {} rows, cached at {}", table.rows(), table.stamp);
        self.put(name.clone(), table).await?;
        let old = tables.by_name.insert(key, cached);
        self.retire(&mut tables, old).await;
        Ok(Outcome::Done(told))
    }

    /// Uncaches a table: its name stands for what it stood for before. Whether it was cached.
    pub(crate) async fn forget_cached(&self, name: &TableReference) -> Result<bool> {
        let mut tables = self.cached().tables.lock().await;
        let key = self.key(name);
        let Some(original) = tables.by_name.get(&key).and_then(|cached| cached.original.clone()) else {
            return Ok(false);
        };
        self.put(name.clone(), original).await?;
        let old = tables.by_name.remove(&key);
        self.retire(&mut tables, old).await;
        Ok(true)
    }

    /// Drops a table that `CREATE TABLE … AS` made. Whether the name was one.
    pub(crate) async fn drop_created(&self, name: &TableReference) -> Result<bool> {
        let mut tables = self.cached().tables.lock().await;
        let key = self.key(name);
        if tables.by_name.get(&key).is_none_or(|cached| cached.original.is_some()) {
            return Ok(false);
        }
        self.context().deregister_table(name.clone())?;
        let old = tables.by_name.remove(&key);
        self.retire(&mut tables, old).await;
        Ok(true)
    }

    /// `CREATE TABLE … AS`: the rows; `None` where the table is there and that is no error.
    pub(crate) async fn create_table_as(&self, table: CreateMemoryTable) -> Result<Option<u64>> {
        let CreateMemoryTable { name, input, if_not_exists, or_replace, .. } = table;
        if self.context().table_exist(name.clone())? {
            if if_not_exists {
                return Ok(None);
            }
            if !or_replace {
                return Err(Error::TableExists { table: name.to_string() });
            }
        }
        let mut tables = self.cached().tables.lock().await;
        let cached = self.fill(&mut tables, name.clone(), None, Arc::unwrap_or_clone(input)).await?;
        let table = Arc::clone(&cached.table);
        let rows = table.rows();
        self.put(name.clone(), table).await?;
        let old = tables.by_name.insert(self.key(&name), cached);
        self.retire(&mut tables, old).await;
        Ok(Some(rows))
    }

    /// Removes all files of this session: before it ends.
    pub(crate) async fn remove_cached(&self) {
        let mut tables = self.cached().tables.lock().await;
        if tables.last > 0
            && let Ok(whole) = self.folder(0)
        {
            tables.by_name.clear();
            tables.retired.clear();
            self.remove_folder(whole).await;
        }
    }

    /// Runs the job that keeps the result of `plan`.
    async fn fill(
        &self,
        tables: &mut Tables,
        name: TableReference,
        original: Option<Arc<dyn TableProvider>>,
        plan: LogicalPlan,
    ) -> Result<Cached> {
        self.check_sources(&plan).await?;
        let schema = Arc::new(plan.schema().as_arrow().clone());
        tables.last += 1;
        let folder = self.folder(tables.last)?;
        let cached_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let batches = match self.job(&folder, Action::Write(Box::new(plan.clone()))).await {
            Ok(batches) => batches,
            Err(error) => {
                self.remove_folder(folder).await;
                return Err(error);
            }
        };
        let (parts, cluster_time) = outcome_of(&batches)?;
        let stamp = Stamp { cached_at: i64::try_from(cached_at).unwrap_or(i64::MAX), cluster_time };
        let store = self.connectors().get::<Cache>()?.store();
        let table = Arc::new(CachedTable { store, folder, schema, parts, stamp });
        Ok(Cached { name, original, plan, table })
    }

    /// Runs a job over `folder`.
    async fn job(&self, folder: &Folder, action: Action) -> Result<Vec<RecordBatch>> {
        let store = self.connectors().get::<Cache>()?.store();
        let job = CacheJob { store, folder: folder.clone(), action };
        let source = provider_as_source(Arc::new(job));
        let plan = LogicalPlanBuilder::scan("cache_job", source, None)?.build()?;
        Ok(Box::pin(DataFrame::new(self.context().state(), plan).collect()).await?)
    }

    /// Gives a name to a table, whatever has it now.
    async fn put(&self, name: TableReference, table: Arc<dyn TableProvider>) -> Result<()> {
        let _alone = self.cached().names.write().await;
        self.context().deregister_table(name.clone())?;
        self.context().register_table(name, table)?;
        Ok(())
    }

    /// Lets go of what was cached, and removes the files that nobody reads any more.
    async fn retire(&self, tables: &mut Tables, cached: Option<Cached>) {
        // Its plan may read another cached table: it goes first.
        tables.retired.extend(cached.map(|cached| cached.table));
        for table in tables.unread() {
            self.remove_folder(table.folder.clone()).await;
        }
    }

    /// Removes a folder where the executors are. What cannot be removed is swept later, so this is no error.
    async fn remove_folder(&self, folder: Folder) {
        let removed = tokio::time::timeout(REMOVE_TIMEOUT, self.job(&folder, Action::Remove)).await;
        let error = match removed {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(%error, %folder, "cannot remove the files of a cached table; they are swept when they are a day old");
    }

    fn folder(&self, number: u64) -> Result<Folder> {
        Folder::new(&self.cached().secret, number)
    }

    /// The name of a table with all its parts.
    fn key(&self, name: &TableReference) -> String {
        let catalog = &self.context().state().config_options().catalog.clone();
        name.clone().resolve(&catalog.default_catalog, &catalog.default_schema).to_string()
    }

    async fn show_cached(&self) -> Result<Outcome> {
        let tables = self.cached().tables.lock().await;
        let mut cached: Vec<&Cached> = tables.by_name.values().collect();
        cached.sort_by_key(|cached| cached.name.to_string());
        let names: StringArray = cached.iter().map(|cached| Some(cached.name.to_string())).collect();
        let rows: UInt64Array = cached.iter().map(|cached| Some(cached.table.rows())).collect();
        let at: TimestampMillisecondArray =
            cached.iter().map(|cached| Some(cached.table.stamp.cached_at)).collect();
        let time: StringArray = cached
            .iter()
            .map(|cached| {
                cached.table.stamp.cluster_time.map(|(time, increment)| format!("{time}.{increment}"))
            })
            .collect();
        let columns: [(&str, ArrayRef); 4] = [
            ("table_name", Arc::new(names)),
            ("rows", Arc::new(rows)),
            ("cached_at", Arc::new(at.with_timezone("UTC"))),
            ("cluster_time", Arc::new(time)),
        ];
        local_rows(RecordBatch::try_from_iter(columns).map_err(DataFusionError::from)?)
    }
}
