//! The decoder as a whole: encodings, orientation, rules, limits, and bytes of strangers.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::fixtures::{SIZE, crc32, fixture, grey, noise, off, picture, shown};
use super::*;
use proptest::prelude::*;

/// The size of the picture, so that nothing is resized.
const DECODER: Decoder = Decoder::new(40, 24);

fn files() -> [(&'static [u8], Encoding, u8); 3] {
    [
        (fixture!("baseline.jpg"), Encoding::Jpeg, 16),
        (fixture!("rgb8.png"), Encoding::Png, 0),
        (fixture!("lossless.webp"), Encoding::WebP, 0),
    ]
}

#[test]
fn every_encoding_of_the_right_size_is_read_and_told_from_the_bytes() {
    let pixels = picture();
    assert_eq!(DECODER.decode(Encoding::Rgb8, &pixels).unwrap(), pixels);
    assert_eq!(DECODER.decode_any(&pixels), Ok(pixels.clone()));
    assert_eq!(detect(&pixels), None);
    for (data, encoding, most) in files() {
        assert_eq!(detect(data), Some(encoding));
        let read = DECODER.decode(encoding, data).unwrap();
        assert!(off(&read, &pixels) <= most, "{encoding:?}");
        assert_eq!(DECODER.decode_any(data), Ok(read));
    }
    let read = DECODER.decode_any(fixture!("grey.jpg")).unwrap();
    assert!(off(&read, &grey()) < 16);
}

#[test]
fn a_turned_photograph_is_shown_upright() {
    for data in [fixture!("turned.jpg"), fixture!("turned.webp")] {
        let stored = shown(&picture(), SIZE, 6);
        let (upright, none) =
            (Decoder::new(24, 40), Decoder { resize: Resize::None, ..Decoder::new(24, 40) });
        assert!(off(&upright.decode_any(data).unwrap(), &stored) < 16);
        assert!(off(&none.decode_any(data).unwrap(), &stored) < 16);
        let refused = Decoder { resize: Resize::None, ..DECODER }.decode_any(data).unwrap_err();
        assert_eq!(refused, Rejection::Size { found: (24, 40), expected: (40, 24) });
    }
}

#[test]
fn any_size_is_resized_by_the_rule() {
    for (data, encoding, _) in files() {
        for rule in ["bilinear crop", "lanczos stretch", "bicubic crop 70", "box crop 8"] {
            let decoder = Decoder { resize: Resize::parse(rule).unwrap(), ..Decoder::new(32, 31) };
            assert_eq!(decoder.decode(encoding, data).unwrap().len(), 32 * 31 * 3, "{rule}");
        }
    }
    // The means of blocks of 2 x 2.
    let decoder = Decoder { resize: Resize::parse("box stretch").unwrap(), ..Decoder::new(20, 12) };
    let (half, whole) = (decoder.decode_any(fixture!("rgb8.png")).unwrap(), picture());
    let mean = (0..2)
        .flat_map(|y| (0..2).map(move |x| (y * 40 + x) * 3))
        .map(|at| u32::from(whole[at]))
        .sum::<u32>();
    assert_eq!(u32::from(half[0]), (mean + 2) / 4);
}

#[test]
fn each_rejection_says_why() {
    let check = |decoder: Decoder, encoding, data: &[u8], reason: &str| {
        let said = decoder.decode(encoding, data).unwrap_err().to_string();
        assert!(said.contains(reason), "{said:?} lacks {reason:?}");
    };
    let limits = Limits { max_bytes: 4_000, max_pixels: 1_000 };
    let small = Decoder { limits, ..DECODER };
    let (jpeg, png) = (fixture!("baseline.jpg"), fixture!("rgb8.png"));
    check(small, Encoding::Jpeg, &[], "no data");
    check(small, Encoding::Jpeg, &[0; 4_001], "4001 bytes, more than the limit of 4000");
    check(small, Encoding::Rgb8, &[1, 2, 3], "3 bytes of raw RGB, the model takes 2880");
    check(small, Encoding::Png, jpeg, "not a readable PNG image");
    check(small, Encoding::WebP, jpeg, "not a readable WebP image");
    check(small, Encoding::Jpeg, b"GIF89a", "not a readable JPEG image");
    check(small, Encoding::Jpeg, &jpeg[..jpeg.len() / 2], "not a readable JPEG image: it ends before");
    for (data, encoding, _) in files() {
        let limits = Limits { max_pixels: 959, ..limits };
        check(Decoder { limits, ..small }, encoding, data, "40 x 24 pixels, more than the limit of 959");
        let never = Decoder { resize: Resize::None, ..Decoder::new(40, 25) };
        check(never, encoding, data, "40 x 24 pixels, the model takes 40 x 25");
        assert!(
            Decoder { limits: Limits { max_pixels: 2_000, ..limits }, ..small }
                .decode(encoding, data)
                .is_ok()
        );
    }
    // 960 pixels, and 12 bytes each of the 6,000 that there are.
    check(small, Encoding::WebP, fixture!("lossless.webp"), "11520 bytes of memory");
    assert!(small.decode(Encoding::Png, png).is_ok());
    let just = Decoder { limits: Limits { max_pixels: 960, ..limits }, ..small };
    assert!(just.decode(Encoding::Jpeg, fixture!("progressive.jpg")).is_ok(), "6 bytes a pixel");
    let said = DECODER.decode_any(b"GIF89a").unwrap_err().to_string();
    assert!(said.contains("6 bytes") && said.contains("2880"), "{said}");
    assert!(matches!(DECODER.decode_any(&picture()[1..]), Err(Rejection::Unrecognised { .. })));
    assert_eq!(DECODER.decode_any(&[]), Err(Rejection::Empty));
}

/// Headers that claim 65,535 × 65,535 pixels and more.
#[test]
fn a_bomb_is_refused_by_its_header() {
    let mut png = fixture!("rgb8.png").to_vec();
    // The signature and the length of the IHDR chunk come before its type and data.
    for (edge, found) in [([0, 0, 0xff, 0xff], 65_535), ([0x7f, 0xff, 0xff, 0xff], 0x7fff_ffff)] {
        png[16..20].copy_from_slice(&edge);
        png[20..24].copy_from_slice(&edge);
        let crc = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&crc.to_be_bytes());
        let limit = Limits::DEFAULT.max_pixels;
        assert_eq!(DECODER.decode_any(&png), Err(Rejection::TooManyPixels { found: (found, found), limit }));
    }
    png[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 1]);
    assert!(matches!(DECODER.decode_any(&png), Err(Rejection::TooManyPixels { found: (65_536, 1), .. })));
    let mut jpeg = fixture!("baseline.jpg").to_vec();
    let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);
    assert!(matches!(DECODER.decode_any(&jpeg), Err(Rejection::TooManyPixels { .. })));
    let mut webp = fixture!("alpha-lossy.webp").to_vec();
    webp[24..30].fill(0xff);
    assert!(matches!(DECODER.decode_any(&webp), Err(Rejection::TooManyPixels { .. })));
}

#[test]
fn a_rule_comes_from_the_model() {
    let decoder = Decoder { resize: Resize::parse("box stretch").unwrap(), ..Decoder::new(3, 2) };
    let data = noise(3, 2);
    assert_eq!(decoder.decode(Encoding::Rgb8, &data), Ok(data), "raw pixels are never resized");
}

proptest! {
    #[test]
    fn any_bytes_are_pixels_or_a_rejection(bytes in proptest::collection::vec(any::<u8>(), 0..4_096)) {
        for encoding in [Encoding::Jpeg, Encoding::Png, Encoding::WebP, Encoding::Rgb8] {
            if let Ok(pixels) = DECODER.decode(encoding, &bytes) {
                prop_assert_eq!(pixels.len(), 2_880);
            }
        }
        if let Ok(pixels) = DECODER.decode_any(&bytes) {
            prop_assert_eq!(pixels.len(), 2_880);
        }
    }

    #[test]
    fn a_damaged_file_is_pixels_or_a_rejection(
        at in proptest::collection::vec((0_usize..4_000, any::<u8>()), 1..8), cut in 0_usize..4_000, which in 0_usize..3,
    ) {
        let (data, encoding, _) = files()[which];
        let (mut bytes, cut) = (data.to_vec(), cut % data.len());
        prop_assert!(DECODER.decode(encoding, &bytes[..cut]).is_err(), "a cut file is refused");
        for (at, byte) in at {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let decoder = Decoder { limits: Limits { max_pixels: 1 << 18, ..Limits::DEFAULT }, ..DECODER };
        for bytes in [&bytes[..], &bytes[..cut]] {
            if let Ok(pixels) = decoder.decode(encoding, bytes) {
                prop_assert_eq!(pixels.len(), 2_880);
            }
        }
    }
}
