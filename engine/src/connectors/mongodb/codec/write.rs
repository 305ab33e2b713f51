//! How a collection is written, and the writers of a statement, as messages.

use std::num::NonZeroU32;
use std::time::Duration;

use super::scan::batch_rows;
use super::wire;
use super::wire::write_options::W;
use crate::config::{Acknowledgement, WriteConcern, WriteConfig};
use crate::connectors::mongodb::schema;
use crate::connectors::mongodb::write::exec::WriteSpec;
use crate::wire::{damaged, decode_schema, encode_schema};
use crate::{Error, Result};

/// A day.
const MOST_WRITE_TIMEOUT_MS: u64 = 86_400_000;

/// The most attempts of a write.
const MOST_ATTEMPTS: u32 = 1_000;

impl From<&WriteConfig> for wire::WriteOptions {
    fn from(config: &WriteConfig) -> Self {
        let concern = &config.write_concern;
        Self {
            key_fields: config.key_fields.clone(),
            w: Some(match &concern.acknowledgement {
                Acknowledgement::Majority => W::Majority(true),
                Acknowledgement::Members(members) => W::Members(members.get()),
                Acknowledgement::Mode(mode) => W::Mode(mode.clone()),
            }),
            journal: concern.journal,
            timeout_ms: u64::try_from(concern.timeout.as_millis()).unwrap_or(u64::MAX),
            batch_rows: config.batch_rows as u64,
            ignore_nulls: config.ignore_nulls,
            nulls_decided: config.nulls_decided,
            attempts: config.attempts.get(),
        }
    }
}

impl TryFrom<wire::WriteOptions> for WriteConfig {
    type Error = Error;

    fn try_from(options: wire::WriteOptions) -> Result<Self> {
        let invalid = |what: &str| Error::PlanDecode { message: format!("a write has no {what}") };
        let acknowledgement = match options.w.ok_or_else(|| invalid("write concern"))? {
            W::Majority(_) => Acknowledgement::Majority,
            W::Members(members) => {
                Acknowledgement::Members(NonZeroU32::new(members).ok_or_else(|| invalid("members"))?)
            }
            W::Mode(mode) => Acknowledgement::Mode(mode),
        };
        if options.timeout_ms > MOST_WRITE_TIMEOUT_MS || options.attempts > MOST_ATTEMPTS {
            return Err(damaged("a write waits or tries for too long"));
        }
        if !options.key_fields.iter().all(|field| schema::is_column_name(field)) {
            return Err(damaged("a key field has no name of a field"));
        }
        Ok(Self {
            key_fields: options.key_fields,
            write_concern: WriteConcern {
                acknowledgement,
                journal: options.journal,
                timeout: Duration::from_millis(options.timeout_ms),
            },
            batch_rows: batch_rows(options.batch_rows)?,
            ignore_nulls: options.ignore_nulls,
            nulls_decided: options.nulls_decided,
            attempts: NonZeroU32::new(options.attempts).ok_or_else(|| invalid("attempts"))?,
        })
    }
}

impl TryFrom<&WriteSpec> for wire::Write {
    type Error = Error;

    fn try_from(spec: &WriteSpec) -> Result<Self> {
        Ok(Self {
            connection: spec.connection.clone(),
            database: spec.database.clone(),
            collection: spec.collection.clone(),
            schema: encode_schema(&spec.schema)?,
            options: Some((&spec.config).into()),
        })
    }
}

impl TryFrom<wire::Write> for WriteSpec {
    type Error = Error;

    fn try_from(write: wire::Write) -> Result<Self> {
        let columns = decode_schema(&write.schema)?;
        schema::validate(&write.collection, &columns)?;
        Ok(Self {
            connection: write.connection,
            database: write.database,
            collection: write.collection,
            schema: columns,
            config: write.options.unwrap_or_default().try_into()?,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::DEFAULT_CONNECTION;
    use crate::connectors::mongodb::schema::predictions_schema;

    pub(in crate::connectors::mongodb) fn any_write_config() -> impl Strategy<Value = WriteConfig> {
        let acknowledgement = prop_oneof![
            Just(Acknowledgement::Majority),
            any::<NonZeroU32>().prop_map(Acknowledgement::Members),
            "[a-z]{1,8}".prop_map(Acknowledgement::Mode),
        ];
        let keys = prop::collection::vec("[a-z_é]{1,8}", 1..4);
        let attempts = (1..=MOST_ATTEMPTS).prop_map(|attempts| NonZeroU32::new(attempts).unwrap());
        let flags = (any::<bool>(), any::<bool>(), any::<bool>(), attempts);
        (acknowledgement, keys, flags, 0..=MOST_WRITE_TIMEOUT_MS, 0..100_000_usize).prop_map(
            |(
                acknowledgement,
                key_fields,
                (journal, ignore_nulls, nulls_decided, attempts),
                timeout,
                batch_rows,
            )| {
                WriteConfig {
                    key_fields,
                    write_concern: WriteConcern {
                        acknowledgement,
                        journal,
                        timeout: Duration::from_millis(timeout),
                    },
                    batch_rows,
                    ignore_nulls,
                    nulls_decided,
                    attempts,
                }
            },
        )
    }

    pub(in crate::connectors::mongodb) fn any_write_spec() -> impl Strategy<Value = WriteSpec> {
        (any_write_config(), "[a-z]{1,8}").prop_map(|(config, collection)| WriteSpec {
            connection: DEFAULT_CONNECTION.to_owned(),
            database: "firesteel".to_owned(),
            collection,
            schema: predictions_schema(),
            config,
        })
    }

    #[test]
    fn a_write_without_its_parts_is_refused() {
        let whole = wire::WriteOptions::from(&WriteConfig::default());
        for broken in [
            wire::WriteOptions { w: None, ..whole.clone() },
            wire::WriteOptions { w: Some(W::Members(0)), ..whole.clone() },
            wire::WriteOptions { attempts: 0, ..whole.clone() },
            wire::WriteOptions { attempts: u32::MAX, ..whole.clone() },
            wire::WriteOptions { timeout_ms: u64::MAX, ..whole.clone() },
            wire::WriteOptions { batch_rows: u64::MAX, ..whole.clone() },
            wire::WriteOptions { key_fields: vec!["$where".to_owned()], ..whole },
        ] {
            assert!(matches!(WriteConfig::try_from(broken), Err(Error::PlanDecode { .. })));
        }
    }
}
