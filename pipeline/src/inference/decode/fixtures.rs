//! What `pipeline/tests/images/make.py` made, and the pictures that it made it of.

/// Width and height of the picture.
pub(super) const SIZE: (usize, usize) = (40, 24);

/// The file of a name.
macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/images/", $name)).as_slice()
    };
}
pub(super) use fixture;

/// The picture: red from left to right, green from top to bottom, blue along the diagonal.
pub(super) fn picture() -> Vec<u8> {
    let share = |at: usize, of: usize| u8::try_from(at * 255 / of).unwrap_or(0);
    let (width, height) = SIZE;
    (0..height * width)
        .map(|at| (at % width, at / width))
        .flat_map(|(x, y)| [share(x, width - 1), share(y, height - 1), share(x + y, width + height - 2)])
        .collect()
}

/// The picture's blue, in all channels.
pub(super) fn grey() -> Vec<u8> {
    picture().as_chunks::<3>().0.iter().flat_map(|[_, _, blue]| [*blue; 3]).collect()
}

/// An upright picture as a camera held by EXIF's orientation `number` stores it: what is shown at a place is stored
/// where this says.
pub(super) fn shown(stored: &[u8], (width, height): (usize, usize), number: u32) -> Vec<u8> {
    let (across, down) = if number >= 5 { (height, width) } else { (width, height) };
    let mut out = Vec::with_capacity(stored.len());
    for y in 0..down {
        for x in 0..across {
            let (sx, sy) = match number {
                2 => (width - 1 - x, y),
                3 => (width - 1 - x, height - 1 - y),
                4 => (x, height - 1 - y),
                5 => (y, x),
                6 => (y, height - 1 - x),
                7 => (width - 1 - y, height - 1 - x),
                8 => (width - 1 - y, x),
                _ => (x, y),
            };
            out.extend_from_slice(&stored[(sy * width + sx) * 3..][..3]);
        }
    }
    out
}

/// Bytes of a linear congruential generator, every few of them black or white.
pub(super) fn noise(width: usize, height: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let byte = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        [0, 255, state.to_be_bytes()[0]][(state >> 22 & 3).min(2) as usize]
    };
    (0..width * height * 3).map(byte).collect()
}

/// The largest difference of two images.
pub(super) fn off(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

pub(super) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 })
    })
}
