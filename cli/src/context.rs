//! What every subcommand gets beside its arguments, and how it ends.

use std::sync::Arc;

use indicatif::MultiProgress;

use crate::args::fields::Settings;
use crate::signals::Signals;

/// What the process gives to the subcommand that it runs.
pub(crate) struct Context {
    /// The signals that ask for the end.
    pub(crate) signals: Signals,
    /// The progress bars on standard error, which log lines are drawn around.
    pub(crate) bars: MultiProgress,
    /// The names of the settings, for errors.
    pub(crate) settings: Arc<Settings>,
}

/// How a command that did not fail ended.
pub(crate) enum Outcome {
    /// It did what it was asked to.
    Done,
    /// A signal ended it before that.
    Interrupted,
}
