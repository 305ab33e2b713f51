//! The `firesteel` binary: arguments, settings, signals, telemetry and exit codes, and the composition of what
//! `engine` and `pipeline` keep apart. Nothing else in the project reads the environment or handles a signal.

mod args;
mod classify;
mod commands;
mod output;
mod progress;
mod settings;
mod signals;
mod tasks;
mod telemetry;

use anyhow::{Context as _, bail};
use args::{Cli, Command};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};
use indicatif::MultiProgress;
use signals::Signals;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Batches of rows are allocated and freed by the megabyte, which the system's allocator answers with fresh pages that the
/// kernel has to clear: reading 5 million documents took a third more time in the kernel.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The planner walks deep plans recursively; the stock Ballista scheduler runs on stacks of this size too.
const STACK_BYTES: usize = 32 << 20;
/// How long tasks that outlive their command may take before the process ends without them.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// What every subcommand gets beside its arguments.
pub(crate) struct Context {
    pub(crate) signals: Signals,
    pub(crate) bars: MultiProgress,
}

/// How a command that did not fail ended.
pub(crate) enum Outcome {
    /// It did what it was asked to.
    Done,
    /// A signal ended it before that.
    Interrupted,
}

fn main() -> ExitCode {
    let cli = match parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(error) => match error.downcast::<clap::Error>() {
            Ok(usage) => usage.exit(),
            Err(error) => return failed(&error, 2),
        },
    };
    if cli.global.check {
        // Everything that is wrong with them has been said by now.
        return ExitCode::SUCCESS;
    }
    match start(cli) {
        Ok(code) => code,
        Err(error) => failed(&error, 1),
    }
}

fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("firesteel: {error}");
    // A cause that its error already quotes is not said again.
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            eprintln!("  because: {cause}");
            said.push_str(&cause);
        }
    }
    ExitCode::from(code)
}

/// Arguments over environment over file over defaults.
fn parse(arguments: Vec<OsString>) -> anyhow::Result<Cli> {
    let known = settings::names(&Cli::command());
    let mut command = Cli::command();
    if let Some(path) = settings_file(&arguments) {
        command = settings::underlay(command, &settings::read(&path, &known)?);
    }
    let matches = command.try_get_matches_from(arguments)?;
    settings::check_environment(
        &known,
        std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()),
    )?;
    refuse_secrets(&matches)?;
    Ok(Cli::from_arg_matches(&matches)?)
}

/// The settings file has to be known before the arguments can be read in full, since it lies under them.
fn settings_file(arguments: &[OsString]) -> Option<PathBuf> {
    let named = Cli::command().ignore_errors(true).try_get_matches_from(arguments).ok().and_then(|matches| {
        let deepest = matches.subcommand().map_or(&matches, |(_, inner)| inner);
        deepest.try_get_one::<PathBuf>("config").ok().flatten().cloned()
    });
    named.or_else(|| {
        let default = PathBuf::from(settings::DEFAULT_FILE);
        default.is_file().then_some(default)
    })
}

/// An argument list is there for every user of the machine to read.
fn refuse_secrets(matches: &ArgMatches) -> anyhow::Result<()> {
    let Some((_, matches)) = matches.subcommand() else { return Ok(()) };
    let by_flag = |id: &str| {
        matches.try_contains_id(id).unwrap_or(false)
            && matches.value_source(id) == Some(ValueSource::CommandLine)
    };
    if by_flag("mongodb_uri") {
        let uri = matches.get_one::<String>("mongodb_uri").map(String::as_str).unwrap_or_default();
        if holds_password(uri) {
            bail!(
                "--mongodb-uri holds a password, which every user of this machine can read in the process list; \
                 set FIRESTEEL_MONGODB_URI or mongodb_uri in the settings file instead"
            );
        }
    }
    if by_flag("kafka_properties") {
        let pairs = matches.get_many::<String>("kafka_properties").into_iter().flatten();
        for name in pairs.filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.trim()) {
            if ["password", "secret", "key.pem", "oauthbearer.config"].iter().any(|part| name.contains(part))
            {
                bail!(
                    "--kafka-property {name} is a secret, which every user of this machine can read in the process \
                     list; set FIRESTEEL_KAFKA_PROPERTIES or [kafka.properties] in the settings file instead"
                );
            }
        }
    }
    Ok(())
}

/// Whether a connection string has a password, be it written as it should be or not.
fn holds_password(uri: &str) -> bool {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let (before_options, _) = rest.split_once('?').unwrap_or((rest, ""));
    // Options may hold an `@` of their own; a password with an unescaped `?` has no slash before it.
    let credentials = match before_options.rsplit_once('@') {
        Some((credentials, _)) => credentials,
        None if before_options.contains('/') => return false,
        None => rest.rsplit_once('@').map_or("", |(credentials, _)| credentials),
    };
    credentials.contains(':')
}

fn start(cli: Cli) -> anyhow::Result<ExitCode> {
    let bars = MultiProgress::new();
    let filter = cli.global.log.unwrap_or_else(|| default_level(&cli.command).to_owned());
    telemetry::init(&filter, cli.global.log_format, &bars)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build()
        .context("cannot start the async runtime")?;
    // On a worker's large stack, not on the main thread's.
    let ended = runtime.block_on(async move {
        let context = Context { signals: Signals::listen()?, bars };
        let signals = context.signals.clone();
        let outcome = tokio::spawn(run(cli.command, context)).await.context("the command died")??;
        anyhow::Ok(match outcome {
            Outcome::Done => ExitCode::SUCCESS,
            Outcome::Interrupted => signals.exit_code().map_or(ExitCode::FAILURE, ExitCode::from),
        })
    });
    runtime.shutdown_timeout(SHUTDOWN_GRACE);
    ended
}

async fn run(command: Command, context: Context) -> anyhow::Result<Outcome> {
    match command {
        Command::Demo(args) => Box::pin(commands::demo::run(args, context)).await,
        Command::Produce(args) => commands::produce::run(args, context).await,
        Command::InferenceServer(args) => commands::inference_server::run(args, context).await,
        Command::ConsumeImages(args) => commands::consume_images::run(args, context).await,
        Command::ConsumePredictions(args) => commands::consume_predictions::run(args, context).await,
        Command::Report(args) => Box::pin(commands::report::run(args, context)).await,
        Command::Scheduler(args) => Box::pin(commands::scheduler::run(args, context)).await,
        Command::Executor(args) => Box::pin(commands::executor::run(args, context)).await,
        Command::Seed(args) => commands::seed::run(args, context).await,
        Command::Evaluate(args) => commands::evaluate::run(args, context).await,
        Command::Health(args) => commands::health::run(args, context).await,
        Command::Sql(args) => Box::pin(commands::sql::run(args, context)).await,
    }
}

/// What has a progress bar or an answer to print logs only what is wrong.
fn default_level(command: &Command) -> &'static str {
    match command {
        Command::Demo(_)
        | Command::Produce(_)
        | Command::Seed(_)
        | Command::Evaluate(_)
        | Command::Health(_) => "warn",
        Command::Report(_) | Command::Sql(_) => telemetry::ANSWERING,
        Command::InferenceServer(_)
        | Command::ConsumeImages(_)
        | Command::ConsumePredictions(_)
        | Command::Scheduler(_)
        | Command::Executor(_) => "info",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arguments: &[&str]) -> String {
        let matches = Cli::command().try_get_matches_from(arguments).expect("usage is right");
        refuse_secrets(&matches).expect_err("a secret").to_string()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_setting_has_a_name_of_ours() {
        for name in settings::names(&Cli::command()) {
            assert!(name.starts_with("FIRESTEEL_"), "{name}");
        }
    }

    #[test]
    fn a_secret_in_an_argument_is_refused_and_not_repeated() {
        let text = refused(&["firesteel", "report", "--mongodb-uri", "mongodb://me:hunter2@host"]);
        assert!(text.contains("FIRESTEEL_MONGODB_URI") && !text.contains("hunter2"), "{text}");
        let text = refused(&["firesteel", "produce", "--kafka-property", "sasl.password=hunter2"]);
        assert!(text.contains("sasl.password") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_password_is_told_from_what_looks_like_one() {
        for uri in
            ["mongodb://u:p@h", "mongodb://u:p/w@h", "mongodb://u:p?w@h", "mongodb://u:p@w@h/?a=b", "u:p@h"]
        {
            assert!(holds_password(uri), "{uri}");
        }
        for uri in
            ["mongodb://h:1", "mongodb://me@h/?a=b:c", "mongodb://h:1/?appName=@a:b@", "mongodb://h:1?a=b"]
        {
            assert!(!holds_password(uri), "{uri}");
        }
    }
}
