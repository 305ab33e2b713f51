//! The inference service: its generated client and server, and conversions for its messages.

use crate::Encoding;
use crate::error::{Error, Result};
use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType, message, skip_field};
use prost::{DecodeError, Message};

pub use crate::wire::classify_response::Outcome;
pub use crate::wire::inference_client::InferenceClient;
pub use crate::wire::inference_server::{Inference, InferenceServer, SERVICE_NAME};
pub use crate::wire::{
    Classification, ClassifyRequest, ClassifyResponse, ClassifyResponses, DescribeRequest, DescribeResponse,
    ModelDescription, Rejection, UnknownModel,
};

impl ClassifyRequest {
    /// A request for `data`, answered under `id`.
    #[must_use]
    pub fn of(id: u64, encoding: Encoding, data: Bytes) -> Self {
        Self { id, encoding: encoding.to_wire(), data, model: String::new(), key: Bytes::new() }
    }

    /// The image, once its encoding is known and it is not empty.
    pub fn into_image(self) -> Result<(Encoding, Bytes)> {
        let encoding = Encoding::from_wire(self.encoding)?;
        if self.data.is_empty() {
            return Err(Error::EmptyImage);
        }
        Ok((encoding, self.data))
    }
}

/// Images that are sent together; each `id` is unique in its call.
///
/// An empty request is two bytes of a message and a hundred in memory, so a message within the bytes that a server reads could
/// take all of its memory. What is beyond [`MOST`](Self::MOST) is therefore counted and not decoded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClassifyRequests {
    /// The first of them.
    pub requests: Vec<ClassifyRequest>,
    /// How many more there were. They are not sent on.
    pub beyond: usize,
}

impl ClassifyRequests {
    /// Requests of a message, at most.
    pub const MOST: usize = 1_024;
    /// The number of the field `requests`.
    const REQUESTS: u32 = 1;

    /// A message of these requests.
    #[must_use]
    pub fn of(requests: Vec<ClassifyRequest>) -> Self {
        Self { requests, beyond: 0 }
    }
}

impl Message for ClassifyRequests {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        message::encode_repeated(Self::REQUESTS, &self.requests, buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> std::result::Result<(), DecodeError> {
        if tag != Self::REQUESTS {
            return skip_field(wire_type, tag, buf, ctx);
        }
        if self.requests.len() < Self::MOST {
            return message::merge_repeated(wire_type, &mut self.requests, buf, ctx);
        }
        self.beyond = self.beyond.saturating_add(1);
        skip_field(wire_type, tag, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        message::encoded_len_repeated(Self::REQUESTS, &self.requests)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl UnknownModel {
    /// The same as a sentence.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { asked, models } = self;
        format!("there is no model {asked:?} here: the models are {}", models.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_what_was_sent() {
        let request = |id, bytes: usize| ClassifyRequest {
            model: "m".to_owned(),
            ..ClassifyRequest::of(id, Encoding::Jpeg, vec![7; bytes].into())
        };
        for requests in [vec![], vec![request(1, 300)], vec![request(1, 0), request(0, 3), request(2, 1)]] {
            let message = ClassifyRequests::of(requests);
            let bytes = message.encode_to_vec();
            assert_eq!(bytes.len(), message.encoded_len());
            assert_eq!(ClassifyRequests::decode(&bytes[..]), Ok(message.clone()));
            // A field that a later version may have: number 2, a varint.
            let later = [&b"\x10\x05"[..], &bytes].concat();
            assert_eq!(ClassifyRequests::decode(&later[..]), Ok(message));
        }
    }

    #[test]
    fn requests_beyond_the_most_are_counted_and_not_kept() {
        let read = |empty: usize| {
            let message = ClassifyRequests::decode(&b"\x0a\x00".repeat(empty)[..]).expect("a message");
            (message.requests.len(), message.beyond)
        };
        assert_eq!(read(1_024), (1_024, 0));
        assert_eq!(read(2_000), (1_024, 976));
        assert!(ClassifyRequests::decode(&b"\x0a\x09"[..]).is_err(), "it is cut short");
    }
}
