//! The target of the decoders of images.

use firesteel_pipeline::inference::decode::Decoder;
use firesteel_proto::Encoding;

/// Images of strangers: pixels of exactly the size that the model takes, or a reason.
pub fn images(bytes: &[u8]) {
    let decoder = Decoder { width: 32, height: 32, max_bytes: 1 << 20 };
    for pixels in [
        decoder.decode_any(bytes),
        decoder.decode(Encoding::Jpeg, bytes),
        decoder.decode(Encoding::Png, bytes),
        decoder.decode(Encoding::Rgb8, bytes),
    ]
    .into_iter()
    .flatten()
    {
        assert_eq!(pixels.len(), 32 * 32 * 3);
    }
}
