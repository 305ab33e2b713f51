//! How an [`Error`] passes through DataFusion: it goes in as `DataFusionError::External` and comes out as itself.
//!
//! An error that is worth another try goes in as an I/O error, because only that is tried again by the scheduler.

use std::error::Error as StdError;
use std::{fmt, io};

use datafusion::error::DataFusionError;

use super::wire::Carried;
use super::{Error, ballista, wire};

type Boxed = Box<dyn StdError + Send + Sync>;

impl Error {
    /// The error of ours at the root of one of DataFusion's.
    pub(crate) fn carried(error: &DataFusionError) -> Option<&Self> {
        let source: &(dyn StdError + 'static) = match ballista::root(error) {
            DataFusionError::External(source) => source.as_ref(),
            DataFusionError::IoError(error) => error.get_ref()?,
            // A file that is refused is told by its store, through whatever reads the file's format.
            DataFusionError::ObjectStore(error) => return in_layers(error.as_ref()),
            DataFusionError::ParquetError(error) => return in_layers(error.as_ref()),
            _ => return None,
        };
        ours(source)
    }

    /// The error as the source of another library's.
    pub(crate) fn into_source(self) -> Boxed {
        Box::new(Carried(self))
    }

    /// The same error anew, where it can travel; one that is shared cannot be moved.
    fn again(&self) -> Option<Self> {
        wire::decode(&wire::encode(self))
    }
}

fn ours<'a>(source: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    source.downcast_ref::<Carried>().map(|carried| &carried.0).or_else(|| source.downcast_ref())
}

/// The error of ours that one of another library's comes from.
fn in_layers<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    std::iter::successors(Some(error), |error| (*error).source()).find_map(ours)
}

/// The error of ours in a box, or the box.
fn take(source: Boxed) -> Result<Error, Boxed> {
    match source.downcast::<Carried>() {
        Ok(carried) => Ok(carried.0),
        Err(other) => other.downcast::<Error>().map(|ours| *ours),
    }
}

fn is_ours(source: &(dyn StdError + 'static)) -> bool {
    source.is::<Carried>() || source.is::<Error>()
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(source) => {
                take(source).unwrap_or_else(|other| Self::Query(DataFusionError::External(other)))
            }
            DataFusionError::IoError(error) if error.get_ref().is_some_and(|source| is_ours(source)) => {
                match error.downcast::<Carried>() {
                    Ok(carried) => carried.0,
                    Err(error) => match error.downcast::<Self>() {
                        Ok(ours) => ours,
                        Err(other) => Self::Query(DataFusionError::IoError(other)),
                    },
                }
            }
            DataFusionError::Context(_, inner)
                if matches!(*inner, DataFusionError::External(_) | DataFusionError::IoError(_))
                    && Self::carried(&inner).is_some() =>
            {
                Self::from(*inner)
            }
            // Ballista's client makes a text of all that the scheduler tells it.
            DataFusionError::Execution(text) => {
                match wire::decode(&text).or_else(|| ballista::refusal(&text)) {
                    Some(ours) => ours,
                    None if text.starts_with("Job ") => ballista::failed_job(&text),
                    None => Self::Query(DataFusionError::Execution(text)),
                }
            }
            other => match Self::carried(&other) {
                Some(refused @ Self::FileRefused { .. }) => {
                    refused.again().unwrap_or_else(|| Self::Query(other))
                }
                _ => Self::Query(other),
            },
        }
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        match error {
            Error::Query(inner) => inner,
            unreachable @ Error::Unreachable { .. } => Self::IoError(io::Error::other(Carried(unreachable))),
            other => Self::External(Box::new(Carried(other))),
        }
    }
}

impl Error {
    /// Whether a job ended because an executor or the scheduler was lost, in a way that running the query again cures.
    pub fn is_lost_work(&self) -> bool {
        match self {
            Self::LostWork { .. } => true,
            Self::Query(error) => ballista::is_lost_work(error),
            _ => false,
        }
    }
}

/// As `Display`: a program that returns an error from `main` prints this, and people read it.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ConfigField;

    fn unknown() -> Error {
        Error::UnknownConnection { name: "other".into() }
    }

    #[test]
    fn an_error_stays_structural_through_datafusion() {
        let is_unknown = |error: Error| matches!(error, Error::UnknownConnection { name } if name == "other");
        assert!(is_unknown(Error::from(DataFusionError::from(unknown()))));
        assert!(is_unknown(Error::from(DataFusionError::from(unknown()).context("while planning"))));
        assert!(is_unknown(Error::from(DataFusionError::External(Box::new(unknown())))));
        assert!(is_unknown(Error::from(DataFusionError::IoError(io::Error::other(unknown())))));

        let unreachable = Error::Unreachable {
            role: "Kafka",
            address: "a:1".into(),
            setting: ConfigField::KafkaBootstrap,
            message: "no".into(),
        };
        let error = DataFusionError::from(unreachable);
        assert!(matches!(error, DataFusionError::IoError(_)));
        assert!(matches!(Error::from(error), Error::Unreachable { role: "Kafka", .. }));
    }

    #[test]
    fn an_error_of_another_library_stays_what_it_is() {
        for error in [
            DataFusionError::External("no".into()),
            DataFusionError::IoError(io::Error::other("no")),
            DataFusionError::Execution("no".into()),
            DataFusionError::External("no".into()).context("why"),
        ] {
            let told = error.to_string();
            assert!(matches!(Error::from(error), Error::Query(inner) if inner.to_string() == told), "{told}");
        }
    }

    #[test]
    fn an_error_of_ours_is_found_under_any_layers() {
        let shared = DataFusionError::Shared(Arc::new(DataFusionError::from(unknown()))).context("why");
        assert!(matches!(Error::carried(&shared), Some(Error::UnknownConnection { .. })));
        // In words it has no data.
        assert_eq!(Error::from(shared).to_string(), "why: this process has no connection named `other`");
        assert!(Error::carried(&DataFusionError::Plan("no".into())).is_none());
    }
}
