//! The tree of the command line: the global arguments and the subcommands, each with its text for `--help`, the function that
//! runs it and what it logs unasked.
//!
//! Arguments that several subcommands share stand in `args/`, those of one subcommand in its file in `commands/`. Every argument
//! that names an environment variable is also a setting: see `settings`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::calibrate::{self, CalibrateArgs};
use crate::commands::capacity::{self, CapacityArgs};
use crate::commands::consume_images::{self, ConsumeImagesArgs};
use crate::commands::consume_predictions::{self, ConsumePredictionsArgs};
use crate::commands::dead_letters::{self, DeadLettersArgs};
use crate::commands::demo::{self, DemoArgs};
use crate::commands::describe::{self, DescribeArgs};
use crate::commands::evaluate::{self, EvaluateArgs};
use crate::commands::executor::{self, ExecutorArgs};
use crate::commands::health::{self, HealthArgs};
use crate::commands::inference_server::{self, InferenceServerArgs};
use crate::commands::ingest::{self, IngestArgs};
use crate::commands::make_certificate::{self, MakeCertificateArgs};
use crate::commands::make_credentials::{self, MakeCredentialsArgs};
use crate::commands::produce::{self, ProduceArgs};
use crate::commands::report::{self, ReportArgs};
use crate::commands::scheduler::{self, SchedulerArgs};
use crate::commands::seed::{self, SeedArgs};
use crate::commands::spark_connect::{self, SparkConnectArgs};
use crate::commands::sql::{self, SqlArgs};
use crate::context::{Context, Outcome};
use crate::telemetry::{self, LogFormat};

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
    /// `info,firesteel_pipeline=debug` [default: info for servers and consumers, warn for commands that end by themselves]
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
    /// Publishes the images of a data set to Kafka: CIFAR-10's, or your own
    ///
    /// Producer k of P sends rows k*N to (k+1)*N-1 of the data set, N being --images, and starts anew at its
    /// end. With --dataset and without --images each image is sent once. A record counts once Kafka has acknowledged it on all
    /// in-sync replicas.
    Produce(ProduceArgs),
    /// Takes images by HTTP, POST /images, and publishes them to Kafka
    ///
    /// The body is an image, or a form with several files; ?label=NAME is their true class. The answer is 202 with the id once Kafka
    /// has acknowledged the image on all in-sync replicas. A request with the header Idempotency-Key can be repeated: it is the same
    /// document. docs/producing.md has every answer.
    Ingest(IngestArgs),
    /// Serves the model over gRPC: Classify, ClassifyStream, ClassifyBatches, Describe, health, reflection
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
    /// Lists, shows and replays the records that consumers gave up
    ///
    /// A record that can never succeed as it is goes to the topic images.dead-letter or predictions.dead-letter, with the
    /// reason. Once the cause is mended its record can be sent again, each once however often it is tried.
    DeadLetters(DeadLettersArgs),
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
    /// Measures the ranges of a network's activations, which int8 needs, on images like those to come
    ///
    /// Writes them into the manifest beside the weights, where every command finds them, and compares f32 and int8 on other
    /// images of the same data set.
    Calibrate(CalibrateArgs),
    /// How many pods, partitions, brokers, shards and executors a rate of images needs
    ///
    /// Computes it from figures a core, each of which is an argument; --simulate runs each plan event by event and says
    /// whether what waits stays bounded. docs/capacity.md says where the figures come from.
    Capacity(CapacityArgs),
    /// Lists what this binary knows of itself: settings, subcommands, ports, routes and metrics
    ///
    /// For programs that check manifests, dashboards and settings files against it: --format json. Starts nothing.
    Describe(DescribeArgs),
    /// Asks a running role whether it is well: exit code 0 where it answers 200, 1 otherwise
    ///
    /// For a container, which has no other program to ask with. Roles answer /healthz and /readyz: the scheduler on
    /// --bind-port, an executor on --bind-health-port, the others on --health-listen.
    Health(HealthArgs),
    /// Makes an authority for certificates, tokens for users and the secret of a cluster, where they are missing
    ///
    /// As files, or as Secrets of Kubernetes. What is there is never changed; no value is printed.
    MakeCredentials(MakeCredentialsArgs),
    /// Makes a certificate for a server, signed by an authority of one's own
    MakeCertificate(MakeCertificateArgs),
    /// Serves PySpark's programs as they are: Spark Connect, on an engine in this process
    ///
    /// A client sets SPARK_REMOTE=sc://HOST:PORT and runs unchanged. What does not work yet is an error that says so; docs/spark.md
    /// lists what does.
    SparkConnect(SparkConnectArgs),
    /// A shell for SQL, on an engine in this process or on a cluster
    ///
    /// Runs -c or -f or standard input, or asks at a terminal. Rows go to standard output, everything about them to
    /// standard error. Tables: predictions (MongoDB) and what CREATE EXTERNAL TABLE adds, STORED AS MONGODB, KAFKA, IMAGES
    /// (a folder of them, for classify), PARQUET, CSV or JSON; \d lists them, \? helps.
    Sql(SqlArgs),
}

impl Command {
    /// Runs the subcommand.
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<Outcome> {
        match self {
            Self::Demo(args) => Box::pin(demo::run(args, context)).await,
            Self::Produce(args) => produce::run(args, context).await,
            Self::Ingest(args) => ingest::run(args, context).await,
            Self::InferenceServer(args) => inference_server::run(args, context).await,
            Self::ConsumeImages(args) => consume_images::run(args, context).await,
            Self::ConsumePredictions(args) => consume_predictions::run(args, context).await,
            Self::DeadLetters(args) => Box::pin(dead_letters::run(args, context)).await,
            Self::Report(args) => Box::pin(report::run(args, context)).await,
            Self::Scheduler(args) => Box::pin(scheduler::run(args, context)).await,
            Self::Executor(args) => Box::pin(executor::run(args, context)).await,
            Self::Seed(args) => seed::run(args, context).await,
            Self::Evaluate(args) => evaluate::run(args, context).await,
            Self::Calibrate(args) => calibrate::run(args, context).await,
            Self::Capacity(args) => capacity::run(args),
            Self::Describe(args) => describe::run(args, context).await,
            Self::Health(args) => health::run(args, context).await,
            Self::MakeCredentials(args) => make_credentials::run(args, context).await,
            Self::MakeCertificate(args) => make_certificate::run(&args),
            Self::SparkConnect(args) => Box::pin(spark_connect::run(args, context)).await,
            Self::Sql(args) => Box::pin(sql::run(args, context)).await,
        }
    }

    /// The log filter where the user names none: what has a progress bar or an answer to print logs only what is wrong.
    pub(crate) fn default_filter(&self) -> &'static str {
        match self {
            Self::Demo(_)
            | Self::Produce(_)
            | Self::Seed(_)
            | Self::DeadLetters(_)
            | Self::Evaluate(_)
            | Self::Calibrate(_)
            | Self::Capacity(_)
            | Self::Describe(_)
            | Self::Health(_) => "warn",
            Self::Report(_) | Self::Sql(_) => telemetry::ANSWERING,
            Self::MakeCertificate(_) => "warn",
            Self::MakeCredentials(_)
            | Self::InferenceServer(_)
            | Self::Ingest(_)
            | Self::ConsumeImages(_)
            | Self::ConsumePredictions(_)
            | Self::Scheduler(_)
            | Self::SparkConnect(_)
            | Self::Executor(_) => "info",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::fields::Settings;
    use clap::CommandFactory as _;
    use firesteel_common::ConfigField;

    /// Fields that only a flag fills, without a variable and a key.
    const FLAGS: [ConfigField; 7] = [
        ConfigField::ProducerRate,
        ConfigField::ProducerDataset,
        ConfigField::ProducerLedger,
        ConfigField::SeedDocs,
        ConfigField::SeedCollection,
        ConfigField::SeedLayout,
        ConfigField::SeedExisting,
    ];

    #[test]
    fn every_field_of_a_configuration_has_a_flag_a_variable_and_a_key() {
        let settings = Settings::new(Cli::command(), None);
        for &field in ConfigField::ALL {
            let found = settings.of(field);
            assert!(!found.is_empty(), "{field}");
            assert!(found.iter().all(|setting| setting.flag.is_some()), "{field}: {found:?}");
            let named = found.iter().any(|setting| setting.variable.is_some() && setting.key.is_some());
            assert_eq!(named, !FLAGS.contains(&field), "{field}: {found:?}");
        }
    }

    #[test]
    fn a_field_is_told_by_all_names_of_its_setting() {
        let settings = Settings::new(Cli::command(), Some("sql"));
        for (field, expected) in [
            (
                ConfigField::KafkaBootstrap,
                "--kafka-bootstrap, FIRESTEEL_KAFKA_BOOTSTRAP or kafka_bootstrap in the settings file",
            ),
            (
                ConfigField::ExecutorWorkDir,
                "--work-dir, FIRESTEEL_EXECUTOR_WORK_DIR or executor_work_dir in the settings file of `firesteel executor`",
            ),
        ] {
            assert_eq!(settings.words(field), expected);
        }
        let settings = Settings::new(Cli::command(), Some("seed"));
        assert_eq!(settings.words(ConfigField::SeedExisting), "--drop; --append");
    }

    /// One field has one setting: subcommands that share an argument call it the same.
    #[test]
    fn an_argument_that_several_subcommands_share_has_one_name() {
        let command = Cli::command();
        let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        for field in [
            "kafka_bootstrap",
            "kafka_properties",
            "mongodb_uri",
            "mongodb_database",
            "models",
            "device",
            "cache_dir",
            "scheduler",
        ] {
            let mut variables: Vec<_> = command
                .get_subcommands()
                .flat_map(clap::Command::get_arguments)
                .filter(|argument| argument.get_id() == field)
                .map(|argument| (argument.get_long(), argument.get_env()))
                .collect();
            variables.dedup();
            assert_eq!(variables.len(), 1, "{field} in {names:?}");
        }
    }
}
