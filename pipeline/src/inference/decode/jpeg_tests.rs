//! JPEG files: every kind of colours, cut ones, and what no frame can be.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::super::fixtures::{SIZE, fixture, grey, off, picture};
use super::*;
use proptest::prelude::*;

fn read(data: &[u8]) -> Result<(Header, Vec<u8>), String> {
    let header = Header::read(data)?;
    let pixels = header.decode(data).map_err(|rejection| rejection.to_string())?;
    assert_eq!((pixels.width, pixels.height), SIZE);
    Ok((header, pixels.data))
}

#[test]
fn every_kind_of_file_is_the_picture() {
    for (name, data, colour, bytes_per_pixel) in [
        ("baseline", fixture!("baseline.jpg"), Colour::YCbCr, 3),
        ("progressive", fixture!("progressive.jpg"), Colour::YCbCr, 6),
        ("restarts", fixture!("restarts.jpg"), Colour::YCbCr, 3),
        ("rgb", fixture!("rgb.jpg"), Colour::Rgb, 3),
        ("cmyk-adobe", fixture!("cmyk-adobe.jpg"), Colour::Cmyk, 3),
        ("cmyk", fixture!("cmyk.jpg"), Colour::Cmyk, 3),
        ("ycck", fixture!("ycck.jpg"), Colour::Ycck, 3),
        ("turned", fixture!("turned.jpg"), Colour::YCbCr, 3),
    ] {
        let (header, pixels) = read(data).unwrap_or_else(|error| unreachable!("{name}: {error}"));
        assert_eq!(header.colour, colour, "{name}");
        assert_eq!(header.bytes_per_pixel(), bytes_per_pixel, "{name}");
        let off = off(&pixels, &picture());
        assert!(off < 16, "{name}: off by {off}");
    }
    let (header, pixels) = read(fixture!("grey.jpg")).unwrap();
    assert_eq!(header.colour, Colour::Grey);
    assert!(off(&pixels, &grey()) < 16);
}

/// The thumbnail in it is a whole file with its own end marker.
#[test]
fn a_cut_file_is_refused_whatever_its_thumbnail_holds() {
    let data = fixture!("turned.jpg");
    assert_eq!(Header::read(data).unwrap().orientation, Orientation::of(6));
    assert!(data[..data.len() - 2].windows(2).any(|pair| pair == [0xff, 0xd9]), "an end marker in it");
    for end in 0..data.len() {
        assert!(Header::read(&data[..end]).is_err(), "cut at {end}");
    }
    // What lies behind the end is no part of the image, not even another cut image.
    let more = [data, &fixture!("baseline.jpg")[..500]].concat();
    assert_eq!(read(&more).unwrap(), read(data).unwrap());
    let filled = [&data[..data.len() * 4 / 5], &vec![0; data.len() / 5 + 1]].concat();
    assert!(Header::read(&filled).is_err(), "cut, and filled up with zeros");
}

/// Where the data of the first scan begins.
fn scan(data: &[u8]) -> usize {
    let mut at = 2;
    loop {
        let segment = Segment::next(data, at).unwrap();
        at = segment.range.end;
        if segment.marker == 0xda {
            return at;
        }
    }
}

/// The decoder alone would paint what is missing.
#[test]
fn a_scan_that_ends_too_early_is_refused_whatever_follows_it() {
    for (name, data) in [
        ("baseline", fixture!("baseline.jpg")),
        ("restarts", fixture!("restarts.jpg")),
        ("cmyk", fixture!("cmyk.jpg")),
        ("rgb", fixture!("rgb.jpg")),
        ("grey", fixture!("grey.jpg")),
    ] {
        let (from, whole) = (scan(data), data.len() - 2);
        for cut in [from, from + (whole - from) / 4, from + (whole - from) / 2, from + (whole - from) * 3 / 4]
        {
            // Not in the middle of a byte of the scan that is 0xff.
            let cut = if data[cut - 1] == 0xff { cut - 1 } else { cut };
            let ended = [&data[..cut], &[0xff, 0xd9]].concat();
            assert!(Header::read(&ended).is_ok(), "{name} has an end marker");
            assert!(read(&ended).is_err(), "{name}, cut at {cut} of {whole}");
        }
    }
}

/// The decoder would show a progressive file, and one whose components come one after the other, as far as it goes.
#[test]
fn a_file_that_lacks_scans_is_refused() {
    let data = fixture!("progressive.jpg");
    let (mut scans, mut at) = (Vec::new(), 2);
    loop {
        let segment = Segment::next(data, at).unwrap();
        at = segment.range.end;
        match segment.marker {
            0xda => scans.push(segment.range),
            0xd9 => break,
            _ => {}
        }
    }
    assert_eq!(scans.len(), 10);
    // Before each scan, and in the middle of each but the last.
    let cuts = scans.iter().map(|scan| scan.start).chain(scans.iter().take(9).map(|scan| scan.end + 2));
    for cut in cuts {
        let cut = if data[cut - 1] == 0xff { cut - 1 } else { cut };
        let ended = [&data[..cut], &[0xff, 0xd9]].concat();
        let said = Header::read(&ended).unwrap_err();
        assert!(said.contains("scan"), "cut at {cut}: {said}");
    }
    // One component of three, in a scan of its own that has its end.
    let mut some = fixture!("baseline.jpg").to_vec();
    let at = some.windows(4).position(|w| w == [0xff, 0xda, 0, 12]).unwrap();
    some.splice(at..at + 14, [0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0]);
    assert!(Header::read(&some).unwrap_err().contains("last scan"));
}

#[test]
fn what_lies_between_segments_is_passed_over() {
    let data = fixture!("ycck.jpg");
    let (mut padded, mut at) = (data[..2].to_vec(), 2);
    loop {
        let segment = Segment::next(data, at).unwrap();
        padded.extend([0, 0, 0, 7, 0xff, 0xff, 0, 0]);
        if segment.marker == 0xda {
            padded.extend(&data[segment.range.start..]);
            break;
        }
        padded.extend(&data[segment.range.clone()]);
        at = segment.range.end;
    }
    assert_eq!(read(&padded).unwrap().1, read(data).unwrap().1);
}

/// The decoder keeps all of an image whose components come one after the other, progressive or not.
#[test]
fn a_first_scan_of_some_components_takes_the_memory_of_a_progressive_file() {
    let data = fixture!("baseline.jpg");
    // The scan of the first component, and one of the two others behind it.
    let mut some = data.to_vec();
    let at = data.windows(4).position(|w| w == [0xff, 0xda, 0, 12]).unwrap();
    let both = [0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0, 0xff, 0xda, 0, 10, 2, 2, 17, 3, 17, 0, 63, 0];
    some.splice(at..at + 14, both);
    let (all, some) = (Header::read(data).unwrap(), Header::read(&some).unwrap());
    assert_eq!((all.buffered, all.bytes_per_pixel()), (false, 3));
    assert!(some.buffered);
    assert_eq!(some.bytes_per_pixel(), Header::read(fixture!("progressive.jpg")).unwrap().bytes_per_pixel());
}

#[test]
fn the_decoders_view_of_colours_is_libjpegs() {
    let adobe = |data: &[u8]| data.windows(5).position(|name| name == b"Adobe").unwrap() + 11;
    // A transform that nobody has defined is taken for the usual one.
    for (data, colour) in [(fixture!("rgb.jpg"), Colour::YCbCr), (fixture!("ycck.jpg"), Colour::Ycck)] {
        let mut data = data.to_vec();
        let at = adobe(&data);
        data[at] = 9;
        assert_eq!(read(&data).unwrap().0.colour, colour);
    }
    // The names of components tell where no segment does.
    let rgb = fixture!("rgb.jpg");
    let at = adobe(rgb) - 15;
    let untold = [&rgb[..at], &rgb[at + 16..]].concat();
    let (header, pixels) = read(&untold).unwrap();
    assert_eq!((header.colour, header.transform), (Colour::Rgb, None));
    assert_eq!(pixels, read(rgb).unwrap().1);
    // JFIF is always YCbCr, whatever Adobe's segment says beside it.
    let jfif = [0xff, 0xe0, 0, 16, b'J', b'F', b'I', b'F', 0, 1, 1, 0, 0, 1, 0, 1, 0, 0];
    let both = [&[0xff, 0xd8], jfif.as_slice(), &fixture!("rgb.jpg")[2..]].concat();
    assert_eq!(read(&both).unwrap().0.colour, Colour::YCbCr);
}

#[test]
fn a_frame_that_cannot_be_is_refused() {
    let frame = |data: &[u8]| data.windows(4).position(|w| w == [0xff, 0xc0, 0, 17]).unwrap();
    let data = fixture!("baseline.jpg");
    let at = frame(data);
    for (offset, value, reason) in [
        (1, 0xc3, "lossless"),
        (1, 0xc9, "arithmetic"),
        (4, 12, "12 bits"),
        (9, 2, "2 components"),
        (9, 7, "cut off"),
        (1, 0xfe, "no frame"),
        (3, 1, "shorter"),
    ] {
        let mut data = data.to_vec();
        data[at + offset] = value;
        data[at + 2] = 0;
        let said = Header::read(&data).unwrap_err();
        assert!(said.contains(reason), "{said:?} lacks {reason:?}");
    }
    let mut flat = data.to_vec();
    flat[at + 5..at + 7].fill(0);
    assert!(Header::read(&flat).unwrap_err().contains("no size"));
    let twice = [&data[..at], &data[at..at + 19], &data[at..]].concat();
    assert!(Header::read(&twice).unwrap_err().contains("two frames"));
}

proptest! {
    #[test]
    fn any_bytes_have_a_header_or_none(mut data in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Header::read(&data);
        data.splice(0..data.len().min(3), [0xff, 0xd8, 0xff]);
        let _ = Header::read(&data);
    }

    #[test]
    fn a_damaged_file_is_pixels_or_an_error(which in 0_usize..4, at in 2_usize..600, byte: u8) {
        let files = [fixture!("baseline.jpg"), fixture!("progressive.jpg"), fixture!("ycck.jpg"), fixture!("grey.jpg")];
        let mut data = files[which].to_vec();
        let at = at % data.len();
        data[at] = byte;
        if let Ok(header) = Header::read(&data) && header.size.0 * header.size.1 < 1 << 20 {
            let _ = header.decode(&data);
        }
    }
}
