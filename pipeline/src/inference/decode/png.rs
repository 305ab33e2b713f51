//! PNG files: their chunks, read once, and the pixels.
//!
//! Only the chunks that pixels are made of reach the decoder: text, colour profiles and the like are passed over, however
//! large they are and whatever they unpack to. Of the others the orientation is read. A file without its last
//! chunk is cut off and refused.

use super::orientation::Orientation;
use super::resample::Pixels;
use super::{Image, Limits, Rejection};
use png::{BitDepth, ColorType, Transformations};
use std::io::Cursor;

/// The first bytes of a file.
pub(super) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// What the decoder may allocate for rows, palette and tables; the pixels are not among it.
const DECODER_BYTES: usize = 16 << 20;

impl Image<'_> {
    /// The image in a PNG file.
    pub(super) fn png(data: &[u8], limits: Limits) -> Result<Image<'_>, Rejection> {
        let header = Header::read(data).map_err(unreadable)?;
        limits.check(header.size, 3)?;
        Ok(Image { size: header.size, orientation: header.orientation, body: super::Body::Png(header) })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn unreadable(reason: impl ToString) -> Rejection {
    Rejection::Unreadable { format: "PNG", reason: reason.to_string() }
}

/// What the chunks say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header<'a> {
    size: (u32, u32),
    orientation: Orientation,
    /// The chunks that pixels are made of, as they are in the file, each with its length and checksum; neighbours are one piece.
    chunks: Vec<&'a [u8]>,
}

impl<'a> Header<'a> {
    fn read(data: &'a [u8]) -> Result<Self, String> {
        const CUT: &str = "it ends before its last chunk";
        let mut rest = data.strip_prefix(SIGNATURE).ok_or("it does not begin as one")?;
        let (mut size, mut orientation) = (None, None);
        let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
        loop {
            let (length, after) = rest.split_first_chunk::<4>().ok_or(CUT)?;
            let length = u32::from_be_bytes(*length) as usize;
            // The name before the data, the checksum behind it.
            let body = length.checked_add(4).and_then(|end| after.get(..end)).ok_or(CUT)?;
            let start = data.len() - rest.len();
            rest = rest.get(length + 12..).ok_or(CUT)?;
            let end = data.len() - rest.len();
            let (name, body) = body.split_at(4);
            if size.is_none() && name != b"IHDR" {
                return Err("its first chunk is not its header".to_owned());
            }
            match name {
                b"IHDR" => {
                    let edge = |at: usize| Some(u32::from_be_bytes(body.get(at..at + 4)?.try_into().ok()?));
                    size = edge(0).zip(edge(4)).filter(|(width, height)| *width > 0 && *height > 0);
                    size.ok_or("its header has no size")?;
                }
                b"eXIf" if orientation.is_none() => orientation = Some(Orientation::of_exif(body)),
                _ => {}
            }
            // A capital first letter: nothing can be shown without it.
            if name[0].is_ascii_uppercase() || name == b"tRNS" {
                match ranges.last_mut() {
                    Some(last) if last.end == start => last.end = end,
                    _ => ranges.push(start..end),
                }
            }
            if name == b"IEND" {
                break;
            }
        }
        let orientation = orientation.unwrap_or_default();
        let chunks = ranges.into_iter().filter_map(|range| data.get(range)).collect();
        Ok(Self { size: size.ok_or(CUT)?, orientation, chunks })
    }

    /// The pixels of the whole image: grey spread over the channels, alpha dropped, 16 bits rounded to 8.
    pub(super) fn decode(&self) -> Result<Pixels, Rejection> {
        let file = Cursor::new([&[SIGNATURE], self.chunks.as_slice()].concat().concat());
        let mut decoder = png::Decoder::new_with_limits(file, png::Limits { bytes: DECODER_BYTES });
        decoder.set_transformations(Transformations::EXPAND);
        let mut reader = decoder.read_info().map_err(unreadable)?;
        let (width, height) = (self.size.0 as usize, self.size.1 as usize);
        if reader.info().size() != self.size {
            return Err(unreadable("it has two sizes"));
        }
        let kind = reader.output_color_type();
        let mut data = vec![0; width * height * 3];
        let (mut rgb, mut next) = (Vec::with_capacity(width * 3), 0);
        while let Some(row) = reader.next_interlaced_row().map_err(unreadable)? {
            if let png::InterlaceInfo::Adam7(pass) = row.interlace() {
                rgb.clear();
                extend(&mut rgb, row.data(), kind);
                png::expand_interlaced_row(&mut data, width * 3, &rgb, pass, 24);
            } else {
                let to = data.get_mut(next * width * 3..(next + 1) * width * 3);
                let to = to.ok_or_else(|| unreadable("it has more rows than its header says"))?;
                rgb.clear();
                extend(&mut rgb, row.data(), kind);
                to.copy_from_slice(rgb.get(..width * 3).ok_or_else(|| unreadable("a row is cut off"))?);
            }
            next += 1;
        }
        Ok(Pixels { width, height, data })
    }
}

/// Appends the RGB bytes of a row.
fn extend(rgb: &mut Vec<u8>, row: &[u8], (colour, depth): (ColorType, BitDepth)) {
    let grey = matches!(colour, ColorType::Grayscale | ColorType::GrayscaleAlpha);
    let alpha = usize::from(matches!(colour, ColorType::GrayscaleAlpha | ColorType::Rgba));
    let channels = alpha + if grey { 1 } else { 3 };
    let each = |pixel: &[u8]| match pixel {
        [v] | [v, _] => [*v; 3],
        [r, g, b, ..] => [*r, *g, *b],
        [] => [0; 3],
    };
    if depth == BitDepth::Sixteen {
        let bytes: Vec<u8> = row.as_chunks::<2>().0.iter().map(|v| byte(u16::from_be_bytes(*v))).collect();
        rgb.extend(bytes.chunks_exact(channels).flat_map(each));
    } else {
        rgb.extend(row.chunks_exact(channels).flat_map(each));
    }
}

/// The nearest of 256 levels.
fn byte(of: u16) -> u8 {
    u8::try_from((u32::from(of) + 128) / 257).unwrap_or(u8::MAX)
}

#[cfg(test)]
#[path = "png_tests.rs"]
mod tests;
