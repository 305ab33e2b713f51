//! WebP files: their chunks, read once, and the pixels. Of an animation the first frame is taken, as Pillow opens it.

use super::orientation::Orientation;
use super::resample::Pixels;
use super::{Image, Limits, Rejection};
use image_webp::WebPDecoder;
use std::io::Cursor;

/// Whether a file begins as a WebP file does; its length lies between both names.
pub(super) fn is_webp(data: &[u8]) -> bool {
    data.starts_with(b"RIFF") && data.get(8..12) == Some(b"WEBP")
}

/// Bytes a pixel while it is decoded: the planes and the output of lossy coding.
const LOSSY: u32 = 5;
/// Lossless coding, transparency and animation: pixels of four bytes, two or three times.
const OTHERWISE: u32 = 12;

impl Image<'_> {
    /// The image in a WebP file.
    pub(super) fn webp(data: &[u8], limits: Limits) -> Result<Image<'_>, Rejection> {
        let header = Header::read(data).map_err(unreadable)?;
        let bytes_per_pixel = if header.plain { LOSSY } else { OTHERWISE };
        limits.check(header.size, bytes_per_pixel)?;
        Ok(Image {
            size: header.size,
            orientation: header.orientation,
            // What follows behind the end is no part of the image, and the decoder does not see it.
            body: super::Body::WebP(&data[..header.end], header.size),
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn unreadable(reason: impl ToString) -> Rejection {
    Rejection::Unreadable { format: "WebP", reason: reason.to_string() }
}

/// What the chunks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    size: (u32, u32),
    orientation: Orientation,
    /// Coded lossy, and nothing else.
    plain: bool,
    /// Where the file ends, by the length that it names.
    end: usize,
}

/// The chunks of a file or of a frame: their names and their data.
struct Chunks<'a>(&'a [u8]);

impl<'a> Iterator for Chunks<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let chunk = self.0.split_at_checked(8).and_then(|(head, rest)| {
            let (name, length) = head.split_at(4);
            let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
            let body = rest.get(..length)?;
            // An odd length is followed by a byte that is not counted; the last one's may be missing.
            self.0 = rest.get(length + length % 2..).unwrap_or_default();
            Some((name, body))
        });
        if chunk.is_none() {
            self.0 = &[];
        }
        Some(chunk.ok_or_else(|| "it ends inside of a chunk".to_owned()))
    }
}

impl Header {
    fn read(data: &[u8]) -> Result<Self, String> {
        let length = data.get(4..8).and_then(|length| length.try_into().ok()).ok_or("it is cut off")?;
        let end = (u32::from_le_bytes(length) as usize).saturating_add(8);
        let body = data.get(12..end).ok_or("it ends before the length that it names")?;
        let (mut canvas, mut frame, mut exif, mut plain) = (None, None, None, true);
        for chunk in Chunks(body) {
            let (name, body) = chunk?;
            match name {
                b"VP8X" => canvas = Some(long_edge(body, 4).zip(long_edge(body, 7)).ok_or("it has no size")?),
                b"EXIF" if exif.is_none() => exif = Some(Orientation::of_exif(body)),
                b"ALPH" => plain = false,
                b"ANMF" => {
                    plain = false;
                    largest(&mut frame, animation_frame(body)?);
                }
                b"VP8 " | b"VP8L" => {
                    plain &= name == b"VP8 ";
                    largest(&mut frame, frame_size(name, body)?);
                }
                _ => {}
            }
        }
        let frame = frame.ok_or("it has no image")?;
        let size = canvas.unwrap_or(frame);
        // The decoder allocates what a frame says before it compares, and which of several it takes is its own affair.
        if frame.0 > size.0 || frame.1 > size.1 {
            return Err("its frame is larger than it".to_owned());
        }
        Ok(Self { size, orientation: exif.unwrap_or_default(), plain, end })
    }
}

/// An edge in 24 bits, one less than it is.
fn long_edge(body: &[u8], at: usize) -> Option<u32> {
    let [low, middle, high] = body.get(at..at + 3)?.try_into().ok()?;
    Some(u32::from_le_bytes([low, middle, high, 0]) + 1)
}

/// Takes another frame into account: the longest edges of all of them.
fn largest(frame: &mut Option<(u32, u32)>, size: (u32, u32)) {
    *frame = Some(frame.map_or(size, |frame| (frame.0.max(size.0), frame.1.max(size.1))));
}

/// The size of the images in a frame of an animation, which has 16 bytes of its own first.
fn animation_frame(body: &[u8]) -> Result<(u32, u32), String> {
    let mut frame = None;
    for chunk in Chunks(body.get(16..).unwrap_or_default()) {
        if let (name @ (b"VP8 " | b"VP8L"), body) = chunk? {
            largest(&mut frame, frame_size(name, body)?);
        }
    }
    frame.ok_or_else(|| "a frame of it has no image".to_owned())
}

/// The size in the header of coded pixels: RFC 6386, section 9.1, and RFC 9649, section 3.4.
fn frame_size(name: &[u8], body: &[u8]) -> Result<(u32, u32), String> {
    let size = if name == b"VP8 " {
        body.get(6..10).map(|edges| {
            let edge = |at: usize| u32::from(u16::from_le_bytes([edges[at], edges[at + 1]]) & 0x3fff);
            (edge(0), edge(2))
        })
    } else {
        body.get(1..5).and_then(|bits| bits.try_into().ok()).map(|bits| {
            let bits = u32::from_le_bytes(bits);
            ((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1)
        })
    };
    size.filter(|(width, height)| *width > 0 && *height > 0).ok_or_else(|| "its image has no size".to_owned())
}

/// The pixels of the whole image, alpha dropped.
pub(super) fn decode(data: &[u8], size: (u32, u32)) -> Result<Pixels, Rejection> {
    let mut decoder = WebPDecoder::new(Cursor::new(data)).map_err(unreadable)?;
    if decoder.dimensions() != size {
        return Err(unreadable("it has two sizes"));
    }
    let (width, height) = (size.0 as usize, size.1 as usize);
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let mut pixels = vec![0; width * height * channels];
    decoder.read_image(&mut pixels).map_err(unreadable)?;
    if channels == 4 {
        for pixel in 0..width * height {
            pixels.copy_within(pixel * 4..pixel * 4 + 3, pixel * 3);
        }
        pixels.truncate(width * height * 3);
        pixels.shrink_to_fit();
    }
    Ok(Pixels { width, height, data: pixels })
}

#[cfg(test)]
#[path = "webp_tests.rs"]
mod tests;
