//! The inference service: its generated client and server, and conversions for its messages.

use crate::Encoding;
use crate::error::{Error, Result};
use bytes::Bytes;

pub use crate::wire::classify_response::Outcome;
pub use crate::wire::inference_client::InferenceClient;
pub use crate::wire::inference_server::{Inference, InferenceServer, SERVICE_NAME};
pub use crate::wire::{
    Classification, ClassifyRequest, ClassifyResponse, DescribeRequest, DescribeResponse, ModelDescription,
    Rejection, UnknownModel,
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

impl UnknownModel {
    /// The same as a sentence.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { asked, models } = self;
        format!("there is no model {asked:?} here: the models are {}", models.join(", "))
    }
}
