//! The connections that plans refer to by name.

use std::collections::HashMap;
use std::sync::Arc;

use super::Connection;
use crate::config::{Config, DEFAULT_CONNECTION};
use crate::connectors::registry::Shared;
use crate::slots::Slots;
use crate::{Error, Result};

/// The connections of a process, and the size of the cluster that reads through them. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    by_name: Arc<HashMap<String, Arc<Connection>>>,
    slots: Slots,
}

impl Connections {
    /// The connections of this configuration.
    pub(crate) fn new(config: &Config, shared: &Shared) -> Self {
        let connection = Arc::new(Connection::new(config));
        let by_name = HashMap::from([(DEFAULT_CONNECTION.to_owned(), connection)]);
        Self { by_name: Arc::new(by_name), slots: shared.slots.clone() }
    }

    /// The connection that a plan calls `name`.
    pub(crate) fn named(&self, name: &str) -> Result<Arc<Connection>> {
        self.by_name.get(name).cloned().ok_or_else(|| Error::UnknownConnection { name: name.to_owned() })
    }

    /// How many tasks the cluster runs at once.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }
}
