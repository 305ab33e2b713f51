//! Points in time as the data contract has them: milliseconds since 1970 in UTC, like a BSON date.

use crate::error::{Error, Result};
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00:00 UTC; negative before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, the range of `google.protobuf.Timestamp`, in seconds.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

impl Timestamp {
    /// The clock of this machine.
    #[must_use]
    pub fn now() -> Self {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        Self(i64::try_from(millis).unwrap_or(i64::MAX))
    }

    pub(crate) fn to_wire(self) -> prost_types::Timestamp {
        let nanos = self.0.rem_euclid(1_000) * 1_000_000;
        prost_types::Timestamp { seconds: self.0.div_euclid(1_000), nanos: i32::try_from(nanos).unwrap_or(0) }
    }

    /// Whole milliseconds; a finer fraction is cut off.
    pub(crate) fn from_wire(field: &'static str, wire: Option<prost_types::Timestamp>) -> Result<Self> {
        let wire = wire.ok_or(Error::Missing { field })?;
        if !SECONDS.contains(&wire.seconds) || !(0..1_000_000_000).contains(&wire.nanos) {
            return Err(Error::Time { field });
        }
        Ok(Self(wire.seconds * 1_000 + i64::from(wire.nanos / 1_000_000)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_time_survives_the_wire(millis in -62_135_596_800_000_i64..=253_402_300_799_999) {
            let time = Timestamp(millis);
            prop_assert_eq!(Timestamp::from_wire("t", Some(time.to_wire())), Ok(time));
        }

        #[test]
        fn any_wire_time_is_read_or_refused(seconds: i64, nanos: i32) {
            let _ = Timestamp::from_wire("t", Some(prost_types::Timestamp { seconds, nanos }));
        }
    }
}
