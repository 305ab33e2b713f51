//! The `firesteel` binary: arguments, settings, signals, telemetry and exit codes, and the composition of what
//! `engine` and `pipeline` keep apart. Nothing else in the project reads the environment or handles a signal.

mod args;
mod certificates;
mod classify;
mod cli;
mod commands;
mod context;
mod failure;
mod kubernetes;
mod output;
mod progress;
mod role;
mod settings;
mod signals;
mod tasks;
mod telemetry;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _};
use indicatif::MultiProgress;

use crate::args::fields::Settings;
use crate::args::secrets;
use crate::cli::Cli;
use crate::context::{Context, Outcome};
use crate::signals::Signals;

/// Batches of rows are allocated and freed by the megabyte. The system's allocator takes fresh pages for them, which the kernel
/// has to clear: reading 5 million documents spent a third more time in the kernel.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The stack of a worker thread. The planner recurses over deep plans; Ballista's own scheduler has the same size.
const STACK_BYTES: usize = 32 << 20;
/// How long tasks that outlive their command may take before the process ends.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let (cli, settings, file) = match parse(std::env::args_os().collect()) {
        Ok(parsed) => parsed,
        Err(error) => match error.downcast::<clap::Error>() {
            Ok(usage) => usage.exit(),
            Err(error) => return failed(&error, &Settings::new(Cli::command(), None), 2),
        },
    };
    if cli.global.check {
        // `parse` has reported everything that is wrong with them.
        return ExitCode::SUCCESS;
    }
    let settings = Arc::new(settings);
    match start(cli, Arc::clone(&settings), file) {
        Ok(code) => code,
        Err(error) => failed(&error, &settings, 1),
    }
}

fn failed(error: &anyhow::Error, settings: &Settings, code: u8) -> ExitCode {
    eprint!("{}", failure::text("firesteel", error, settings));
    ExitCode::from(code)
}

/// Reads the arguments over the environment over the settings file over the defaults. The file that was read comes with
/// them.
fn parse(arguments: Vec<OsString>) -> anyhow::Result<(Cli, Settings, Option<PathBuf>)> {
    let known = settings::names(&Cli::command());
    let mut command = Cli::command();
    let file = settings_file(&arguments)?;
    let mut layer = settings::Layer::new();
    if let Some(path) = &file {
        layer = settings::read(path, &known)?;
        layer = settings::without_twins(layer, |name| std::env::var_os(name).is_some());
    }
    let layer = settings::with_former_names(layer, |name| {
        // What is no text is named in the error that the value gets.
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    });
    command = settings::underlay(command, &layer);
    let matches = command.try_get_matches_from(arguments)?;
    settings::check_environment(
        &known,
        std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()),
    )?;
    secrets::refuse(&matches)?;
    let settings = Settings::new(Cli::command(), matches.subcommand_name());
    Ok((Cli::from_arg_matches(&matches)?, settings, file))
}

/// The settings file, which has to be known before the arguments are read in full, because it gives them defaults.
///
/// One that nobody named, in the current folder, has to be this user's own.
fn settings_file(arguments: &[OsString]) -> anyhow::Result<Option<PathBuf>> {
    let named = Cli::command().ignore_errors(true).try_get_matches_from(arguments).ok().and_then(|matches| {
        settings::deepest(&matches).try_get_one::<PathBuf>("config").ok().flatten().cloned()
    });
    if named.is_some() {
        return Ok(named);
    }
    let default = PathBuf::from(settings::DEFAULT_FILE);
    if !default.is_file() {
        return Ok(None);
    }
    settings::check_owner(&default)?;
    Ok(Some(default))
}

fn start(cli: Cli, settings: Arc<Settings>, file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let bars = MultiProgress::new();
    let filter = cli.global.log.unwrap_or_else(|| cli.command.default_filter().to_owned());
    telemetry::init(&filter, cli.global.log_format, &bars)?;
    if let Some(file) = file {
        let path = std::path::absolute(&file).unwrap_or(file);
        tracing::info!(file = %path.display(), "settings were read from a file");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build()
        .context("cannot start the async runtime")?;
    // The command runs on the large stack of a worker, not on that of the main thread.
    let ended = runtime.block_on(async move {
        let context = Context { signals: Signals::listen()?, bars, settings };
        let signals = context.signals.clone();
        let outcome = tokio::spawn(cli.command.run(context)).await.context("the command died")??;
        anyhow::Ok(match outcome {
            Outcome::Done => ExitCode::SUCCESS,
            Outcome::Interrupted => signals.exit_code().map_or(ExitCode::FAILURE, ExitCode::from),
        })
    });
    runtime.shutdown_timeout(SHUTDOWN_GRACE);
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
