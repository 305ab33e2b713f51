//! What can be done to whom: the vocabulary of the schedule, of the runs' records and of the table.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// SIGKILL; the process starts again a moment later, as Kubernetes does it.
    Kill,
    /// SIGTERM; likewise.
    Terminate,
    /// SIGSTOP, and SIGCONT after a while.
    Stop,
    /// The primary of the replica set is told to step down.
    StepDown,
    /// Another process of the role joins, and leaves in order after a while.
    Join,
    /// Each piece of data of a connection comes late.
    Delay,
    /// Connections are closed, and new ones too, for a while.
    Cut,
    /// Connections stay open, and nothing comes through, for a while.
    BlackHole,
    /// The file system of shuffle files and cached tables is full for a while.
    FullDisk,
    /// The clock of one process jumps, and jumps back after a while.
    ClockStep,
}

/// To whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Target {
    /// `firesteel produce`.
    Producer,
    /// `firesteel inference-server`, or the connections to them.
    Inference,
    /// `firesteel consume-images`.
    ImageConsumer,
    /// `firesteel consume-predictions`.
    PredictionConsumer,
    /// `firesteel scheduler`, or the connections to it.
    Scheduler,
    /// `firesteel executor`.
    Executor,
    /// A broker of Kafka, or the connections of clients to it.
    Broker,
    /// MongoDB's primary.
    Primary,
    /// A member of the replica set, whatever its state, or all connections to it.
    Member,
}

/// Everything that the schedule can choose, and how often it goes into the bag that a schedule is drawn from.
pub(crate) const CHOICES: &[(Kind, Target, usize)] = &[
    (Kind::Kill, Target::ImageConsumer, 3),
    (Kind::Kill, Target::PredictionConsumer, 3),
    (Kind::Kill, Target::Inference, 2),
    (Kind::Kill, Target::Scheduler, 2),
    (Kind::Kill, Target::Executor, 2),
    (Kind::Kill, Target::Producer, 2),
    (Kind::Kill, Target::Broker, 2),
    (Kind::Kill, Target::Primary, 2),
    (Kind::Kill, Target::Member, 1),
    (Kind::Terminate, Target::ImageConsumer, 1),
    (Kind::Terminate, Target::PredictionConsumer, 1),
    (Kind::Terminate, Target::Inference, 1),
    (Kind::Terminate, Target::Scheduler, 1),
    (Kind::Terminate, Target::Executor, 1),
    (Kind::Terminate, Target::Producer, 1),
    (Kind::Terminate, Target::Broker, 1),
    (Kind::Terminate, Target::Primary, 1),
    (Kind::Stop, Target::ImageConsumer, 1),
    (Kind::Stop, Target::PredictionConsumer, 1),
    (Kind::Stop, Target::Inference, 1),
    (Kind::Stop, Target::Scheduler, 1),
    (Kind::Stop, Target::Executor, 1),
    (Kind::Stop, Target::Producer, 1),
    (Kind::Stop, Target::Broker, 1),
    (Kind::Stop, Target::Primary, 1),
    (Kind::StepDown, Target::Primary, 2),
    (Kind::Join, Target::ImageConsumer, 1),
    (Kind::Join, Target::PredictionConsumer, 1),
    (Kind::Join, Target::Executor, 1),
    (Kind::Delay, Target::Broker, 1),
    (Kind::Delay, Target::Member, 1),
    (Kind::Delay, Target::Inference, 1),
    (Kind::Delay, Target::Scheduler, 1),
    (Kind::Cut, Target::Broker, 1),
    (Kind::Cut, Target::Member, 1),
    (Kind::Cut, Target::Inference, 1),
    (Kind::Cut, Target::Scheduler, 1),
    (Kind::BlackHole, Target::Broker, 1),
    (Kind::BlackHole, Target::Member, 1),
    (Kind::BlackHole, Target::Inference, 1),
    (Kind::BlackHole, Target::Scheduler, 1),
    (Kind::FullDisk, Target::Executor, 2),
    (Kind::ClockStep, Target::ImageConsumer, 1),
    (Kind::ClockStep, Target::PredictionConsumer, 1),
    (Kind::ClockStep, Target::Inference, 1),
    (Kind::ClockStep, Target::Executor, 1),
];

impl Kind {
    /// Its name in a record and on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The sentence of the table.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL, started again",
            Self::Terminate => "SIGTERM, started again",
            Self::Stop => "SIGSTOP for a while",
            Self::StepDown => "steps down",
            Self::Join => "one more joins and leaves",
            Self::Delay => "connections delayed",
            Self::Cut => "connections cut",
            Self::BlackHole => "connections black-holed",
            Self::FullDisk => "disk of shuffle files and cache full",
            Self::ClockStep => "clock steps",
        }
    }
}

impl Target {
    /// Its name in a record and on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}
