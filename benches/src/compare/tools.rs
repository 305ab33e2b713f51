//! Where Spark and the peers are, and the scripts of `benches/` that run on them.

use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use tokio::process::Command;

use super::systems::Peer;

/// The scripts and queries of `benches/`.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) mapreduce: PathBuf,
    pub(super) tpch: PathBuf,
    /// The queries of TPC-H, a file each.
    pub(super) queries: PathBuf,
    peer: PathBuf,
}

impl Scripts {
    /// Those in `folder`.
    pub(super) fn find(folder: &Path) -> anyhow::Result<Self> {
        // Programs are started in other folders too.
        let find = |name: &str| {
            let path = folder.join(name);
            path.canonicalize().with_context(|| {
                format!("there is no {} (--scripts): run this at the root of the repository", path.display())
            })
        };
        Ok(Self {
            mapreduce: find("spark/mapreduce.py")?,
            tpch: find("spark/tpch.py")?,
            queries: find("tpch")?,
            peer: find("peers/report.py")?,
        })
    }

    /// A peer's process; what it is to do is still to be said.
    pub(super) fn peer(&self, python: &Path, peer: Peer) -> Command {
        let mut command = Command::new(python);
        command.arg(&self.peer).args(["--engine", peer.engine()]).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// A Spark that is there.
#[derive(Debug)]
pub(super) struct Spark {
    home: PathBuf,
    jars: String,
    python: Option<String>,
    pub(super) cores: usize,
    pub(super) partition_mb: u32,
}

impl Spark {
    /// The one at `home`, or where the environment says.
    pub(super) fn find(home: Option<PathBuf>, cores: usize, partition_mb: u32) -> anyhow::Result<Self> {
        let setting = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some(home) = home.or_else(|| setting("SPARK_HOME").map(PathBuf::from)) else {
            bail!(
                "there is no Spark to compare with: `make spark` and then `eval \"$(dev/spark env)\"` get one and name \
                 it, --spark-home names another, --no-spark goes without"
            );
        };
        let submit = home.join("bin/spark-submit");
        if !submit.is_file() {
            bail!(
                "{} is no Spark: there is no bin/spark-submit in it (--spark-home, SPARK_HOME)",
                home.display()
            );
        }
        let Some(jars) = setting("FIRESTEEL_BENCH_SPARK_JARS") else {
            bail!(
                "FIRESTEEL_BENCH_SPARK_JARS names no jars of Spark's connector for MongoDB: `eval \"$(dev/spark env)\"` \
                 sets it"
            );
        };
        Ok(Self { home, jars, python: setting("PYSPARK_PYTHON"), cores, partition_mb })
    }

    /// What is said to every Spark: as many local slots as this machine has cores.
    fn conf(&self) -> Vec<String> {
        let master = format!("local[{}]", self.cores);
        ["--master", &master, "--conf", "spark.ui.enabled=false"].map(str::to_owned).into()
    }

    /// The reference job over a database by `spark-submit`; its own arguments are still to be said.
    pub(super) fn submit(&self, script: &Path, uri: &str, database: &str) -> Command {
        let mut command = Command::new(self.home.join("bin/spark-submit"));
        command.args(self.conf()).args(["--jars", &self.jars]).arg(script);
        self.settings(&mut command, uri, database);
        command.args(["--partition-mb", &self.partition_mb.to_string()]);
        command
    }

    /// A session of the reference job that is driven by standard input.
    pub(super) fn session(&self, script: &Path, uri: &str, database: &str) -> Command {
        let mut command = self.served(script, &["--jars", &self.jars]);
        self.settings(&mut command, uri, database);
        command.args(["--partition-mb", &self.partition_mb.to_string()]);
        command
    }

    /// The queries of TPC-H over the tables in a folder, driven by standard input.
    pub(super) fn tpch(&self, script: &Path, tables: &Path, queries: &Path) -> Command {
        // Joins at scale factor 1 want more than Spark's own 1g.
        let mut command = self.served(script, &["--driver-memory", "4g"]);
        command.arg("--tables").arg(tables).arg("--queries").arg(queries);
        command
    }

    /// `spark-submit` does not hand its standard input on: a driver in Python starts the JVM instead, with the arguments of
    /// `spark-submit` in a variable.
    fn served(&self, script: &Path, further: &[&str]) -> Command {
        let mut command = Command::new(self.python.as_deref().unwrap_or("python3"));
        let mut arguments = self.conf();
        arguments.extend(further.iter().map(|&argument| argument.to_owned()));
        command.arg(script).arg("--serve").env("SPARK_HOME", &self.home);
        command.env("PYSPARK_SUBMIT_ARGS", arguments.join(" ") + " pyspark-shell");
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    fn settings(&self, command: &mut Command, uri: &str, database: &str) {
        command.env("SPARK_HOME", &self.home);
        if let Some(python) = &self.python {
            command.env("PYSPARK_PYTHON", python);
        }
        // The address may hold a password, which an argument would show to everyone.
        command.env("FIRESTEEL_MONGODB_URI", uri).env("FIRESTEEL_MONGODB_DATABASE", database);
    }
}

/// The Python of the peers, where the environment names one.
pub(super) fn peers_python() -> anyhow::Result<PathBuf> {
    match std::env::var_os("FIRESTEEL_BENCH_PEERS_PYTHON").filter(|value| !value.is_empty()) {
        Some(python) => Ok(PathBuf::from(python)),
        None => bail!(
            "there are no peers to compare with: `dev/peers fetch query` and then `eval \"$(dev/peers env query)\"` get \
             DuckDB, Polars and DataFusion and name them, --no-peers goes without"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_lie_in_this_folder_of_the_repository() {
        let scripts = Scripts::find(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(scripts.mapreduce.ends_with("benches/spark/mapreduce.py") && scripts.mapreduce.is_file());
        assert!(scripts.peer.is_file() && scripts.tpch.is_file() && scripts.queries.is_dir());
        let error = Scripts::find(Path::new("nowhere")).unwrap_err();
        assert!(error.to_string().contains("--scripts"), "{error}");
    }

    #[test]
    fn a_folder_without_spark_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = Spark::find(Some(folder.path().to_owned()), 2, 16).unwrap_err();
        assert!(error.to_string().contains("--spark-home"), "{error}");
    }
}
