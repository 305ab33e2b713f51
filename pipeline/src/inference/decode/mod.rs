//! Image bytes to pixels of exactly the model's input size, or the reason why these bytes can never be that.
//!
//! ```text
//! bytes ─▶ encoding, by the first of them ─▶ header: size, orientation, end ─▶ limits ─▶ pixels ─▶ resized, upright
//! ```
//!
//! What the header says is compared with the limits *before* anything is allocated for pixels, so a file that claims
//! a billion of them costs nothing. A damaged file is refused rather than guessed at: a JPEG decoder would happily
//! paint the missing half grey, and the model would happily name it. (A JPEG file that lacks whole scans is seen, too; bits that lack in
//! a scan are seen in sequential files alone, where one scan has all components: within a progressive file they may be filled
//! in.) How an image of another size becomes the model's
//! is the model's rule, [`Resize`]; one that has the size already, and was not turned, keeps its bytes.

mod jpeg;
mod orientation;
mod png;
mod resample;
mod resize;
mod webp;

use self::orientation::Orientation;
use self::resample::{Pixels, resample};
use super::error::Error;
use super::model::ModelInfo;
use firesteel_proto::Encoding;
use std::panic::catch_unwind;

pub use self::resize::{Filter, Fit, Resize};

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
    /// More pixels than an image may have, or an edge longer than [`MAX_EDGE`].
    #[error(
        "the image is {} x {} pixels, more than the limit of {limit}, or than {MAX_EDGE} in one direction",
        found.0, found.1
    )]
    TooManyPixels {
        /// Width and height in the file.
        found: (u32, u32),
        /// Width × height that is allowed.
        limit: u32,
    },
    /// More memory than decoding an image may take.
    #[error(
        "the image of {} x {} pixels takes {bytes} bytes of memory to decode in its encoding, more than the limit of {limit}",
        found.0, found.1
    )]
    TooCostly {
        /// Width and height in the file.
        found: (u32, u32),
        /// Bytes that its pixels take while they are decoded.
        bytes: u64,
        /// The value that is allowed.
        limit: u64,
    },
    /// Another size than the model takes, and its rule is not to resize.
    #[error("the image is {} x {} pixels, the model takes {} x {}", found.0, found.1, expected.0, expected.1)]
    Size {
        /// Width and height of the image as it is shown.
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
        "{found} bytes that are no JPEG, PNG or WebP, and not the {expected} bytes of raw RGB that the model takes"
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
        /// "JPEG", "PNG" or "WebP"; "such" where the decoder panicked.
        format: &'static str,
        /// The error of the decoder.
        reason: String,
    },
}

/// The bytes that a JPEG file starts with.
const JPEG: &[u8] = &[0xff, 0xd8, 0xff];

/// The encoding of a file by its first bytes; `None` where they are no JPEG's, PNG's or WebP's.
#[must_use]
pub fn detect(data: &[u8]) -> Option<Encoding> {
    if data.starts_with(JPEG) {
        Some(Encoding::Jpeg)
    } else if data.starts_with(png::SIGNATURE) {
        Some(Encoding::Png)
    } else if webp::is_webp(data) {
        Some(Encoding::WebP)
    } else {
        None
    }
}

/// Pixels that an image may have in one direction: as many as a JPEG's header can say.
pub const MAX_EDGE: u32 = 65_535;

/// Bytes of memory a pixel that [`Limits::max_pixels`] is about: a progressive JPEG's with halved colours.
const BYTES_PER_PIXEL: u64 = 6;

/// What an encoded image may have. It is compared before its pixels are allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub max_bytes: usize,
    /// Width × height of the image in it.
    ///
    /// It bounds the memory, too: decoding takes 6 bytes for each of these pixels at most, beside the file, a copy of it and 16 MiB. Most
    /// images take 3 bytes a pixel; where a pixel takes more than 6 (progressive JPEG with full colours or four
    /// inks, WebP other than plain lossy), an image may have that much fewer of them.
    pub max_pixels: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Limits {
    /// 16 MiB, and 64 Mi pixels: 384 MiB of memory.
    pub const DEFAULT: Self = Self { max_bytes: 16 << 20, max_pixels: 1 << 26 };

    /// Whether an image of this size may be decoded, which takes so many bytes a pixel.
    fn check(self, found: (u32, u32), bytes_per_pixel: u32) -> Result<(), Rejection> {
        let (pixels, max) = (u64::from(found.0) * u64::from(found.1), u64::from(self.max_pixels));
        let (bytes, limit) = (pixels.saturating_mul(bytes_per_pixel.into()), max * BYTES_PER_PIXEL);
        if pixels > max || found.0 > MAX_EDGE || found.1 > MAX_EDGE {
            Err(Rejection::TooManyPixels { found, limit: self.max_pixels })
        } else if bytes > limit {
            Err(Rejection::TooCostly { found, bytes, limit })
        } else {
            Ok(())
        }
    }
}

/// Decodes to one fixed size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoder {
    /// Columns that the model takes.
    pub width: u32,
    /// Rows that the model takes.
    pub height: u32,
    /// How an image of another size becomes one of this.
    pub resize: Resize,
    /// What an encoded image may have.
    pub limits: Limits,
}

/// An image whose header is read and within the limits, and whose pixels are not decoded yet.
struct Image<'a> {
    /// Width and height of the stored pixels.
    size: (u32, u32),
    orientation: Orientation,
    body: Body<'a>,
}

enum Body<'a> {
    Jpeg(&'a [u8], jpeg::Header),
    Png(png::Header<'a>),
    WebP(&'a [u8], (u32, u32)),
}

impl Decoder {
    /// A decoder to this size, by the rule of models that have none of their own, with the usual limits.
    #[must_use]
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height, resize: Resize::DEFAULT, limits: Limits::DEFAULT }
    }

    /// A decoder to the size that a model takes, by its rule.
    ///
    /// # Errors
    /// [`Error::Setting`] for a model of a size that no image can have.
    pub fn to(info: &ModelInfo, limits: Limits) -> Result<Self, Error> {
        let edge = |setting, value: usize| {
            let expected = "a size that an image can have";
            let edge = u32::try_from(value).ok().filter(|edge| (1..=MAX_EDGE).contains(edge));
            edge.ok_or_else(|| Error::Setting { setting, value: value.to_string(), expected })
        };
        let (width, height) = (edge("width", info.width)?, edge("height", info.height)?);
        Ok(Self { width, height, resize: info.resize, limits })
    }

    /// The pixels of an image that comes without its encoding: a JPEG, PNG or WebP by its first bytes, else raw RGB by
    /// its length. (Raw pixels that begin as such a file, 255, 216, 255 for instance, would be taken for one and refused.)
    ///
    /// # Errors
    /// As [`Decoder::decode`], and [`Rejection::Unrecognised`].
    pub fn decode_any(&self, data: &[u8]) -> Result<Vec<u8>, Rejection> {
        let expected = self.raw_len();
        match detect(data) {
            Some(encoding) => self.decode(encoding, data),
            None if data.is_empty() || data.len() == expected => self.decode(Encoding::Rgb8, data),
            None => Err(Rejection::Unrecognised { found: data.len(), expected }),
        }
    }

    /// The pixels of one image: u8 `[height, width, 3]`, RGB, rows from the top as it is shown. Grey is spread over the
    /// three channels and an alpha channel is dropped.
    ///
    /// # Errors
    /// The [`Rejection`] of these bytes.
    pub fn decode(&self, encoding: Encoding, data: &[u8]) -> Result<Vec<u8>, Rejection> {
        if data.is_empty() {
            return Err(Rejection::Empty);
        }
        if data.len() > self.limits.max_bytes {
            return Err(Rejection::TooLarge { bytes: data.len(), limit: self.limits.max_bytes });
        }
        // The decoders are not ours. Should one panic, the same bytes would make it panic again: a rejection.
        catch_unwind(|| self.read(encoding, data)).unwrap_or_else(|_| {
            tracing::error!(bytes = data.len(), ?encoding, "image decoder panicked");
            Err(Rejection::Unreadable { format: "such", reason: "the decoder panicked".to_owned() })
        })
    }

    fn read(&self, encoding: Encoding, data: &[u8]) -> Result<Vec<u8>, Rejection> {
        let image = match encoding {
            Encoding::Rgb8 => return self.raw(data),
            Encoding::Jpeg => Image::jpeg(data, self.limits)?,
            Encoding::Png => Image::png(data, self.limits)?,
            Encoding::WebP => Image::webp(data, self.limits)?,
        };
        let (found, expected) = (image.orientation.shown(image.size), (self.width, self.height));
        let plan = self.resize.plan(found, expected).ok_or(Rejection::Size { found, expected })?;
        Ok(resample(image.body.decode()?, image.orientation, &plan))
    }

    fn raw(&self, data: &[u8]) -> Result<Vec<u8>, Rejection> {
        let expected = self.raw_len();
        if data.len() == expected {
            Ok(data.to_vec())
        } else {
            Err(Rejection::RawLength { found: data.len(), expected })
        }
    }

    /// Bytes of the model's input.
    fn raw_len(&self) -> usize {
        self.width as usize * self.height as usize * 3
    }
}

impl Body<'_> {
    fn decode(&self) -> Result<Pixels, Rejection> {
        match self {
            Self::Jpeg(data, header) => header.decode(data),
            Self::Png(header) => header.decode(),
            Self::WebP(data, size) => webp::decode(data, *size),
        }
    }
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
