//! The connections that plans refer to by name, of whatever kind a connector has.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::DEFAULT_CONNECTION;
use crate::connectors::registry::Shared;
use crate::slots::Slots;
use crate::{Error, Result};

/// The connections of a process, and the size of the cluster that reads through them. Clones share everything.
#[derive(Debug)]
pub(crate) struct Connections<C> {
    by_name: Arc<HashMap<String, Arc<C>>>,
    slots: Slots,
}

impl<C> Clone for Connections<C> {
    fn clone(&self) -> Self {
        Self { by_name: Arc::clone(&self.by_name), slots: self.slots.clone() }
    }
}

impl<C> Connections<C> {
    /// The list with the one connection that a configuration describes.
    pub(crate) fn new(connection: C, shared: &Shared) -> Self {
        let by_name = HashMap::from([(DEFAULT_CONNECTION.to_owned(), Arc::new(connection))]);
        Self { by_name: Arc::new(by_name), slots: shared.slots.clone() }
    }

    /// The connection that a plan calls `name`.
    pub(crate) fn named(&self, name: &str) -> Result<Arc<C>> {
        self.by_name.get(name).cloned().ok_or_else(|| Error::UnknownConnection { name: name.to_owned() })
    }

    /// How many tasks the cluster runs at once.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }
}
