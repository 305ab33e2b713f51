//! The folder that files are written to.

use std::sync::Arc;

use datafusion::datasource::listing::ListingTableUrl;
use datafusion::error::DataFusionError;
use datafusion::object_store::path::Path as Location;
use datafusion::object_store::{Error as StoreError, ObjectStore, ObjectStoreExt as _};
use futures::TryStreamExt as _;

use super::error::{Result, SparkError};
use crate::Session;

/// A folder of files, below what SQL may have.
pub(super) struct Folder {
    store: Arc<dyn ObjectStore>,
    prefix: Location,
    location: String,
}

impl Folder {
    /// The folder `path`, which is made absolute.
    pub(super) fn new(session: &Session, path: &str) -> Result<Self> {
        let absolute = match path.contains("://") {
            true => path.to_owned(),
            false => {
                let path = std::path::absolute(path)
                    .map_err(|error| SparkError::argument(format!("{path:?}: {error}")))?;
                path.to_string_lossy().into_owned()
            }
        };
        let location = format!("{}/", absolute.trim_end_matches('/'));
        let url = ListingTableUrl::parse(&location)?;
        session.connectors().files().check_written(&url)?;
        let store = session.context().runtime_env().object_store(url.object_store())?;
        Ok(Self { store, prefix: url.prefix().clone(), location })
    }

    /// The folder's name, with a slash at its end.
    pub(super) fn location(&self) -> &str {
        &self.location
    }

    /// The files in it.
    pub(super) async fn files(&self) -> Result<Vec<Location>> {
        match self.store.list(Some(&self.prefix)).try_collect::<Vec<_>>().await {
            Ok(found) => Ok(found.into_iter().map(|file| file.location).collect()),
            Err(StoreError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(DataFusionError::from(error).into()),
        }
    }

    /// Deletes files of it.
    pub(super) async fn delete(&self, files: Vec<Location>) -> Result<()> {
        for file in files {
            self.store.delete(&file).await.map_err(DataFusionError::from)?;
        }
        Ok(())
    }
}
