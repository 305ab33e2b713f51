//! The folder that a table is over: where it is, and which of its files are images.
//!
//! Files are listed and opened through the process's object stores, which alone know which folders are allowed (see
//! [`crate::connectors::files`]). A file is known by its path below the folder, the rest is the same for all of them.

use std::path::Path;
use std::sync::Arc;

use datafusion::datasource::listing::ListingTableUrl;
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreRegistry as _;
use datafusion::object_store::path::Path as Location;
use datafusion::object_store::{ObjectMeta, ObjectStore};
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use url::Url;

use super::error;
use super::pattern::FileOptions;
use crate::connectors::files::{FileStores, tidy};
use crate::{Error, Result};

/// A folder, by its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Folder(ListingTableUrl);

/// A file of a folder, as it is when the folder is listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ImageFile {
    /// Its path below the folder, with slashes.
    pub(crate) relative: String,
    /// In bytes.
    pub(crate) size: u64,
    /// When it was last written, in milliseconds since 1970.
    pub(crate) modified: i64,
}

impl ImageFile {
    /// The name of the folder directly below the table's that the file is in; `None` where there is none in between.
    pub(crate) fn label(&self) -> Option<&str> {
        self.relative.split_once('/').map(|(folder, _)| folder)
    }
}

impl Folder {
    /// Reads a location: the name of a folder, or an address with a scheme.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] where it is neither.
    pub(crate) fn parse(location: &str) -> Result<Self> {
        let invalid = |message: String| Error::invalid_option("LOCATION", message);
        if location.is_empty() {
            return Err(invalid("it is the name of a folder".to_owned()));
        }
        let url = if location.contains("://") {
            Url::parse(location).map_err(|error| invalid(format!("it is no address: {error}")))?
        } else {
            let path =
                std::path::absolute(Path::new(location)).map_err(|error| invalid(error.to_string()))?;
            Url::from_directory_path(tidy(&path))
                .map_err(|()| invalid("it is no name of a folder".to_owned()))?
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("an address here holds no user's name and no password".to_owned()));
        }
        let url = ListingTableUrl::try_new(url, None).map_err(|error| invalid(error.strip_backtrace()))?;
        Ok(Self(url))
    }

    /// The address, as [`Self::parse`] reads it.
    pub(crate) fn address(&self) -> &str {
        self.0.as_str()
    }

    /// The name that people know the folder by: an absolute path, or an address with a scheme.
    pub(crate) fn name(&self) -> String {
        self.name_of(self.0.prefix())
    }

    /// The name that people know a file by, in full, and which opens it.
    pub(crate) fn path(&self, relative: &str) -> String {
        let folder = self.name();
        format!("{}/{relative}", folder.trim_end_matches('/'))
    }

    fn name_of(&self, location: &Location) -> String {
        match self.0.scheme() {
            "file" => format!("/{location}"),
            _ => format!("{}{location}", self.0.object_store().as_str()),
        }
    }

    /// The store that has the folder.
    pub(crate) fn store(&self, stores: &FileStores) -> datafusion::error::Result<Arc<dyn ObjectStore>> {
        stores.get_store(self.0.object_store().as_ref())
    }

    /// Where a file is in its store.
    pub(crate) fn location(&self, relative: &str) -> datafusion::object_store::Result<Location> {
        let prefix = self.0.prefix();
        Ok(if prefix.as_ref().is_empty() {
            Location::parse(relative)?
        } else {
            Location::parse(format!("{prefix}/{relative}"))?
        })
    }

    /// The images of the folder, in whichever order the store has them.
    ///
    /// # Errors
    /// [`Error::FileRefused`] where the folder, or what a link in it leads to, is not among those that are allowed;
    /// [`Error::Location`] where it is not there, or cannot be listed.
    pub(crate) async fn list(
        &self,
        stores: &FileStores,
        options: &FileOptions,
    ) -> datafusion::error::Result<BoxStream<'static, datafusion::error::Result<ImageFile>>> {
        stores.check_folder(&self.0)?;
        let (store, prefix) = (self.store(stores)?, self.0.prefix().clone());
        let asked = (!prefix.as_ref().is_empty()).then_some(&prefix);
        let folder = self.name();
        let failed = move |error| -> DataFusionError { error::unread(&folder, error).into() };
        let found: BoxStream<'static, datafusion::object_store::Result<ObjectMeta>> = if options.recursive {
            store.list(asked)
        } else {
            let found = store.list_with_delimiter(asked).await.map_err(&failed)?;
            stream::iter(found.objects.into_iter().map(Ok)).boxed()
        };
        let options = options.clone();
        let images = found.try_filter_map(move |meta| {
            let image = image(&meta, &prefix).filter(|image| options.take(&image.relative));
            async move { Ok(image) }
        });
        Ok(images.map_err(failed).boxed())
    }
}

/// What is known of a file below `prefix`.
fn image(meta: &ObjectMeta, prefix: &Location) -> Option<ImageFile> {
    let parts: Vec<String> =
        meta.location.prefix_match(prefix)?.map(|part| part.as_ref().to_owned()).collect();
    let modified = meta.last_modified.timestamp_millis();
    (!parts.is_empty()).then(|| ImageFile { relative: parts.join("/"), size: meta.size, modified })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(location: &str) -> Folder {
        Folder::parse(location).unwrap()
    }

    #[test]
    fn a_location_is_a_folder_or_an_address() {
        let here = std::env::current_dir().unwrap();
        for (location, name) in [
            ("/data/photos/", "/data/photos".to_owned()),
            ("/data/photos", "/data/photos".to_owned()),
            ("/data/./new/../photos", "/data/photos".to_owned()),
            ("/data/a b [1] 50% é", "/data/a b [1] 50% é".to_owned()),
            ("photos", format!("{}/photos", here.display())),
            ("file:///data/a%20b/", "/data/a b".to_owned()),
            ("s3://bucket/photos/", "s3://bucket/photos".to_owned()),
            ("s3://bucket", "s3://bucket/".to_owned()),
            ("/", "/".to_owned()),
        ] {
            let found = folder(location);
            assert_eq!(found.name(), name, "{location}");
            assert_eq!(folder(found.address()), found, "{location}");
        }
        assert_eq!(folder("/data/a b").path("cat/1 %41.jpg"), "/data/a b/cat/1 %41.jpg");
        assert_eq!(folder("/").path("1.jpg"), "/1.jpg");
        assert_eq!(folder("s3://bucket/").path("1.jpg"), "s3://bucket/1.jpg");
        for (location, told) in
            [("", "name of a folder"), ("://", "no address"), ("s3://me:hunter2@bucket/x", "no password")]
        {
            let error = Folder::parse(location).unwrap_err().to_string();
            assert!(
                error.contains("LOCATION") && error.contains(told) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_is_where_its_folder_is() {
        assert_eq!(folder("/data/a b").location("c/1.jpg").unwrap().as_ref(), "data/a b/c/1.jpg");
        assert_eq!(folder("/").location("1.jpg").unwrap().as_ref(), "1.jpg");
        assert!(folder("/data").location("../etc/1.jpg").is_err(), "a name in a plan does not lead up");
    }

    #[test]
    fn the_first_subfolder_is_the_label() {
        let label = |relative: &str| {
            let file = ImageFile { relative: relative.to_owned(), size: 0, modified: 0 };
            file.label().map(str::to_owned)
        };
        assert_eq!(label("a.jpg"), None);
        assert_eq!(label("cat/a.jpg").as_deref(), Some("cat"));
        assert_eq!(label("cat/young/a.jpg").as_deref(), Some("cat"));
    }
}
