//! The command line. Every argument that names an environment variable is also a setting: see `settings`.

use crate::commands::evaluate::EvaluateArgs;
use crate::commands::executor::ExecutorArgs;
use crate::commands::scheduler::SchedulerArgs;
use crate::commands::sql::args::SqlArgs;
use crate::telemetry::LogFormat;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use firesteel_pipeline::inference::{Device, Precision};
use std::path::PathBuf;

const LAYERS: &str = "\
Settings come from flags, then from the environment, then from a TOML file, then from defaults.
The file is --config FILE, or firesteel.toml in the current folder. Its keys are the environment
variables' names without FIRESTEEL_, in lower case; a table's name and its keys join:

    [kafka]
    bootstrap = \"kafka:9092\"         # FIRESTEEL_KAFKA_BOOTSTRAP

Credentials belong into the environment or the file, never into an argument.
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 or 143 interrupted.";

/// Events from Kafka through a neural network into MongoDB, and a distributed engine over them.
#[derive(Debug, Parser)]
#[command(name = "firesteel", version, after_help = LAYERS, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// The settings file [default: firesteel.toml, where there is one]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "FIRESTEEL_CONFIG",
        help_heading = "Global options"
    )]
    pub(crate) config: Option<PathBuf>,
    /// What to log to standard error: error, warn, info, debug, trace, or directives such as
    /// `info,firesteel_pipeline=debug` [default: info; warn for demo, produce, seed, evaluate, report and sql]
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "FIRESTEEL_LOG",
        help_heading = "Global options"
    )]
    pub(crate) log: Option<String>,
    /// Checks the arguments and the settings, and starts nothing
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) check: bool,
    /// How log lines look
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "FIRESTEEL_LOG_FORMAT",
        default_value = "text",
        help_heading = "Global options"
    )]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the whole job here: producers, inference, both consumers, then the report
    ///
    /// Publishes real images to Kafka, classifies each with ResNet-18 over gRPC, stores the predictions in
    /// MongoDB and answers, by map and reduce-by-key, how often each producer's images were named wrongly.
    /// Needs Kafka and MongoDB (`make services` starts them). The report is on this run's producers alone.
    Demo(DemoArgs),
    /// Publishes CIFAR-10 images to Kafka
    ///
    /// Producer k of P sends rows k*N to (k+1)*N-1 of the data set, N being --images, and starts anew at its
    /// end. A record counts once Kafka has acknowledged it on all in-sync replicas.
    Produce(ProduceArgs),
    /// Serves the model over gRPC: Classify, ClassifyStream, health, reflection
    ///
    /// A batch is whatever queued while the model was busy: there is no timer to tune.
    InferenceServer(InferenceServerArgs),
    /// Kafka images -> inference -> Kafka predictions
    ///
    /// At least once: an offset is committed after its prediction is acknowledged by Kafka. A record that can
    /// never succeed goes to the dead-letter topic; a dependency that is down is retried until it is back.
    ConsumeImages(ConsumeImagesArgs),
    /// Kafka predictions -> MongoDB
    ///
    /// At least once into an upsert by `_id`, so exactly once in the collection: an offset is committed after
    /// MongoDB has acknowledged the write with w: majority, j: true.
    ConsumePredictions(ConsumePredictionsArgs),
    /// Counts wrong inferences by producer and accuracy by class
    ///
    /// A map / reduce-by-key job over the predictions in MongoDB, read in partitions at one cluster time.
    Report(ReportArgs),
    /// Runs the head of a cluster: plans queries and hands their tasks to executors
    ///
    /// Ballista's scheduler with Firesteel's tables, functions and codecs inside. One port serves clients and
    /// executors (gRPC), Arrow Flight SQL, the REST API, health and Prometheus metrics.
    Scheduler(SchedulerArgs),
    /// Runs a worker of a cluster: executes tasks and keeps their output for others to fetch
    ///
    /// Any number of them may come and go while jobs run. Each reads MongoDB and Kafka with its own settings: plans
    /// carry no address and no password.
    Executor(ExecutorArgs),
    /// Fills MongoDB with synthetic predictions, for scale tests
    ///
    /// Labels and errors come as often as from the shipped model (its confusion matrix over the CIFAR-10 test set).
    /// The same seed and producers make the same documents, so a run that was interrupted is completed, and one
    /// that was too short is extended, by running it again with --append.
    Seed(SeedArgs),
    /// Says how good and how fast the model is, in each precision
    ///
    /// Accuracy, accuracy by class, confusion matrix and images per second over the CIFAR-10 test set, with no server and
    /// no Kafka: the same weights and code as behind the inference server and the SQL function classify.
    Evaluate(EvaluateArgs),
    /// Asks a running role whether it is well: exit code 0 where it answers 200, 1 otherwise
    ///
    /// For a container, which has no other program to ask with. Roles answer /healthz and /readyz: the scheduler on
    /// --bind-port, an executor on --bind-health-port, the others on --health-listen.
    Health(HealthCheckArgs),
    /// A shell for SQL, on an engine in this process or on a cluster
    ///
    /// Runs -c or -f or standard input, or asks at a terminal. Rows go to standard output, everything about them to
    /// standard error. Tables: predictions (MongoDB) and what CREATE EXTERNAL TABLE adds; \d lists them, \? helps.
    Sql(SqlArgs),
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Kafka")]
pub(crate) struct KafkaArgs {
    /// Kafka's address, or several with commas in between
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "FIRESTEEL_KAFKA_BOOTSTRAP",
        default_value = "localhost:9092"
    )]
    pub(crate) kafka_bootstrap: String,
    /// A librdkafka property, for TLS and SASL; may be given several times. Passwords: by the environment
    /// (one property a line) or the settings file (table [kafka.properties]) only
    #[arg(
        long = "kafka-property",
        value_name = "NAME=VALUE",
        env = "FIRESTEEL_KAFKA_PROPERTIES",
        hide_env_values = true
    )]
    pub(crate) kafka_properties: Vec<String>,
    /// The topic of the images; what can never be classified goes to this name with .dead-letter behind it
    #[arg(long, value_name = "TOPIC", env = "FIRESTEEL_IMAGES_TOPIC", default_value = "images")]
    pub(crate) images_topic: String,
    /// The topic of the predictions; its dead letters likewise
    #[arg(long, value_name = "TOPIC", env = "FIRESTEEL_PREDICTIONS_TOPIC", default_value = "predictions")]
    pub(crate) predictions_topic: String,
    /// Partitions of a topic that has to be created: as many consumers can share it
    #[arg(long, value_name = "N", env = "FIRESTEEL_KAFKA_PARTITIONS", default_value_t = 8,
          value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub(crate) kafka_partitions: i32,
    /// Replicas of a topic that has to be created; -1 leaves it to the brokers
    #[arg(long, value_name = "N", env = "FIRESTEEL_KAFKA_REPLICATION", default_value_t = -1,
          allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1..=100))]
    pub(crate) kafka_replication: i32,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "MongoDB")]
pub(crate) struct MongoArgs {
    /// MongoDB's address. One with a password: by the environment or the settings file only
    #[arg(
        long,
        value_name = "URI",
        env = "FIRESTEEL_MONGODB_URI",
        default_value = "mongodb://localhost:27017",
        hide_env_values = true
    )]
    pub(crate) mongodb_uri: String,
    /// The database of the collection `predictions`
    #[arg(long, value_name = "NAME", env = "FIRESTEEL_MONGODB_DATABASE", default_value = "firesteel")]
    pub(crate) mongodb_database: String,
}

/// What asks questions: which engine answers them, and how it reads MongoDB.
#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct EngineArgs {
    /// The engine: unset, one inside this process; df://HOST:PORT, that cluster
    #[arg(long, value_name = "URL", env = "FIRESTEEL_SCHEDULER")]
    pub(crate) scheduler: Option<String>,
    /// Partitions of a scan of MongoDB [default: one a core, fewer for a small collection]
    #[arg(long, value_name = "N", env = "FIRESTEEL_SCAN_PARTITIONS",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) scan_partitions: Option<u32>,
    /// Whether MongoDB itself computes aggregates where that gives what the engine would
    #[arg(long, value_name = "SWITCH", env = "FIRESTEEL_AGGREGATE_PUSHDOWN", default_value = "on")]
    pub(crate) aggregate_pushdown: Switch,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Cached tables")]
pub(crate) struct CacheArgs {
    /// Where cached tables are kept; all executors of a cluster have to share it [default: firesteel-cache in the system's
    /// folder for temporary files]
    #[arg(long, value_name = "FOLDER", env = "FIRESTEEL_CACHE_DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// How much of cached tables this process keeps in memory, such as 512MiB; 0 = nothing
    #[arg(long, value_name = "SIZE", env = "FIRESTEEL_CACHE_MEMORY", default_value = "1GiB",
          value_parser = crate::commands::executor::size)]
    pub(crate) cache_memory: usize,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Producers")]
pub(crate) struct LoadArgs {
    /// How many producers publish side by side
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) producers: u32,
    /// Images per producer
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) images: u64,
    /// Images per second and producer; 0 = as fast as possible
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// A Parquet file with columns `name`, `label`, `class` and `jpeg` [default: the CIFAR-10 test set, 10,000 images, inside
    /// this binary]
    #[arg(long, value_name = "FILE")]
    pub(crate) dataset: Option<PathBuf>,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        _ => Err("expected images per second, 0 or more".to_owned()),
    }
}

/// Which model it is.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct WeightsArgs {
    /// ResNet-18 weights as safetensors [default: the CIFAR-10 model inside this binary]
    #[arg(long, value_name = "FILE", env = "FIRESTEEL_WEIGHTS")]
    pub(crate) weights: Option<PathBuf>,
    /// The numbers that it computes in: less exact ones are faster. `firesteel evaluate` says what each is worth here
    #[arg(long, value_name = "PRECISION", env = "FIRESTEEL_INFERENCE_PRECISION",
          default_value_t = Precision::DEFAULT, value_parser = precision())]
    pub(crate) precision: Precision,
    #[command(flatten)]
    pub(crate) on: DeviceArgs,
}

/// What a model computes on.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct DeviceArgs {
    /// What it computes on: cpu, or cuda, cuda:INDEX, metal, in a build with feature cuda or metal
    #[arg(long, value_name = "DEVICE", env = "FIRESTEEL_INFERENCE_DEVICE", default_value_t = Device::Cpu)]
    pub(crate) device: Device,
}

/// Reads a precision.
pub(crate) fn precision() -> impl TypedValueParser<Value = Precision> {
    PossibleValuesParser::new(Precision::NAMES).try_map(|name| name.parse::<Precision>())
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    #[command(flatten)]
    pub(crate) choice: WeightsArgs,
    /// The largest batch
    #[arg(long, value_name = "N", env = "FIRESTEEL_MAX_BATCH", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) max_batch: u32,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Also writes the report as JSON
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
    #[command(flatten)]
    pub(crate) mongo: MongoArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ProduceArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Appends the id of each image that Kafka acknowledged, one a line
    #[arg(long, value_name = "FILE", help_heading = "Producers")]
    pub(crate) ledger: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Health")]
pub(crate) struct HealthArgs {
    /// Where to serve /healthz, /readyz and /metrics (Prometheus) over HTTP [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT", env = "FIRESTEEL_HEALTH_LISTEN")]
    pub(crate) health_listen: Option<std::net::SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct InferenceServerArgs {
    /// Where to listen
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "FIRESTEEL_INFERENCE_LISTEN",
        default_value = "127.0.0.1:50060",
        help_heading = "Server"
    )]
    pub(crate) listen: std::net::SocketAddr,
    /// How many images may wait for the model; a unary call beyond that is told RESOURCE_EXHAUSTED
    #[arg(long, value_name = "N", env = "FIRESTEEL_INFERENCE_QUEUE", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(1..), help_heading = "Server")]
    pub(crate) queue: u32,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) health: HealthArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ConsumeImagesArgs {
    /// The inference server's address
    #[arg(
        long,
        value_name = "URL",
        env = "FIRESTEEL_INFERENCE_URL",
        default_value = "http://localhost:50060",
        help_heading = "Inference"
    )]
    pub(crate) inference_url: String,
    /// The consumer group
    #[arg(
        long,
        value_name = "GROUP",
        env = "FIRESTEEL_IMAGES_GROUP",
        default_value = "firesteel-images",
        help_heading = "Consumer"
    )]
    pub(crate) group: String,
    /// How many images may be between Kafka's poll and the acknowledged prediction
    #[arg(long, value_name = "N", env = "FIRESTEEL_IMAGES_IN_FLIGHT", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(1..), help_heading = "Consumer")]
    pub(crate) max_in_flight: u32,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
    #[command(flatten)]
    pub(crate) health: HealthArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ConsumePredictionsArgs {
    /// The consumer group
    #[arg(
        long,
        value_name = "GROUP",
        env = "FIRESTEEL_PREDICTIONS_GROUP",
        default_value = "firesteel-predictions",
        help_heading = "Consumer"
    )]
    pub(crate) group: String,
    /// How many predictions may be between Kafka's poll and the acknowledged write
    #[arg(long, value_name = "N", env = "FIRESTEEL_PREDICTIONS_IN_FLIGHT", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..), help_heading = "Consumer")]
    pub(crate) max_in_flight: u32,
    /// The largest bulk write
    #[arg(long, value_name = "N", env = "FIRESTEEL_MONGODB_BATCH", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=10_000), help_heading = "Consumer")]
    pub(crate) max_batch: u32,
    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,
    #[command(flatten)]
    pub(crate) mongo: MongoArgs,
    #[command(flatten)]
    pub(crate) health: HealthArgs,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables for people
    Table,
    /// One JSON object
    Json,
    /// Comma-separated values with a header
    Csv,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Switch {
    /// It is done
    On,
    /// It is not done
    Off,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// How to print it
    #[arg(long, value_name = "FORMAT", default_value = "table", help_heading = "Report")]
    pub(crate) format: Format,
    /// Only these producers, by their ids of 8 hexadecimal digits [default: all]
    #[arg(long = "producer", value_name = "ID", value_delimiter = ',', help_heading = "Report")]
    pub(crate) producers: Vec<String>,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    #[command(flatten)]
    pub(crate) mongo: MongoArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HealthCheckArgs {
    /// What to ask
    #[arg(
        value_name = "URL",
        env = "FIRESTEEL_HEALTH_URL",
        default_value = "http://127.0.0.1:50050/healthz"
    )]
    pub(crate) url: url::Url,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Predictions")]
pub(crate) struct SeedArgs {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) docs: u64,
    /// Which: another seed makes other producers with other predictions
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Of how many producers, who take turns
    #[arg(long, value_name = "P", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) producers: u32,
    /// The collection
    #[arg(long, value_name = "NAME", default_value = "predictions", help_heading = "MongoDB")]
    pub(crate) collection: String,
    /// Makes a collection that is not clustered on `_id`, as MongoDB does unasked; for comparisons
    #[arg(long, help_heading = "MongoDB")]
    pub(crate) plain: bool,
    /// Drops what the collection holds first
    #[arg(long, help_heading = "MongoDB", conflicts_with = "append")]
    pub(crate) drop: bool,
    /// Adds to what the collection holds; a document that is there already is left as it is
    #[arg(long, help_heading = "MongoDB")]
    pub(crate) append: bool,
    #[command(flatten)]
    pub(crate) mongo: MongoArgs,
}
