//! What a `LOCATION` names: a collection, and perhaps its database. Never a server: plans carry a connection's name.

use crate::{ConfigField, Error, Result};

/// A collection, and its database where the location names one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) database: Option<String>,
    pub(crate) collection: String,
}

const FORMS: &str = "write 'collection', 'database.collection' or 'mongodb:///database/collection'";

impl Location {
    /// Reads `collection`, `database.collection` or `mongodb:///database/collection`.
    ///
    /// A collection's name may hold dots: with one, the database has to be named too. The message of an error does not
    /// repeat the text, which may hold a password.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (database, collection) = match text.split_once("://") {
            Some(("mongodb", rest)) => {
                let Some(path) = rest.strip_prefix('/') else { return Err(names_a_server()) };
                let Some((database, collection)) = path.split_once('/') else {
                    return Err(invalid("the location names no collection"));
                };
                (Some(database), collection)
            }
            Some(("mongodb+srv", _)) => return Err(names_a_server()),
            Some(_) => return Err(invalid("the location is not one of MongoDB")),
            None if text.contains('@') => return Err(names_a_server()),
            None => match text.split_once('.') {
                Some((database, collection)) => (Some(database), collection),
                None => (None, text),
            },
        };
        if !is_collection(collection) || database.is_some_and(|name| !is_database(name)) {
            return Err(invalid("the location names no collection"));
        }
        Ok(Self { database: database.map(str::to_owned), collection: collection.to_owned() })
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['\0', '$', '/', '\\', ' ', '"', '?'])
}

/// Whether a text is the name of a database.
pub(crate) fn is_database(name: &str) -> bool {
    is_name(name) && !name.contains('.')
}

/// Whether a text is the name of a collection of documents. Those of the server's own, such as users and views, are none.
pub(crate) fn is_collection(name: &str) -> bool {
    is_name(name) && !name.starts_with("system.")
}

fn invalid(what: &str) -> Error {
    Error::invalid_option("LOCATION", format!("{what}; {FORMS}"))
}

fn names_a_server() -> Error {
    let reason = format!(
        "a location names a collection and never a server or its credentials: {FORMS}; the server is configuration of each \
         process, which the option `connection` names"
    );
    Error::server_in_option("LOCATION", &reason, &[ConfigField::MongodbUri])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_collection() {
        for (text, expected) in [
            ("predictions", Some((None, "predictions"))),
            ("shop.orders", Some((Some("shop"), "orders"))),
            ("shop.orders.archive", Some((Some("shop"), "orders.archive"))),
            ("mongodb:///shop/orders", Some((Some("shop"), "orders"))),
            ("mongodb:///shop/orders.archive", Some((Some("shop"), "orders.archive"))),
            ("", None),
            (".orders", None),
            ("shop.", None),
            ("a b", None),
            ("mongodb:///shop", None),
            ("mongodb:///shop/", None),
            ("mongodb:///shop/orders?x=1", None),
            ("mongodb:///a.b/orders", None),
            ("s3://bucket/key", None),
            ("admin.system.users", None),
            ("shop.system.views", None),
            ("a.b$c", None),
        ] {
            let parsed = Location::parse(text).ok();
            let parsed = parsed.as_ref().map(|found| (found.database.as_deref(), found.collection.as_str()));
            assert_eq!(parsed, expected, "{text}");
        }
    }

    #[test]
    fn a_server_is_refused_and_not_repeated() {
        for text in [
            "mongodb://host/shop/orders",
            "mongodb://me:hunter2@host:27017/shop",
            "mongodb+srv://me:hunter2@host/shop",
            "me:hunter2@host",
        ] {
            let error = Location::parse(text).unwrap_err();
            assert_eq!(error.field(), Some(ConfigField::MongodbUri));
            let message = error.to_string();
            assert!(message.contains("(mongodb.uri)") && message.contains("`connection`"), "{message}");
            assert!(!message.contains("hunter2") && !message.contains("host"), "{message}");
        }
    }
}
