//! The target of the decoders of images.

use firesteel_pipeline::inference::decode::{Decoder, Limits};
use firesteel_proto::Encoding;

/// Images of strangers: pixels of exactly the size that the model takes, or a reason.
pub fn images(bytes: &[u8]) {
    let decoder =
        Decoder { limits: Limits { max_bytes: 1 << 20, max_pixels: 1 << 20 }, ..Decoder::new(32, 32) };
    for pixels in [
        decoder.decode_any(bytes),
        decoder.decode(Encoding::Jpeg, bytes),
        decoder.decode(Encoding::Png, bytes),
        decoder.decode(Encoding::WebP, bytes),
        decoder.decode(Encoding::Rgb8, bytes),
    ]
    .into_iter()
    .flatten()
    {
        assert_eq!(pixels.len(), 32 * 32 * 3);
    }
}
