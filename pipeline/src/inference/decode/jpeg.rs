//! JPEG files: the segments before and between the scans, read once, and the pixels.
//!
//! The walk over the segments finds what the decoder does not say: whether the file ends with its own end marker (and not
//! with that of a thumbnail inside of a segment, nor in the middle of a scan, which the decoder would paint grey), whether all
//! of its scans have come, how it was held, and what its colours mean. It also gives the size before anything is allocated.

use super::orientation::Orientation;
use super::resample::Pixels;
use super::{Image, Limits, Rejection};
use std::ops::Range;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// What the segments say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) size: (u32, u32),
    pub(super) orientation: Orientation,
    pub(super) colour: Colour,
    /// The decoder keeps the coefficients or samples of the whole image before it makes pixels of them: a progressive file, or
    /// one whose first scan has not all of the components.
    buffered: bool,
    /// Samples a pixel, of two bytes each where they are kept, all components together, in quarters.
    quarters: u32,
    /// The byte of Adobe's segment that names the transform.
    transform: Option<usize>,
    /// Where its end marker is.
    end: usize,
}

/// What the components are, as libjpeg decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Grey,
    YCbCr,
    Rgb,
    /// What four inks leave of the light, as Adobe's programs write it. Files without Adobe's segment are read alike, as Pillow does.
    Cmyk,
    /// The same, three of them as YCbCr.
    Ycck,
}

impl Image<'_> {
    /// The image in a JPEG file.
    pub(super) fn jpeg(data: &[u8], limits: Limits) -> Result<Image<'_>, Rejection> {
        let header = Header::read(data).map_err(unreadable)?;
        limits.check(header.size, header.bytes_per_pixel())?;
        Ok(Image {
            size: header.size,
            orientation: header.orientation,
            body: super::Body::Jpeg(data, header),
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn unreadable(reason: impl ToString) -> Rejection {
    Rejection::Unreadable { format: "JPEG", reason: reason.to_string() }
}

/// One component of a frame.
#[derive(Debug, Clone, Copy)]
struct Component {
    id: u8,
    horizontal: u32,
    vertical: u32,
}

/// A frame: the marker that begins it, width and height, and the components.
#[derive(Debug)]
struct Frame {
    marker: u8,
    size: (u32, u32),
    components: Vec<Component>,
}

/// What the scans have said of a component: for each of its coefficients how many of the last bits are still to come.
#[derive(Debug)]
struct Told {
    id: u8,
    lacking: [Option<u8>; 64],
}

impl Told {
    /// Whether the file goes on: a mean was never told, or a coefficient was told in part. (One that was never told is
    /// zero, which a file need not say.)
    fn is_cut(&self) -> bool {
        self.lacking[0].is_none() || self.lacking.iter().flatten().any(|bits| *bits > 0)
    }
}

/// What is found on the way through a file.
#[derive(Debug, Default)]
struct Found {
    frame: Option<Frame>,
    /// One for each component of the frame.
    told: Vec<Told>,
    jfif: bool,
    adobe: Option<usize>,
    exif: Option<Orientation>,
    /// Components of the first scan.
    scanned: Option<usize>,
}

/// A marker with what belongs to it, which is nothing for the end marker.
struct Segment<'a> {
    marker: u8,
    /// Where it begins and ends in the file, marker and length included.
    range: Range<usize>,
    body: &'a [u8],
}

impl<'a> Segment<'a> {
    /// The next one from `at` on.
    fn next(data: &'a [u8], mut at: usize) -> Result<Self, String> {
        const CUT: &str = "it ends before its end marker";
        loop {
            // Whatever is no marker lies between segments where it should not, or is a scan's data. In a scan 0xff 0x00
            // is a byte of it, and the markers from 0xd0 to 0xd7 are part of it.
            at += data.get(at..).and_then(|rest| rest.iter().position(|b| *b == 0xff)).ok_or(CUT)? + 1;
            let marker = *data.get(at).ok_or(CUT)?;
            match marker {
                0xff => {}
                0x00 | 0x01 | 0xd0..=0xd8 => at += 1,
                0xd9 => return Ok(Self { marker, range: at - 1..at + 1, body: &[] }),
                _ => {
                    let length = data.get(at + 1..).and_then(<[u8]>::first_chunk).ok_or(CUT)?;
                    let end = at + 1 + usize::from(u16::from_be_bytes(*length));
                    if end < at + 3 {
                        return Err("a segment is shorter than its own length".to_owned());
                    }
                    let body = data.get(at + 3..end).ok_or(CUT)?;
                    return Ok(Self { marker, range: at - 1..end, body });
                }
            }
        }
    }
}

/// Zeros that the decoder gets in place of the end marker: more than it reads ahead, and fewer than it needs for what a cut
/// scan lacks.
const BEHIND: [u8; 16] = [0; 16];

impl Header {
    /// Walks from marker to marker up to the end marker of the image.
    pub(super) fn read(data: &[u8]) -> Result<Self, String> {
        let mut found = Found::default();
        let mut at = 2;
        loop {
            let segment = Segment::next(data, at)?;
            if segment.marker == 0xd9 {
                return found.header(data, segment.range.start);
            }
            at = segment.range.end;
            found.take(&segment)?;
        }
    }

    /// Bytes of memory a pixel while it is decoded: the output, and all coefficients where they are kept.
    fn bytes_per_pixel(&self) -> u32 {
        3 + if self.buffered { self.quarters.div_ceil(2) } else { 0 }
    }

    /// The pixels of the whole image.
    pub(super) fn decode(&self, data: &[u8]) -> Result<Pixels, Rejection> {
        let data = self.for_decoder(data)?;
        // A strict decoder refuses what another paints grey: bad codes, strange markers, too few bits.
        let options = DecoderOptions::default()
            .set_strict_mode(!self.buffered)
            .set_max_width(usize::MAX)
            .set_max_height(usize::MAX)
            .jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&*data), options);
        decoder.decode_headers().map_err(unreadable)?;
        let (width, height) = (self.size.0 as usize, self.size.1 as usize);
        if decoder.dimensions() != Some((width, height)) {
            return Err(unreadable("it has two sizes"));
        }
        if decoder.output_buffer_size() != Some(width * height * 3) {
            return Err(unreadable("its components are none of grey, YCbCr, RGB, CMYK and YCCK"));
        }
        let mut pixels = vec![0; width * height * 3];
        decoder.decode_into(&mut pixels).map_err(unreadable)?;
        Ok(Pixels { width, height, data: pixels })
    }

    /// The file as the decoder gets it: up to its end, and with the transform that its colours have where the decoder would
    /// read another out of Adobe's segment.
    ///
    /// The decoder takes an end marker that comes too early for a scan of zeros without end. So it does not see the one of a
    /// file that is decoded as it is read: where bits are missing, the file ends, and that it refuses. Nor does
    /// it see what lies between segments, which it would refuse as well.
    fn for_decoder(&self, data: &[u8]) -> Result<Vec<u8>, Rejection> {
        let mut file = Vec::with_capacity(self.end + BEHIND.len());
        let mut put = |range: Range<usize>| {
            let at = file.len();
            file.extend_from_slice(data.get(range.clone()).unwrap_or_default());
            let transform = self.transform.filter(|transform| range.contains(transform));
            if let Some(byte) = transform.and_then(|transform| file.get_mut(at + transform - range.start)) {
                *byte = match self.colour {
                    Colour::Grey | Colour::YCbCr => 1,
                    Colour::Rgb | Colour::Cmyk => 0,
                    Colour::Ycck => 2,
                };
            }
        };
        if self.buffered {
            put(0..self.end + 2);
            return Ok(file);
        }
        put(0..2);
        let mut at = 2;
        loop {
            let segment = Segment::next(data, at).map_err(unreadable)?;
            if segment.marker == 0xda {
                put(segment.range.start..self.end);
                break;
            }
            at = segment.range.end;
            put(segment.range);
        }
        file.extend_from_slice(&BEHIND);
        Ok(file)
    }
}

impl Found {
    /// Takes note of a segment.
    fn take(&mut self, Segment { marker, range, body }: &Segment<'_>) -> Result<(), String> {
        match *marker {
            // All frames but those of lossless, hierarchical and arithmetic coding, which the decoder refuses.
            0xc0..=0xc2 if self.frame.is_none() => {
                let frame = frame(*marker, body)?;
                self.told = frame.components.iter().map(|c| Told { id: c.id, lacking: [None; 64] }).collect();
                self.frame = Some(frame);
            }
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                return Err("it is coded lossless, in hierarchies or arithmetically".to_owned());
            }
            0xc0..=0xc2 => return Err("it has two frames".to_owned()),
            0xe0 => self.jfif |= body.starts_with(b"JFIF\0"),
            0xe1 if self.exif.is_none() && body.starts_with(b"Exif\0\0") => {
                self.exif = Some(Orientation::of_exif(body));
            }
            // The name, a version and two words of flags come before the transform.
            0xee if body.starts_with(b"Adobe") && body.len() >= 12 => {
                self.adobe = Some(range.end - body.len() + 11)
            }
            0xda => {
                self.scanned.get_or_insert_with(|| body.first().copied().unwrap_or(0).into());
                self.scan(body);
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes note of what a scan says: a header that is none says nothing, and the decoder refuses it.
    fn scan(&mut self, body: &[u8]) {
        let Some((count, rest)) = body.split_first() else { return };
        let Some((components, &[first, last, bits])) = rest.split_at_checked(2 * usize::from(*count)) else {
            return;
        };
        let is_progressive = self.frame.as_ref().is_some_and(|frame| frame.marker == 0xc2);
        // The scan of a sequential file says all, whatever its header has in these places.
        let (told, lacking) = if is_progressive {
            (usize::from(first)..usize::from(last).saturating_add(1), bits & 15)
        } else {
            (0..64, 0)
        };
        for component in &mut self.told {
            let is_in_it = components.as_chunks::<2>().0.iter().any(|[id, _]| *id == component.id);
            if let Some(told) = component.lacking.get_mut(told.clone()).filter(|_| is_in_it) {
                told.fill(Some(lacking));
            }
        }
    }

    /// The header of a file whose end marker is at `end`.
    fn header(self, data: &[u8], end: usize) -> Result<Header, String> {
        let scanned = self.scanned.ok_or("it ends before its first scan")?;
        if self.told.iter().any(Told::is_cut) {
            return Err("it ends before its last scan".to_owned());
        }
        let Frame { marker, size, components } = self.frame.ok_or("it has no frame")?;
        let adobe = self.adobe.and_then(|at| data.get(at));
        let ids: Vec<u8> = components.iter().map(|component| component.id).collect();
        let colour = match (components.len(), adobe) {
            (1, _) => Colour::Grey,
            (3, _) if self.jfif => Colour::YCbCr,
            (3, Some(0)) => Colour::Rgb,
            (3, None) if ids == *b"RGB" => Colour::Rgb,
            (3, _) => Colour::YCbCr,
            (4, None | Some(0)) => Colour::Cmyk,
            (4, Some(_)) => Colour::Ycck,
            (count, _) => return Err(format!("it has {count} components, and 1, 3 or 4 are read")),
        };
        let most = |of: fn(&Component) -> u32| components.iter().map(of).max().unwrap_or(1).max(1);
        let pixels = most(|c| c.horizontal) * most(|c| c.vertical);
        let samples: u32 = components.iter().map(|c| c.horizontal * c.vertical).sum();
        Ok(Header {
            size,
            orientation: self.exif.unwrap_or_default(),
            colour,
            buffered: marker == 0xc2 || scanned < components.len(),
            quarters: (samples * 4).div_ceil(pixels),
            transform: self.adobe,
            end,
        })
    }
}

/// The frame in a segment.
fn frame(marker: u8, body: &[u8]) -> Result<Frame, String> {
    let [bits, h1, h0, w1, w0, count, components @ ..] = body else {
        return Err("its frame is cut off".to_owned());
    };
    let size = (u32::from(u16::from_be_bytes([*w1, *w0])), u32::from(u16::from_be_bytes([*h1, *h0])));
    if *bits != 8 {
        return Err(format!("it has {bits} bits a sample, and 8 are read"));
    }
    if size.0 == 0 || size.1 == 0 {
        return Err("its frame has no size".to_owned());
    }
    let components: Vec<Component> = components
        .as_chunks::<3>()
        .0
        .iter()
        .take(usize::from(*count))
        .map(|[id, sampling, _]| Component {
            id: *id,
            horizontal: u32::from(sampling >> 4),
            vertical: u32::from(sampling & 15),
        })
        .collect();
    if components.len() != usize::from(*count) {
        return Err("its frame is cut off".to_owned());
    }
    Ok(Frame { marker, size, components })
}

#[cfg(test)]
#[path = "jpeg_tests.rs"]
mod tests;
