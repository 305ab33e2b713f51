//! PNG files: every depth and colour, interlaced or not, large texts, cut ones.

#![allow(clippy::unwrap_used, clippy::trivially_copy_pass_by_ref, reason = "tests")]
use super::super::fixtures::{SIZE, crc32, fixture, grey, off, picture};
use super::*;

fn read(data: &[u8]) -> Result<Vec<u8>, String> {
    let pixels = Header::read(data)?.decode().map_err(|rejection| rejection.to_string())?;
    assert_eq!((pixels.width, pixels.height), SIZE);
    Ok(pixels.data)
}

/// The file with a chunk of this name and data behind its header.
fn with(data: &[u8], name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let named = [name, body].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let chunk = [&length, named.as_slice(), &crc32(&named).to_be_bytes()].concat();
    [&data[..33], &chunk, &data[33..]].concat()
}

#[test]
fn every_depth_and_colour_is_read_interlaced_or_not() {
    let picture = picture();
    let steps = |bits: u32| {
        let most = (1 << bits) - 1;
        grey()
            .iter()
            .map(|v| u8::try_from((u32::from(*v) >> (8 - bits)) * 255 / most).unwrap())
            .collect::<Vec<_>>()
    };
    let palette: Vec<u8> = picture
        .as_chunks::<3>()
        .0
        .iter()
        .flat_map(|[r, _, _]| [(r >> 4) * 17, 255 - (r >> 4) * 17, 7])
        .collect();
    for (name, data, interlaced, expected) in [
        ("rgb8", fixture!("rgb8.png"), fixture!("rgb8-interlaced.png"), picture.clone()),
        // v * 257 + 100 of 65,535 is nearest to v.
        ("rgba16", fixture!("rgba16.png"), fixture!("rgba16-interlaced.png"), picture.clone()),
        ("grey1", fixture!("grey1.png"), fixture!("grey1-interlaced.png"), steps(1)),
        ("grey2", fixture!("grey2.png"), fixture!("grey2-interlaced.png"), steps(2)),
        ("grey4", fixture!("grey4.png"), fixture!("grey4-interlaced.png"), steps(4)),
        ("grey8", fixture!("grey8.png"), fixture!("grey8-interlaced.png"), grey()),
        ("palette4", fixture!("palette4.png"), fixture!("palette4-interlaced.png"), palette),
        ("grey-alpha8", fixture!("grey-alpha8.png"), fixture!("grey-alpha8.png"), grey()),
    ] {
        assert_eq!(off(&read(data).unwrap(), &expected), 0, "{name}");
        assert_eq!(off(&read(interlaced).unwrap(), &expected), 0, "{name}, interlaced");
    }
}

#[test]
fn sixteen_bits_are_rounded() {
    for (wide, narrow) in [(0, 0), (128, 0), (129, 1), (257, 1), (65_406, 254), (65_407, 255), (65_535, 255)]
    {
        assert_eq!(byte(wide), narrow, "{wide}");
    }
}

/// However long they are, and whatever they would unpack to.
#[test]
fn text_and_profiles_are_passed_over() {
    let data = fixture!("rgb8.png");
    let long = vec![b'a'; 12 << 20];
    for name in [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"gAMA", b"prVt"] {
        // Nothing of it is read, so it need not even be what its name says.
        assert_eq!(read(&with(data, name, &long)), Ok(picture()), "{name:?}");
    }
    let mut broken = with(data, b"tEXt", b"a\0b");
    broken[33 + 8] ^= 1;
    assert_eq!(read(&broken), Ok(picture()), "a wrong checksum of a text");
}

#[test]
fn orientation_is_read() {
    let tiff = super::super::orientation::tests::tiff(8, false);
    let header = with(fixture!("rgb8.png"), b"eXIf", &tiff);
    assert_eq!(Header::read(&header).unwrap().orientation, Orientation::of(8));
    assert_eq!(Header::read(fixture!("rgb8.png")).unwrap().orientation, Orientation::default());
}

#[test]
fn a_cut_file_is_refused() {
    for data in [fixture!("rgb8.png"), fixture!("palette4-interlaced.png")] {
        for end in 0..data.len() {
            assert!(read(&data[..end]).is_err(), "cut at {end}");
        }
        // Whole chunks, and too little in them.
        let at = data.windows(4).position(|name| name == b"IDAT").unwrap();
        let length = u32::from_be_bytes(data[at - 4..at].try_into().unwrap()) as usize;
        let half = [b"IDAT".as_slice(), &data[at + 4..at + 4 + length / 2]].concat();
        let size = u32::try_from(length / 2).unwrap().to_be_bytes();
        let cut =
            [&data[..at - 4], &size, &half, &crc32(&half).to_be_bytes(), &data[at + length + 8..]].concat();
        let said = read(&cut).unwrap_err();
        assert!(said.contains("not a readable PNG"), "{said}");
        let mut wrong = data.to_vec();
        wrong[at + 4 + length / 2] ^= 0x10;
        assert!(read(&wrong).is_err(), "a wrong checksum of pixels");
    }
}

#[test]
fn neighbours_are_one_piece() {
    let data = fixture!("rgb8.png");
    assert_eq!(Header::read(data).unwrap().chunks, [&data[8..]]);
    assert_eq!(Header::read(&with(data, b"tEXt", b"a")).unwrap().chunks, [&data[8..33], &data[33..]]);
}

#[test]
fn a_header_comes_first_and_has_a_size() {
    let data = fixture!("rgb8.png");
    let none = [&data[..8], &data[33..]].concat();
    assert!(Header::read(&none).unwrap_err().contains("first chunk"));
    let mut flat = data.to_vec();
    flat[16..20].fill(0);
    assert!(Header::read(&flat).unwrap_err().contains("no size"));
}
