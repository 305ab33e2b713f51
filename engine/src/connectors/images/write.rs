//! Folders of images are not written by SQL.

use crate::Error;

/// The error of an `INSERT INTO` a folder of images.
pub(crate) fn refusal() -> Error {
    Error::UnsupportedStatement {
        statement: "INSERT INTO a folder of images",
        instead: "INSERT INTO writes collections of MongoDB, and COPY … TO writes rows to files",
    }
}
