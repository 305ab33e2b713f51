//! Image bytes to pixels of exactly the model's input size, or the reason why these bytes can never be that.
//!
//! The size is read from the header and compared *before* anything is allocated for pixels, so a file that claims
//! a billion of them costs nothing. A damaged file is refused rather than guessed at: a JPEG decoder would happily
//! paint the missing half grey, and the model would happily name it.

use super::error::Error;
use super::model::ModelInfo;
use firesteel_proto::Encoding;
use image::codecs::{jpeg::JpegDecoder, png::PngDecoder};
use image::{DynamicImage, ImageDecoder, ImageError, Limits};
use std::io::Cursor;

/// The reason why bytes can never be classified: the same bytes are refused again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The request breaks the wire's contract: no data, or an encoding this version does not know.
    #[error("{0}")]
    Request(String),
    /// No bytes at all.
    #[error("the image has no data")]
    Empty,
    /// More bytes than an image may have.
    #[error("the image has {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// The value that was found.
        bytes: usize,
        /// The value that is allowed.
        limit: usize,
    },
    /// Another size than the model takes.
    #[error("the image is {} x {} pixels, the model takes {} x {}", found.0, found.1, expected.0, expected.1)]
    Size {
        /// Width and height in the file.
        found: (u32, u32),
        /// Width and height that the model takes.
        expected: (u32, u32),
    },
    /// Raw pixels of another length than the model's input.
    #[error("{found} bytes of raw RGB, the model takes {expected}")]
    RawLength {
        /// The value that was found.
        found: usize,
        /// Width × height × 3.
        expected: usize,
    },
    /// Bytes whose encoding neither the request nor their beginning names.
    #[error(
        "{found} bytes that are neither JPEG nor PNG, and not the {expected} bytes of raw RGB that the model takes"
    )]
    Unrecognised {
        /// The value that was found.
        found: usize,
        /// Width × height × 3.
        expected: usize,
    },
    /// No image in the encoding that the request names.
    #[error("not a readable {format} image: {reason}")]
    Unreadable {
        /// "JPEG" or "PNG".
        format: &'static str,
        /// The error of the decoder.
        reason: String,
    },
}

/// The bytes that a file starts with.
const JPEG: &[u8] = &[0xff, 0xd8, 0xff];
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The encoding of a file by its first bytes; `None` where they are no JPEG's or PNG's.
#[must_use]
pub fn detect(data: &[u8]) -> Option<Encoding> {
    if data.starts_with(JPEG) {
        Some(Encoding::Jpeg)
    } else if data.starts_with(PNG) {
        Some(Encoding::Png)
    } else {
        None
    }
}

/// Decodes to one fixed size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoder {
    /// Columns that an image must have.
    pub width: u32,
    /// Rows that an image must have.
    pub height: u32,
    /// Bytes that an encoded image may have.
    pub max_bytes: usize,
}

impl Decoder {
    /// A decoder to the size that a model takes.
    ///
    /// # Errors
    /// [`Error::Setting`] for a model of a size that no image can have.
    pub fn to(info: &ModelInfo, max_bytes: usize) -> Result<Self, Error> {
        let edge = |setting, value: usize| {
            let expected = "a size that an image can have";
            u32::try_from(value).map_err(|_| Error::Setting { setting, value: value.to_string(), expected })
        };
        Ok(Self { width: edge("width", info.width)?, height: edge("height", info.height)?, max_bytes })
    }

    /// The pixels of an image that comes without its encoding: a JPEG or PNG by its first bytes, else raw RGB by its
    /// length. (Raw pixels whose first one is 255, 216, 255 would be taken for a JPEG and refused.)
    ///
    /// # Errors
    /// As [`Decoder::decode`], and [`Rejection::Unrecognised`].
    pub fn decode_any(&self, data: &[u8]) -> Result<Vec<u8>, Rejection> {
        let expected = self.pixels() * 3;
        match detect(data) {
            Some(encoding) => self.decode(encoding, data),
            None if data.is_empty() || data.len() == expected => self.decode(Encoding::Rgb8, data),
            None => Err(Rejection::Unrecognised { found: data.len(), expected }),
        }
    }

    /// The pixels of one image: u8 `[height, width, 3]`, RGB, rows from the top. Grey is spread over the three
    /// channels and an alpha channel is dropped.
    ///
    /// # Errors
    /// The [`Rejection`] of these bytes.
    pub fn decode(&self, encoding: Encoding, data: &[u8]) -> Result<Vec<u8>, Rejection> {
        if data.is_empty() {
            return Err(Rejection::Empty);
        }
        if data.len() > self.max_bytes {
            return Err(Rejection::TooLarge { bytes: data.len(), limit: self.max_bytes });
        }
        match encoding {
            Encoding::Rgb8 => self.raw(data),
            Encoding::Jpeg => self.jpeg(data),
            Encoding::Png => self.png(data),
        }
    }

    fn raw(&self, data: &[u8]) -> Result<Vec<u8>, Rejection> {
        let expected = self.pixels() * 3;
        if data.len() == expected {
            Ok(data.to_vec())
        } else {
            Err(Rejection::RawLength { found: data.len(), expected })
        }
    }

    fn jpeg(&self, data: &[u8]) -> Result<Vec<u8>, Rejection> {
        let unreadable = |e: ImageError| Rejection::Unreadable { format: "JPEG", reason: e.to_string() };
        let decoder = JpegDecoder::new(Cursor::new(data)).map_err(unreadable)?;
        self.check_size(decoder.dimensions())?;
        // The decoder fills in what a cut-off file lacks; the end marker (FF D9, which entropy-coded data never
        // contains) tells.
        if !data.windows(2).rev().any(|pair| pair == [0xff, 0xd9]) {
            let reason = "it ends before its end marker".to_owned();
            return Err(Rejection::Unreadable { format: "JPEG", reason });
        }
        self.rgb(decoder).map_err(unreadable)
    }

    fn png(&self, data: &[u8]) -> Result<Vec<u8>, Rejection> {
        let unreadable = |e: ImageError| Rejection::Unreadable { format: "PNG", reason: e.to_string() };
        let decoder = PngDecoder::with_limits(Cursor::new(data), self.limits()).map_err(unreadable)?;
        self.check_size(decoder.dimensions())?;
        self.rgb(decoder).map_err(unreadable)
    }

    fn rgb(&self, mut decoder: impl ImageDecoder) -> Result<Vec<u8>, ImageError> {
        decoder.set_limits(self.limits())?;
        Ok(DynamicImage::from_decoder(decoder)?.into_rgb8().into_raw())
    }

    fn check_size(&self, found: (u32, u32)) -> Result<(), Rejection> {
        let expected = (self.width, self.height);
        if found == expected { Ok(()) } else { Err(Rejection::Size { found, expected }) }
    }

    fn pixels(&self) -> usize {
        self.width as usize * self.height as usize
    }

    /// What a decoder may allocate: 16-bit RGBA of the right size eight times over, for its rows and tables, and
    /// never less than a megabyte.
    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.max_alloc = Some((self.pixels() as u64 * 64).max(1 << 20));
        limits
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use image::{ExtendedColorType, ImageEncoder, ImageFormat, RgbImage};
    use proptest::prelude::*;

    const DECODER: Decoder = Decoder { width: 32, height: 32, max_bytes: 1 << 16 };

    fn picture(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let byte = |v: u32| u8::try_from(v % 256).unwrap();
            image::Rgb([byte(x * 8), byte(y * 8), byte((x + y) * 4)])
        })
    }

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn file(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        encoded(&DynamicImage::ImageRgb8(picture(width, height)), format)
    }

    #[test]
    fn every_encoding_of_the_right_size_is_read() {
        let pixels = picture(32, 32).into_raw();
        assert_eq!(DECODER.decode(Encoding::Rgb8, &pixels).unwrap(), pixels);
        assert_eq!(DECODER.decode(Encoding::Png, &file(32, 32, ImageFormat::Png)).unwrap(), pixels);
        let jpeg = DECODER.decode(Encoding::Jpeg, &file(32, 32, ImageFormat::Jpeg)).unwrap();
        assert_eq!(jpeg.len(), pixels.len());
        let off = jpeg.iter().zip(&pixels).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(off < 48, "a JPEG of a smooth picture is close to it, not off by {off}");
    }

    #[test]
    fn an_encoding_is_told_from_the_bytes() {
        let pixels = picture(32, 32).into_raw();
        let (jpeg, png) = (file(32, 32, ImageFormat::Jpeg), file(32, 32, ImageFormat::Png));
        assert_eq!(detect(&jpeg), Some(Encoding::Jpeg));
        assert_eq!(detect(&png), Some(Encoding::Png));
        assert_eq!(detect(&pixels), None);
        assert_eq!(DECODER.decode_any(&jpeg), DECODER.decode(Encoding::Jpeg, &jpeg));
        assert_eq!(DECODER.decode_any(&png), Ok(pixels.clone()));
        assert_eq!(DECODER.decode_any(&pixels), Ok(pixels.clone()));

        assert_eq!(DECODER.decode_any(&[]), Err(Rejection::Empty));
        let said = DECODER.decode_any(b"GIF89a").unwrap_err().to_string();
        assert!(said.contains("6 bytes") && said.contains("3072"), "{said}");
        // One byte less than the raw pixels have, and more than an image may have.
        assert!(matches!(DECODER.decode_any(&pixels[1..]), Err(Rejection::Unrecognised { .. })));
        let cut = DECODER.decode_any(&jpeg[..jpeg.len() / 2]).unwrap_err();
        assert!(matches!(cut, Rejection::Unreadable { format: "JPEG", .. }), "{cut}");
        let large = [JPEG, &[0; 1 << 16]].concat();
        assert!(matches!(DECODER.decode_any(&large), Err(Rejection::TooLarge { .. })));
    }

    #[test]
    fn grey_and_alpha_and_16_bits_become_rgb8() {
        let image = DynamicImage::ImageRgb8(picture(32, 32));
        for image in [
            DynamicImage::ImageLuma8(image.to_luma8()),
            DynamicImage::ImageRgba8(image.to_rgba8()),
            DynamicImage::ImageRgba16(image.to_rgba16()),
        ] {
            let pixels = DECODER.decode(Encoding::Png, &encoded(&image, ImageFormat::Png)).unwrap();
            assert_eq!(pixels, image.to_rgb8().into_raw());
        }
        let grey = DynamicImage::ImageLuma8(image.to_luma8());
        assert_eq!(DECODER.decode(Encoding::Jpeg, &encoded(&grey, ImageFormat::Jpeg)).unwrap().len(), 3_072);
    }

    #[test]
    fn each_rejection_says_why() {
        let check = |encoding, data: &[u8], reason: &str| {
            let said = DECODER.decode(encoding, data).unwrap_err().to_string();
            assert!(said.contains(reason), "{said:?} lacks {reason:?}");
        };
        let jpeg = file(32, 32, ImageFormat::Jpeg);
        check(Encoding::Jpeg, &[], "no data");
        check(Encoding::Jpeg, &vec![0; (1 << 16) + 1], "65537 bytes, more than the limit of 65536");
        check(Encoding::Jpeg, &file(31, 32, ImageFormat::Jpeg), "31 x 32 pixels, the model takes 32 x 32");
        check(Encoding::Png, &file(32, 64, ImageFormat::Png), "32 x 64 pixels, the model takes 32 x 32");
        check(Encoding::Rgb8, &[1, 2, 3], "3 bytes of raw RGB, the model takes 3072");
        check(Encoding::Png, &jpeg, "not a readable PNG image");
        check(Encoding::Jpeg, b"GIF89a", "not a readable JPEG image");
        check(Encoding::Jpeg, &jpeg[..jpeg.len() / 2], "not a readable JPEG image");
    }

    /// A PNG header that claims 65,535 × 65,535 pixels, 12 GiB of them.
    #[test]
    fn a_bomb_is_refused_by_its_header() {
        let mut png = Vec::new();
        image::codecs::png::PngEncoder::new(&mut png)
            .write_image(&[0; 3], 1, 1, ExtendedColorType::Rgb8)
            .unwrap();
        let header = 8 + 4; // The signature and the length of the IHDR chunk come before its type and data.
        png[header + 4..header + 12].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
        let crc = crc32(&png[header..header + 17]);
        png[header + 17..header + 21].copy_from_slice(&crc.to_be_bytes());
        let rejection = DECODER.decode(Encoding::Png, &png).unwrap_err();
        let found = (65_535, 65_535);
        assert!(
            matches!(&rejection, Rejection::Size { found: f, .. } if *f == found)
                || matches!(&rejection, Rejection::Unreadable { .. }),
            "{rejection}"
        );
        let mut jpeg = file(32, 32, ImageFormat::Jpeg);
        let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
        let rejection = DECODER.decode(Encoding::Jpeg, &jpeg).unwrap_err();
        assert!(!rejection.to_string().is_empty());
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 })
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_pixels_or_a_rejection(bytes in proptest::collection::vec(any::<u8>(), 0..4_096)) {
            for encoding in [Encoding::Jpeg, Encoding::Png, Encoding::Rgb8] {
                if let Ok(pixels) = DECODER.decode(encoding, &bytes) {
                    prop_assert_eq!(pixels.len(), 3_072);
                }
            }
            if let Ok(pixels) = DECODER.decode_any(&bytes) {
                prop_assert_eq!(pixels.len(), 3_072);
            }
        }

        #[test]
        fn a_damaged_file_is_pixels_or_a_rejection(
            at in proptest::collection::vec((0.0_f64..1.0, any::<u8>()), 1..8), cut in 0.2_f64..1.0, png: bool,
        ) {
            let (format, encoding) =
                if png { (ImageFormat::Png, Encoding::Png) } else { (ImageFormat::Jpeg, Encoding::Jpeg) };
            let mut bytes = file(32, 32, format);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss,
                reason = "a position inside the file")]
            let place = |share: f64, len: usize| (len as f64 * share) as usize;
            let cut = place(cut, bytes.len());
            // A PNG that lacks only its end chunk has all its pixels.
            if !png || cut < bytes.len() - 32 {
                prop_assert!(DECODER.decode(encoding, &bytes[..cut]).is_err(), "a cut file is refused");
            }
            for (share, byte) in at {
                let at = place(share, bytes.len());
                bytes[at] = byte;
            }
            if let Ok(pixels) = DECODER.decode(encoding, &bytes) {
                prop_assert_eq!(pixels.len(), 3_072);
            }
            let _ = DECODER.decode(encoding, &bytes[..cut]);
        }
    }
}
