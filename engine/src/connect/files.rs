//! The folder that files are written to: whether it holds any, and its end.

use datafusion::datasource::listing::ListingTableUrl;
use datafusion::object_store::path::Path as Location;
use datafusion::object_store::{ObjectStore, ObjectStoreExt as _};
use futures::TryStreamExt as _;
use std::sync::Arc;

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

    /// Whether there are files in it.
    pub(super) async fn has_files(&self) -> Result<bool> {
        let mut files = self.store.list(Some(&self.prefix));
        match files.try_next().await {
            Ok(found) => Ok(found.is_some()),
            Err(datafusion::object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(datafusion::error::DataFusionError::from(error).into()),
        }
    }

    /// Deletes the files in it. Who reads meanwhile may see some of them.
    pub(super) async fn clear(&self) -> Result<()> {
        let found: Vec<_> = match self.store.list(Some(&self.prefix)).try_collect().await {
            Ok(found) => found,
            Err(datafusion::object_store::Error::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(datafusion::error::DataFusionError::from(error).into()),
        };
        for file in found {
            self.store.delete(&file.location).await.map_err(datafusion::error::DataFusionError::from)?;
        }
        Ok(())
    }
}
