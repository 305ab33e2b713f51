//! How a camera was held: EXIF's orientation, 1 to 8, as what has to be done to show the image upright.

/// The orientation of the stored pixels. The shown image is the stored one with its axes exchanged where `transposed`,
/// and with its own axes then run backwards where they are `mirrored`, x before y.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Orientation {
    pub(super) transposed: bool,
    pub(super) mirrored: [bool; 2],
}

impl Orientation {
    /// The meaning of EXIF's number; whatever is none of 1 to 8 is 1.
    pub(super) const fn of(number: u32) -> Self {
        let (transposed, x, y) = match number {
            2 => (false, true, false),
            3 => (false, true, true),
            4 => (false, false, true),
            5 => (true, false, false),
            6 => (true, true, false),
            7 => (true, true, true),
            8 => (true, false, true),
            _ => (false, false, false),
        };
        Self { transposed, mirrored: [x, y] }
    }

    /// The size, width before height, that a stored image of `size` is shown in.
    pub(super) const fn shown(self, (width, height): (u32, u32)) -> (u32, u32) {
        if self.transposed { (height, width) } else { (width, height) }
    }

    /// The orientation of a block of EXIF, with or without the name `Exif` before it; 1 where it has none that can be
    /// read. Only the first directory is looked at: the second is the thumbnail's.
    pub(super) fn of_exif(data: &[u8]) -> Self {
        let data = data.strip_prefix(b"Exif\0\0").unwrap_or(data);
        Self::of(tag(data).unwrap_or(1))
    }
}

/// The tag Orientation of the first directory of TIFF data.
fn tag(data: &[u8]) -> Option<u32> {
    const ORIENTATION: u16 = 0x0112;
    let little = match data.get(..2)? {
        b"II" => true,
        b"MM" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = data.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = |at: usize| {
        let bytes = data.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    if short(2)? != 42 {
        return None;
    }
    let directory = usize::try_from(long(4)?).ok()?;
    let entries = usize::from(short(directory)?);
    // An entry is the tag, the type, how many values, and the value where it fits into four bytes.
    let at =
        (0..entries).map(|entry| directory + 2 + 12 * entry).find(|at| short(*at) == Some(ORIENTATION))?;
    match short(at + 2)? {
        3 => short(at + 8).map(u32::from),
        4 => long(at + 8),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    /// TIFF data that says `number`, between two tags of other meanings.
    pub(in super::super) fn tiff(number: u16, little: bool) -> Vec<u8> {
        let short = |v: u16| if little { v.to_le_bytes() } else { v.to_be_bytes() };
        let long = |v: u32| if little { v.to_le_bytes() } else { v.to_be_bytes() };
        let mut data = if little { b"II".to_vec() } else { b"MM".to_vec() };
        data.extend(short(42));
        data.extend(long(8));
        data.extend(short(3));
        for (tag, value) in [(0x0100, 9), (0x0112, number), (0x0128, 2)] {
            data.extend(short(tag));
            data.extend(short(3));
            data.extend(long(1));
            data.extend(short(value));
            data.extend([0, 0]);
        }
        data.extend(long(0));
        data
    }

    #[test]
    fn the_tag_is_found_in_both_byte_orders() {
        for little in [true, false] {
            for number in 0..12 {
                let data = tiff(number, little);
                assert_eq!(Orientation::of_exif(&data), Orientation::of(u32::from(number)));
                let named = [b"Exif\0\0".as_slice(), &data].concat();
                assert_eq!(Orientation::of_exif(&named), Orientation::of(u32::from(number)));
                for end in 0..data.len() {
                    Orientation::of_exif(&data[..end]);
                }
            }
        }
        assert_eq!(Orientation::of(9), Orientation::default());
        assert_eq!(Orientation::of(6).shown((4, 3)), (3, 4));
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_orientation(mut data in proptest::collection::vec(any::<u8>(), 0..64), little: bool) {
            Orientation::of_exif(&data);
            let begin = if little { b"II\x2a\0" } else { b"MM\0\x2a" };
            data.splice(0..data.len().min(4), *begin);
            Orientation::of_exif(&data);
        }
    }
}
