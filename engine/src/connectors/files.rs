//! Files of the machine, as far as SQL may have them.
//!
//! ```text
//!  LOCATION '/data/a.csv', COPY … TO, a file in a plan
//!      │
//!      ▼                          refused: outside of the folders, be the file there or not
//!  FileStores ── file:// ──▶ Allowed ──┬──▶ the name is below a folder, and so is what it leads to ──▶ the file system
//!      └── other schemes: what the program registered
//! ```
//!
//! Every file that a statement or a plan names is opened through an object store, on the client, the scheduler and the
//! executors alike, so this is the one place that has to say no. Reading and writing are allowed apart. A name is looked at
//! twice: as it is written, which needs no file system, and as what it leads to once links are followed. So an error never
//! tells whether a file outside of the folders exists, and no link leads out. What is opened is the resolved name, so a folder
//! that becomes a link afterwards is not followed.
//!
//! Cached tables, shuffle files and spills lie in folders of their own and pass by.

use std::fmt;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::object_store::{DefaultObjectStoreRegistry, ObjectStoreRegistry};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::object_store::local::LocalFileSystem;
use datafusion::object_store::path::Path as Location;
use datafusion::object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use prost::bytes::Bytes;
use url::Url;

use crate::config::FileAccess;
use crate::{ConfigField, Error};

/// The store's name in errors.
const STORE: &str = "files";

/// The object stores of a process: files below allowed folders, and what the program registered.
#[derive(Debug)]
pub(crate) struct FileStores {
    files: Arc<dyn ObjectStore>,
    allowed: Arc<Allowed>,
    others: DefaultObjectStoreRegistry,
}

impl FileStores {
    /// The stores of a process that may have these files; what is left open is not allowed.
    pub(crate) fn new(access: &FileAccess) -> Self {
        let folders = |folders: &Option<Vec<PathBuf>>| {
            let folders = folders.iter().flatten();
            folders
                .filter_map(|folder| std::path::absolute(folder).ok())
                .map(|folder| tidy(&folder))
                .collect()
        };
        let allowed = Arc::new(Allowed { read: folders(&access.read), write: folders(&access.write) });
        let files = Files { allowed: Arc::clone(&allowed), system: LocalFileSystem::new() };
        Self { files: Arc::new(files), allowed, others: DefaultObjectStoreRegistry::new() }
    }

    /// Checks that files may be written to `target`, where it is on this machine: for a plan, before it is run, because
    /// DataFusion's writers keep the reasons of a store to themselves.
    ///
    /// # Errors
    /// [`Error::FileRefused`].
    pub(crate) fn check_written(&self, target: &ListingTableUrl) -> std::result::Result<(), Error> {
        if target.scheme() == "file" {
            self.allowed.resolve(&path_of(target.prefix()), Access::Write)?;
        }
        Ok(())
    }

    /// Checks that `folder` is one that may be read, where it is on this machine: the listing of one that is not there is empty.
    ///
    /// # Errors
    /// [`Error::FileRefused`], or [`Error::Location`] where there is no folder.
    pub(crate) fn check_folder(&self, folder: &ListingTableUrl) -> std::result::Result<(), Error> {
        if folder.scheme() != "file" {
            return Ok(());
        }
        let path = path_of(folder.prefix());
        let message = match self.allowed.resolve(&path, Access::Read)?.metadata() {
            Ok(found) if found.is_dir() => return Ok(()),
            Ok(_) => "it is a file, and a folder is read".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(Error::Location { location: path.display().to_string(), message })
    }

    /// The environment that plans run in, with these stores: memory and folders are as `builder` says.
    pub(crate) fn serve(self: &Arc<Self>, builder: RuntimeEnvBuilder) -> RuntimeEnvBuilder {
        builder.with_object_store_registry(Arc::clone(self) as _)
    }
}

impl ObjectStoreRegistry for FileStores {
    fn register_store(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        // Files are ours alone: another store for them would know no folders.
        if is_file(url) { None } else { self.others.register_store(url, store) }
    }

    fn deregister_store(&self, url: &Url) -> DataFusionResult<Arc<dyn ObjectStore>> {
        if is_file(url) { self.get_store(url) } else { self.others.deregister_store(url) }
    }

    fn get_store(&self, url: &Url) -> DataFusionResult<Arc<dyn ObjectStore>> {
        if is_file(url) { Ok(Arc::clone(&self.files)) } else { self.others.get_store(url) }
    }
}

fn is_file(url: &Url) -> bool {
    url.scheme() == "file"
}

/// What is done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// The folders, as they were named.
#[derive(Debug)]
struct Allowed {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
}

impl Allowed {
    /// The place that a name leads to, where it is below a folder, be there a file or not.
    fn resolve(&self, path: &Path, access: Access) -> std::result::Result<PathBuf, Error> {
        let folders = match access {
            Access::Read => &self.read,
            Access::Write => &self.write,
        };
        let refused = || Error::FileRefused {
            path: path.display().to_string(),
            setting: match access {
                Access::Read => ConfigField::FilesRead,
                Access::Write => ConfigField::FilesWrite,
            },
        };
        let named = tidy(path);
        // A folder that is itself reached by a link may be named by either of its names.
        let real: Vec<PathBuf> = folders.iter().filter_map(|folder| folder.canonicalize().ok()).collect();
        // First without asking the file system about the name: what is outside is refused, whatever is there.
        if !folders.iter().chain(&real).any(|folder| named.starts_with(folder)) {
            return Err(refused());
        }
        let resolved = follow(&named).ok_or_else(refused)?;
        if real.iter().any(|folder| resolved.starts_with(folder)) { Ok(resolved) } else { Err(refused()) }
    }
}

/// An absolute name without `.` and `..`, which are taken by their letters.
pub(crate) fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                tidy.pop();
            }
            part => tidy.push(part),
        }
    }
    tidy
}

/// The name with all links followed. Where its end is not there, the part that is. `None` where a link leads nowhere, or
/// the file system does not say where.
fn follow(path: &Path) -> Option<PathBuf> {
    match path.canonicalize() {
        Ok(found) => Some(found),
        // Where `a` is a file, `a/b` is not there either.
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
                && path.symlink_metadata().is_err() =>
        {
            Some(follow(path.parent()?)?.join(path.file_name()?))
        }
        Err(_) => None,
    }
}

/// The file system, below the folders.
#[derive(Debug)]
struct Files {
    allowed: Arc<Allowed>,
    system: LocalFileSystem,
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STORE)
    }
}

fn refusal(error: Error) -> StoreError {
    StoreError::Generic { store: STORE, source: error.into_source() }
}

/// The path that the file system has for a location.
fn path_of(location: &Location) -> PathBuf {
    Path::new("/").join(location.as_ref())
}

impl Files {
    /// Where `location` leads to, as the file system is asked for it.
    fn resolve(&self, location: &Location, access: Access) -> Result<Location> {
        let path = self.allowed.resolve(&path_of(location), access).map_err(refusal)?;
        Ok(Location::from_absolute_path(path)?)
    }

    /// The same, of a file that is to be opened. A pipe or a device is none: opening one may wait for ever.
    fn file(&self, location: &Location) -> Result<Location> {
        let real = self.resolve(location, Access::Read)?;
        if path_of(&real).metadata().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            let source = format!("{} is neither a file nor a folder", path_of(location).display()).into();
            return Err(StoreError::Generic { store: STORE, source });
        }
        Ok(real)
    }

    /// The folder that is listed.
    fn folder(&self, prefix: Option<&Location>) -> Result<Location> {
        self.resolve(prefix.unwrap_or(&Location::default()), Access::Read)
    }
}

/// The name of what was found below `real`, below the name that was asked for.
fn renamed(found: &Location, real: &Location, asked: Option<&Location>) -> Location {
    let Some(rest) = found.prefix_match(real) else { return found.clone() };
    rest.fold(asked.cloned().unwrap_or_default(), |path, part| path.join(part))
}

#[async_trait]
impl ObjectStore for Files {
    async fn put_opts(
        &self,
        location: &Location,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        self.system.put_opts(&self.resolve(location, Access::Write)?, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Location,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.system.put_multipart_opts(&self.resolve(location, Access::Write)?, opts).await
    }

    async fn get_opts(&self, location: &Location, options: GetOptions) -> Result<GetResult> {
        let real = self.file(location)?;
        let mut found = self.system.get_opts(&real, options).await?;
        found.meta.location = location.clone();
        Ok(found)
    }

    async fn get_ranges(&self, location: &Location, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.system.get_ranges(&self.file(location)?, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Location>>,
    ) -> BoxStream<'static, Result<Location>> {
        let allowed = Arc::clone(&self.allowed);
        let checked = locations.map(move |location| {
            let location = location?;
            let path = allowed.resolve(&path_of(&location), Access::Write).map_err(refusal)?;
            Ok(Location::from_absolute_path(path)?)
        });
        self.system.delete_stream(checked.boxed())
    }

    fn list(&self, prefix: Option<&Location>) -> BoxStream<'static, Result<ObjectMeta>> {
        let real = match self.folder(prefix) {
            Ok(real) => real,
            Err(error) => return stream::once(async { Err(error) }).boxed(),
        };
        let (allowed, asked) = (Arc::clone(&self.allowed), prefix.cloned());
        let found = self.system.list(Some(&real));
        found
            .and_then(move |meta| {
                // A link in the folder may lead out of it.
                let inside = allowed.resolve(&path_of(&meta.location), Access::Read).map_err(refusal);
                let location = renamed(&meta.location, &real, asked.as_ref());
                let meta = inside.map(|_| ObjectMeta { location, ..meta });
                async move { meta }
            })
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Location>) -> Result<ListResult> {
        let real = self.folder(prefix)?;
        let found = self.system.list_with_delimiter(Some(&real)).await?;
        let names = found.objects.iter().map(|meta| &meta.location).chain(&found.common_prefixes);
        for name in names {
            self.resolve(name, Access::Read)?;
        }
        let name = |found: &Location| renamed(found, &real, prefix);
        // Pipes and devices are in the listing of the system.
        let is_file = |meta: &ObjectMeta| path_of(&meta.location).is_file();
        let object = |meta: ObjectMeta| ObjectMeta { location: name(&meta.location), ..meta };
        Ok(ListResult {
            common_prefixes: found.common_prefixes.iter().map(name).collect(),
            objects: found.objects.into_iter().filter(is_file).map(object).collect(),
        })
    }

    async fn copy_opts(&self, from: &Location, to: &Location, options: CopyOptions) -> Result<()> {
        let (from, to) = (self.resolve(from, Access::Read)?, self.resolve(to, Access::Write)?);
        self.system.copy_opts(&from, &to, options).await
    }

    async fn rename_opts(&self, from: &Location, to: &Location, options: RenameOptions) -> Result<()> {
        let (from, to) = (self.resolve(from, Access::Write)?, self.resolve(to, Access::Write)?);
        self.system.rename_opts(&from, &to, options).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use datafusion::object_store::ObjectStoreExt as _;

    use super::*;

    /// A folder that may be read with `a.csv` in it, one that may be written, and a secret beside them.
    struct Place {
        folder: tempfile::TempDir,
        store: Arc<dyn ObjectStore>,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for name in ["in", "in/sub", "out", "secrets"] {
                fs::create_dir(folder.path().join(name)).unwrap();
            }
            for name in ["in/a.csv", "in/sub/b c.csv", "secrets/key"] {
                fs::write(folder.path().join(name), name).unwrap();
            }
            let read = Some(vec![folder.path().join("in")]);
            let access = FileAccess { read, write: Some(vec![folder.path().join("out")]) };
            let stores = FileStores::new(&access);
            let store = stores.get_store(&Url::parse("file:///").unwrap()).unwrap();
            Self { folder, store }
        }

        fn at(&self, name: &str) -> Location {
            Location::parse(self.folder.path().join(name).to_str().unwrap()).unwrap()
        }

        async fn read(&self, name: &str) -> Result<String> {
            let bytes = self.store.get(&self.at(name)).await?.bytes().await?;
            Ok(String::from_utf8(bytes.to_vec()).unwrap())
        }

        async fn listed(&self, name: &str) -> Result<Vec<String>> {
            let found: Vec<ObjectMeta> = self.store.list(Some(&self.at(name))).try_collect().await?;
            let root = self.at("");
            let name = |meta: ObjectMeta| meta.location.as_ref().replace(root.as_ref(), "");
            let mut names: Vec<String> = found.into_iter().map(name).collect();
            names.sort();
            Ok(names)
        }
    }

    #[track_caller]
    fn refused<T>(result: Result<T>, expected: ConfigField) -> String {
        let Err(error) = result else { panic!("allowed") };
        let error = Error::from(datafusion::error::DataFusionError::from(error));
        let Error::FileRefused { setting, .. } = &error else { panic!("{error}") };
        assert_eq!((*setting, error.fields()), (expected, vec![expected]));
        error.to_string()
    }

    #[tokio::test]
    async fn files_below_the_folders_are_read_and_written() {
        let place = Place::new();
        assert_eq!(place.read("in/a.csv").await.unwrap(), "in/a.csv");
        assert_eq!(place.read("in/sub/b c.csv").await.unwrap(), "in/sub/b c.csv");
        let some = place.store.get_ranges(&place.at("in/a.csv"), &[0..2, 3..4]).await.unwrap();
        assert_eq!(some, ["in".as_bytes(), b"a"]);
        assert_eq!(place.store.head(&place.at("in/a.csv")).await.unwrap().location, place.at("in/a.csv"));
        assert_eq!(place.listed("in").await.unwrap(), ["/in/a.csv", "/in/sub/b c.csv"]);
        let absent = place.read("in/none.csv").await;
        assert!(matches!(absent, Err(StoreError::NotFound { .. })), "{absent:?}");

        place.store.put(&place.at("out/new/c.csv"), "c".into()).await.unwrap();
        assert_eq!(fs::read_to_string(place.folder.path().join("out/new/c.csv")).unwrap(), "c");
    }

    #[tokio::test]
    async fn a_file_elsewhere_is_refused_be_it_there_or_not() {
        let place = Place::new();
        let (there, absent) = (place.read("secrets/key").await, place.read("secrets/none").await);
        let (there, absent) =
            (refused(there, ConfigField::FilesRead), refused(absent, ConfigField::FilesRead));
        assert_eq!(there.replace("key", "none"), absent);
        // What may be written may not be read, and the other way round.
        refused(place.read("out/c.csv").await, ConfigField::FilesRead);
        for name in ["in/a.csv", "secrets/key", "secrets/none", "c.csv"] {
            refused(place.store.put(&place.at(name), "c".into()).await, ConfigField::FilesWrite);
            refused(place.store.put_multipart(&place.at(name)).await, ConfigField::FilesWrite);
        }
        // A folder whose name begins alike is another one.
        refused(place.read("inside/a.csv").await, ConfigField::FilesRead);
        for folder in ["secrets", "", "none"] {
            refused(place.listed(folder).await, ConfigField::FilesRead);
        }
        refused(place.store.copy(&place.at("secrets/key"), &place.at("out/x")).await, ConfigField::FilesRead);
        refused(place.store.copy(&place.at("in/a.csv"), &place.at("in/x")).await, ConfigField::FilesWrite);
        refused(place.store.rename(&place.at("in/a.csv"), &place.at("out/x")).await, ConfigField::FilesWrite);
        refused(place.store.delete(&place.at("in/a.csv")).await, ConfigField::FilesWrite);
        assert_eq!(place.read("in/a.csv").await.unwrap(), "in/a.csv");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn no_link_leads_out() {
        use std::os::unix::fs::symlink;

        let place = Place::new();
        let root = place.folder.path();
        symlink(root.join("in/a.csv"), root.join("in/same.csv")).unwrap();
        assert_eq!(place.read("in/same.csv").await.unwrap(), "in/a.csv");
        symlink(root.join("secrets"), root.join("in/way")).unwrap();
        symlink(root.join("secrets/none"), root.join("in/nowhere")).unwrap();
        symlink(root.join("secrets"), root.join("out/way")).unwrap();
        for name in ["in/way/key", "in/way/none", "in/nowhere"] {
            refused(place.read(name).await, ConfigField::FilesRead);
        }
        refused(place.listed("in/way").await, ConfigField::FilesRead);
        refused(place.listed("in").await, ConfigField::FilesRead);
        refused(place.store.put(&place.at("out/way/key"), "c".into()).await, ConfigField::FilesWrite);
        assert_eq!(fs::read_to_string(root.join("secrets/key")).unwrap(), "secrets/key");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_folder_may_itself_be_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::create_dir(&real).unwrap();
        fs::write(real.join("a.csv"), "a").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let stores = FileStores::new(&FileAccess::below([&link]));
        let store = stores.get_store(&Url::parse("file:///").unwrap()).unwrap();
        for name in [real.join("a.csv"), link.join("a.csv")] {
            let location = Location::parse(name.to_str().unwrap()).unwrap();
            assert_eq!(store.head(&location).await.unwrap().location, location);
        }
        let prefix = Location::parse(link.to_str().unwrap()).unwrap();
        let found: Vec<ObjectMeta> = store.list(Some(&prefix)).try_collect().await.unwrap();
        assert_eq!(found[0].location, prefix.clone().join("a.csv"));
        let found = store.list_with_delimiter(Some(&prefix)).await.unwrap();
        assert_eq!(found.objects[0].location, prefix.join("a.csv"));
    }

    #[test]
    fn another_store_for_files_is_not_taken() {
        let stores = FileStores::new(&FileAccess::default());
        let (file, other) = (Url::parse("file:///").unwrap(), Url::parse("memory://x").unwrap());
        let memory: Arc<dyn ObjectStore> = Arc::new(datafusion::object_store::memory::InMemory::new());
        stores.register_store(&file, Arc::clone(&memory));
        stores.register_store(&other, memory);
        assert_eq!(stores.get_store(&file).unwrap().to_string(), STORE);
        assert_eq!(stores.get_store(&other).unwrap().to_string(), "InMemory");
    }
}
