//! The headers of a Kafka record, read so that no record can end its reader.
//!
//! The name of a header is bytes to Kafka and text to `rdkafka`, which panics over a name that is not UTF-8. The bytes of
//! such a name, and the value behind it, can be had from librdkafka's C functions alone, and this project denies `unsafe`. So
//! the panic is caught, header by header: the record stays readable, and what cannot be read of it is shown as unreadable.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::message::{Headers, Message};

/// The name of a header whose own is not UTF-8.
pub const UNREADABLE: &str = "\u{fffd}";

/// Of an image: the model that it is for, by any of the names that a request may use.
pub const MODEL: &str = "firesteel-model";

/// A header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its name; [`UNREADABLE`] where it is not UTF-8.
    pub name: &'a str,
    /// Its value; none where it has none, and where its name cannot be read.
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// Its value, where that is UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.value?).ok()
    }

    /// Whether its name, and with it its value, could be read.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.name != UNREADABLE
    }
}

/// The headers of `message`, in order. One without headers has none.
pub fn headers<M: Message>(message: &M) -> Vec<Header<'_>> {
    let Some(headers) = message.headers() else { return Vec::new() };
    (0..headers.count()).filter_map(|index| header(headers, index)).collect()
}

/// The value of the last header of this name; none where it has none.
pub fn last<'a, H: Headers>(headers: &'a H, name: &str) -> Option<&'a [u8]> {
    let mut all = (0..headers.count()).rev().filter_map(|index| header(headers, index));
    all.find(|header| header.name == name)?.value
}

fn header<H: Headers>(headers: &H, index: usize) -> Option<Header<'_>> {
    // What is borrowed is never written to, so there is nothing that a panic could leave half done.
    match catch_unwind(AssertUnwindSafe(|| headers.try_get(index))) {
        Ok(read) => read.map(|header| Header { name: header.key, value: header.value }),
        Err(_) => Some(Header { name: UNREADABLE, value: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::Timestamp;
    use rdkafka::message::{Header as Written, OwnedHeaders, OwnedMessage};

    fn message(headers: Option<OwnedHeaders>) -> OwnedMessage {
        OwnedMessage::new(None, None, "t".to_owned(), Timestamp::NotAvailable, 0, 0, headers)
    }

    #[test]
    fn headers_come_in_order_with_and_without_values() {
        let written = OwnedHeaders::new()
            .insert(Written { key: "a", value: Some("1") })
            .insert(Written { key: "b", value: None::<&[u8]> })
            .insert(Written { key: "a", value: Some(&b"\xff"[..]) });
        let message = message(Some(written));
        let read = headers(&message);
        let expected: [(&str, Option<&[u8]>); 3] = [("a", Some(b"1")), ("b", None), ("a", Some(b"\xff"))];
        assert_eq!(read.iter().map(|header| (header.name, header.value)).collect::<Vec<_>>(), expected);
        assert_eq!(read.iter().map(Header::text).collect::<Vec<_>>(), [Some("1"), None, None]);
        assert!(read.iter().all(Header::is_readable));
        let headers = message.headers().expect("headers");
        assert_eq!(["a", "b", "c"].map(|name| last(headers, name)), [Some(&b"\xff"[..]), None, None]);
    }

    #[test]
    fn a_message_without_headers_has_none() {
        assert_eq!(headers(&message(None)), []);
    }

    /// Headers of which one has a name that is not UTF-8: as `rdkafka` reads them, it panics.
    struct Broken;

    impl Headers for Broken {
        fn count(&self) -> usize {
            3
        }

        fn try_get(&self, index: usize) -> Option<Written<'_, &[u8]>> {
            assert_ne!(index, 1, "its name is not UTF-8");
            (index < 3).then_some(Written { key: "a", value: Some(b"1") })
        }
    }

    #[test]
    fn a_name_that_is_not_text_hides_itself_and_nothing_else() {
        let names: Vec<&str> = (0..4).filter_map(|index| header(&Broken, index)).map(|h| h.name).collect();
        assert_eq!(names, ["a", UNREADABLE, "a"]);
    }
}
