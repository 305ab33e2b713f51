//! Dead letters: reading them, counting them, and sending their records back.
//!
//! ```text
//!  {topic}.dead-letter ──read──▶ letter ──filter──▶ list, show
//!        │                         │ cut? fetch: the whole record from its source offset, or how it is gone
//!        │                         ▼
//!        │                  replay: decide ──▶ one transaction: records ──▶ {topic}, marks ──▶ {topic}.dead-letter.replayed
//!        └──count: how many records of a producer were given up
//! ```
//!
//! Everything reads from where a topic begins to where it ended at the start, one letter at a time, outside any group, and
//! only what was committed. What a letter's headers mean is in [`firesteel_common::dead_letter`].

mod count;
mod fetch;
mod filter;
mod letter;
mod marks;
mod read;
pub mod replay;

pub use count::count_dead_letters;
pub use fetch::{Fetched, Fetcher};
pub use filter::{Filter, Span};
pub use letter::{Letter, Place, Source};
pub use marks::marks_topic;
pub use read::Letters;

use super::{KafkaConfig, reader};
use crate::error::Result;
use firesteel_common::kafka::QuietContext;
use rdkafka::consumer::BaseConsumer;

const ROLE: &str = "dead-letters";
/// A client that is assigned partitions must name a group; it neither joins it nor commits to it.
const GROUP: &str = "firesteel-dead-letters";

fn client(config: &KafkaConfig) -> Result<BaseConsumer<QuietContext>> {
    reader(config, ROLE, GROUP)
}
