//! What planning and reading take of their process.

use std::sync::Arc;

use crate::connectors::files::FileStores;
use crate::functions::Functions;
use crate::slots::Slots;

/// What tables need of their process.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The files that may be read.
    pub(crate) files: Arc<FileStores>,
    /// How many tasks the cluster runs at once.
    pub(crate) slots: Slots,
    /// The functions of the program.
    pub(crate) functions: Functions,
}
