//! What `engine` and `pipeline` share, one floor below both.
//!
//! * [`config_field`]: the names of configuration fields, which errors carry and the binary translates.
//!
//! The crate decides nothing: it holds no topics, no tables and no policies. Whether a failure is waited for, given up
//! or reported is the business of the crate that uses it.

pub mod config_field;

pub use config_field::ConfigField;
