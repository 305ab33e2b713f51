//! The models of a running server, and which of them answers a request.

use super::batcher::Handle;
use super::error::{Error, Result};
use super::spec::answers_to;
use super::split::Split;
use super::stats::ServerStats;
use firesteel_proto::PredictionRecord;
use firesteel_proto::inference::{ClassifyRequest, UnknownModel};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The models of a server, in the order of the settings.
#[derive(Debug)]
pub(super) struct Served {
    handles: Vec<Handle>,
    split: Split,
    stats: Arc<ServerStats>,
}

impl Served {
    /// The models behind `handles`, at least one, between which `split` shares out.
    pub(super) fn new(handles: Vec<Handle>, split: Split, stats: Arc<ServerStats>) -> Self {
        Self { handles, split, stats }
    }

    /// The models, each with its share of the requests that name none.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Handle, u32)> {
        self.handles.iter().enumerate().map(|(index, handle)| (handle, self.split.share(index)))
    }

    /// The model that answers `request`.
    ///
    /// # Errors
    /// The request asks for a model that there is not; it is counted.
    pub(super) fn choose(&self, request: &ClassifyRequest) -> Result<&Handle, UnknownModel> {
        let asked = &request.model;
        if asked.is_empty() {
            let identity = if request.key.is_empty() { &request.data } else { &request.key };
            return Ok(&self.handles[self.split.of(identity)]);
        }
        self.handles.iter().find(|handle| answers_to(&handle.info().name, asked)).ok_or_else(|| {
            self.stats.unknown_models.inc();
            let models = self.handles.iter().map(|handle| handle.info().name.clone()).collect();
            // The answer waits for its client, and no permit counts it: what is longer than any name is cut off.
            let asked = asked.chars().take(PredictionRecord::MAX_MODEL).collect();
            UnknownModel { asked, models }
        })
    }
}

/// Sees that each of the models can be told from the others.
///
/// # Errors
/// [`Error::SameName`] where two have one whole name.
pub(super) fn told_apart<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut seen = BTreeSet::new();
    match names.into_iter().find(|name| !seen.insert(*name)) {
        Some(name) => Err(Error::SameName { name: name.to_owned() }),
        None => Ok(()),
    }
}
