//! Topics are not written by SQL: records reach Kafka through producers, which own their keys and their order.

use crate::Error;

/// The error of an `INSERT INTO` a topic.
pub(crate) fn refusal() -> Error {
    Error::UnsupportedStatement {
        statement: "INSERT INTO a Kafka topic",
        instead: "topics are written by producers; INSERT INTO writes collections of MongoDB",
    }
}
