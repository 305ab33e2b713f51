//! The arguments of both consumers.

use clap::{Args, ValueEnum};
use firesteel_pipeline::consumer::OnDataLoss;

use super::size::size;

/// How a consumer consumes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Consumer")]
pub(crate) struct ConsumerArgs {
    /// How many bytes of records may be between Kafka's poll and the acknowledged result; one record always fits
    #[arg(long, value_name = "SIZE", env = "FIRESTEEL_CONSUMER_IN_FLIGHT_BYTES", default_value = "64MiB", value_parser = size)]
    pub(crate) max_in_flight_bytes: usize,
    /// What to do when records were removed from Kafka, by retention or by hand, before they were read. They are counted, logged
    /// and described by a dead letter in any case
    #[arg(long, value_name = "WHAT", env = "FIRESTEEL_ON_DATA_LOSS", value_enum, default_value = "stop")]
    pub(crate) on_data_loss: DataLoss,
}

/// What to do about records that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DataLoss {
    /// End with an error, each time anew
    Stop,
    /// Go on behind them
    Continue,
}

impl ConsumerArgs {
    pub(crate) fn on_data_loss(&self) -> OnDataLoss {
        match self.on_data_loss {
            DataLoss::Stop => OnDataLoss::Stop,
            DataLoss::Continue => OnDataLoss::Continue,
        }
    }
}
