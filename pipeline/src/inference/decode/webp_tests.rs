//! WebP files: lossy, lossless, with transparency, animated, cut ones.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::super::fixtures::{SIZE, fixture, off, picture};
use super::*;
use proptest::prelude::*;

fn read(data: &[u8]) -> Result<(Header, Vec<u8>), String> {
    let header = Header::read(data)?;
    let pixels = decode(&data[..header.end], header.size).map_err(|rejection| rejection.to_string())?;
    assert_eq!((pixels.width, pixels.height), SIZE);
    Ok((header, pixels.data))
}

#[test]
fn every_kind_of_file_is_the_picture() {
    for (name, data, most, plain) in [
        ("lossy", fixture!("lossy.webp"), 24, true),
        ("lossless", fixture!("lossless.webp"), 0, false),
        ("turned", fixture!("turned.webp"), 0, false),
        ("alpha, lossless", fixture!("alpha-lossless.webp"), 0, false),
        ("alpha, lossy", fixture!("alpha-lossy.webp"), 24, false),
        ("the first frame", fixture!("animated.webp"), 0, false),
    ] {
        assert!(is_webp(data));
        let (header, pixels) = read(data).unwrap_or_else(|error| unreachable!("{name}: {error}"));
        assert_eq!(header.plain, plain, "{name}");
        let off = off(&pixels, &picture());
        assert!(off <= most, "{name}: off by {off}");
    }
    assert_eq!(Header::read(fixture!("turned.webp")).unwrap().orientation, Orientation::of(6));
}

#[test]
fn a_cut_file_is_refused() {
    for data in [fixture!("lossy.webp"), fixture!("turned.webp"), fixture!("animated.webp")] {
        for end in 0..data.len() {
            // An odd last chunk has a byte behind it that says nothing.
            assert!(Header::read(&data[..end]).is_err(), "cut at {end}");
        }
        assert_eq!(read(&[data, b"more"].concat()).unwrap(), read(data).unwrap());
    }
    // Whole chunks, and too little in them.
    let data = fixture!("lossless.webp");
    let half = (data.len() - 20) / 4 * 2;
    let length = |length: usize| u32::try_from(length).unwrap().to_le_bytes();
    let cut =
        [b"RIFF", length(12 + half).as_slice(), b"WEBPVP8L", &length(half), &data[20..20 + half]].concat();
    assert!(read(&cut).unwrap_err().contains("not a readable WebP"));
}

/// The decoder allocates what a frame says before it compares.
#[test]
fn a_frame_larger_than_its_canvas_is_refused() {
    let mut data = fixture!("alpha-lossy.webp").to_vec();
    let at = data.windows(4).position(|name| name == b"VP8 ").unwrap();
    data[at + 14..at + 18].fill(0xff);
    assert!(Header::read(&data).unwrap_err().contains("larger"));
    let mut data = fixture!("lossy.webp").to_vec();
    data[26..28].fill(0);
    assert!(Header::read(&data).unwrap_err().contains("no size"));
}

fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [name.as_slice(), &length, body, &[0][..body.len() % 2]].concat()
}

fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = chunks.concat();
    [b"RIFF", u32::try_from(body.len() + 4).unwrap().to_le_bytes().as_slice(), b"WEBP", &body].concat()
}

/// The header of a key frame of lossy coding, and nothing behind it.
fn key_frame(width: u16, height: u16) -> Vec<u8> {
    let edges = [width.to_le_bytes(), height.to_le_bytes()].concat();
    chunk(b"VP8 ", &[&[0x10, 0, 0, 0x9d, 0x01, 0x2a], edges.as_slice()].concat())
}

/// Which of several images a decoder takes is not known before, so none may be larger than what was checked.
#[test]
fn every_image_in_a_file_is_measured() {
    let (small, large) = (key_frame(1, 1), key_frame(16_383, 16_383));
    let animated = |image: &[u8]| chunk(b"ANMF", &[&[0; 16], image].concat());
    let canvas = chunk(b"VP8X", &[0; 10]);
    for chunks in [
        vec![canvas.clone(), animated(&small), large.clone()],
        vec![canvas.clone(), large.clone(), animated(&small)],
        vec![canvas.clone(), animated(&small), animated(&large)],
        vec![canvas.clone(), animated(&[small.clone(), large.clone()].concat())],
        vec![canvas.clone(), small.clone(), large.clone()],
    ] {
        assert!(Header::read(&file(&chunks)).unwrap_err().contains("larger"), "{chunks:?}");
    }
    // Without a canvas the largest is the image's size, which the limits are held against.
    let data = file(&[small, large]);
    assert_eq!(Header::read(&data).unwrap().size, (16_383, 16_383));
    assert!(matches!(Image::webp(&data, Limits::DEFAULT), Err(Rejection::TooManyPixels { .. })));
}

#[test]
fn bytes_behind_the_end_do_not_reach_the_decoder() {
    let data = fixture!("alpha-lossy.webp");
    let more = [data, key_frame(16_383, 16_383).as_slice()].concat();
    assert_eq!(Header::read(&more).unwrap(), Header::read(data).unwrap());
    let image = Image::webp(&more, Limits::DEFAULT).unwrap();
    assert!(matches!(image.body, super::super::Body::WebP(seen, _) if seen == data));
    // Not even where a chunk is missing within the length, and follows behind it.
    let canvas = chunk(b"VP8X", &[0; 10]);
    let outside = [file(&[canvas]), key_frame(1, 1)].concat();
    assert!(Header::read(&outside).unwrap_err().contains("no image"));
}

proptest! {
    #[test]
    fn any_bytes_have_a_header_or_none(mut data in proptest::collection::vec(any::<u8>(), 12..512)) {
        let _ = Header::read(&data);
        let length = u32::try_from(data.len() - 8).unwrap().to_le_bytes();
        data.splice(0..12, [b"RIFF".as_slice(), &length, b"WEBP"].concat());
        let _ = Header::read(&data);
    }

    #[test]
    fn a_damaged_file_is_pixels_or_an_error(which in 0_usize..4, at in 0_usize..600, byte: u8) {
        let files =
            [fixture!("lossy.webp"), fixture!("lossless.webp"), fixture!("animated.webp"), fixture!("alpha-lossy.webp")];
        let mut data = files[which].to_vec();
        let at = at % data.len();
        data[at] = byte;
        if let Ok(header) = Header::read(&data) && header.size.0 * header.size.1 < 1 << 20 {
            let _ = decode(&data[..header.end], header.size);
        }
    }
}
