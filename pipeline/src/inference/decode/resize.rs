//! The rule by which an image of any size becomes one of the model's: a filter, and which part of the image is kept.
//!
//! A rule is what a model was trained with, so it belongs to the model's manifest. It is written as text:
//!
//! | text | meaning |
//! |---|---|
//! | `bilinear crop 256` | torchvision's `Resize(256)` and `CenterCrop`: the shorter edge becomes 256, then the middle is cut out |
//! | `bilinear crop` | the same with the shorter edge of the model's input: what holds where nothing is said |
//! | `bicubic stretch` | both edges become the input's, whatever the proportions |
//! | `none` | an image of another size is refused |

use std::fmt;
use std::num::NonZeroU32;

/// A filter of Pillow's `Image.resize`, with its name in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filter {
    /// The mean of the pixels that an output pixel covers.
    Box,
    /// A triangle as wide as two output pixels: linear interpolation when an image grows.
    #[default]
    Bilinear,
    /// A Hamming window of the same width, sharper than bilinear.
    Hamming,
    /// Keys' cubic with a = −0.5, four output pixels wide.
    Bicubic,
    /// A sinc in the window of a wider sinc, six output pixels wide.
    Lanczos,
}

impl Filter {
    /// Every filter.
    pub const ALL: [Self; 5] = [Self::Box, Self::Bilinear, Self::Hamming, Self::Bicubic, Self::Lanczos];

    /// Its name in a rule.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Box => "box",
            Self::Bilinear => "bilinear",
            Self::Hamming => "hamming",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
        }
    }
}

/// Which part of the image the model sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// All of it: each edge becomes the input's.
    Stretch,
    /// The middle: the shorter edge becomes so many pixels, the longer one keeps the proportions, and the input's size
    /// is cut out. `None` is the shorter edge of the input. What the input has beyond the image is black.
    Crop(Option<NonZeroU32>),
}

/// How an image becomes the size of a model's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resize {
    /// Not at all: an image of another size is refused.
    None,
    /// By resampling, as Pillow does it.
    Resample {
        /// The filter.
        filter: Filter,
        /// The part that is kept.
        fit: Fit,
    },
}

impl Default for Resize {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Resample { filter, fit } = self else { return f.write_str("none") };
        f.write_str(filter.name())?;
        match fit {
            Fit::Stretch => f.write_str(" stretch"),
            Fit::Crop(None) => f.write_str(" crop"),
            Fit::Crop(Some(shorter)) => write!(f, " crop {shorter}"),
        }
    }
}

/// The largest edge that a rule may ask for.
const MAX_SHORTER: u32 = 1 << 14;

impl Resize {
    /// `bilinear crop`, which leaves an image of the input's size as it is.
    pub const DEFAULT: Self = Self::Resample { filter: Filter::Bilinear, fit: Fit::Crop(None) };

    /// Reads a rule, as [`Display`](fmt::Display) writes it; spaces and case do not matter.
    ///
    /// # Errors
    /// A sentence's end that says what a rule may be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let words: Vec<&str> = lower.split_whitespace().collect();
        Self::read(&words).ok_or_else(|| {
            let filters = Filter::ALL.map(Filter::name).join(", ");
            format!(
                "is {text:?}, expected \"none\", \"FILTER stretch\" or \"FILTER crop SHORTER\"; the \
                 filters are {filters}, and SHORTER is a number from 1 to {MAX_SHORTER}"
            )
        })
    }

    fn read(words: &[&str]) -> Option<Self> {
        if words == ["none"] {
            return Some(Self::None);
        }
        let (name, fit) = match words {
            [name, "stretch"] => (name, Fit::Stretch),
            [name, "crop"] => (name, Fit::Crop(None)),
            [name, "crop", shorter] => {
                let shorter: NonZeroU32 =
                    shorter.parse().ok().filter(|s: &NonZeroU32| s.get() <= MAX_SHORTER)?;
                (name, Fit::Crop(Some(shorter)))
            }
            _ => return None,
        };
        let filter = Filter::ALL.into_iter().find(|filter| filter.name() == *name)?;
        Some(Self::Resample { filter, fit })
    }

    /// The axes of an image of `size` for an input of `input`, width before height in both, and the filter between
    /// them; `None` where the rule refuses such an image.
    pub(super) fn plan(self, size: (u32, u32), input: (u32, u32)) -> Option<Plan> {
        let uncropped = |size, input| Axis { size, scaled: input, start: 0, input };
        let Self::Resample { filter, fit } = self else {
            let axes = [uncropped(size.0, input.0), uncropped(size.1, input.1)];
            return (size == input).then_some(Plan { filter: Filter::default(), axes });
        };
        let axes = match fit {
            Fit::Stretch => [uncropped(size.0, input.0), uncropped(size.1, input.1)],
            Fit::Crop(shorter) => {
                let short = shorter.map_or(input.0.min(input.1), NonZeroU32::get);
                let (width, height) = scaled(size, short);
                [Axis::cropped(size.0, width, input.0), Axis::cropped(size.1, height, input.1)]
            }
        };
        Some(Plan { filter, axes })
    }
}

/// The size whose shorter edge is `short` and whose longer one has the proportions of `size`, rounded down: as
/// torchvision's `Resize`.
fn scaled((width, height): (u32, u32), short: u32) -> (u32, u32) {
    let long = |long: u32, of: u32| {
        u32::try_from(u64::from(short) * u64::from(long) / u64::from(of.max(1))).unwrap_or(u32::MAX)
    };
    if width <= height { (short, long(height, width)) } else { (long(width, height), short) }
}

/// A filter and both axes of an image, x before y.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) filter: Filter,
    pub(super) axes: [Axis; 2],
}

/// One axis of an image on its way to the input: `size` pixels are resampled to `scaled`, of which `input` from `start`
/// on are kept. A negative start is black before the image, an end beyond `scaled` black behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Axis {
    pub(super) size: u32,
    pub(super) scaled: u32,
    pub(super) start: i64,
    pub(super) input: u32,
}

impl Axis {
    /// The middle, as torchvision's `CenterCrop` finds it: an odd rest is halved to the even side, and where the image is
    /// the smaller one the odd pixel of black comes behind it.
    fn cropped(size: u32, scaled: u32, input: u32) -> Self {
        let rest = i64::from(scaled) - i64::from(input);
        let half = rest.div_euclid(2);
        let start = match rest {
            0.. => half + i64::from(rest % 2 == 1 && half % 2 == 1),
            _ => -(-rest / 2),
        };
        Self { size, scaled, start, input }
    }

    /// Whether every pixel stays what it is.
    pub(super) fn is_identity(self) -> bool {
        self.size == self.input && self.scaled == self.input && self.start == 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_rule_is_read_and_refused() {
        let crop = |shorter| Fit::Crop(NonZeroU32::new(shorter));
        let rule = |filter, fit| Resize::Resample { filter, fit };
        for (text, expected) in [
            ("none", Resize::None),
            ("bilinear crop", Resize::default()),
            ("  Bilinear  CROP 256 ", rule(Filter::Bilinear, crop(256))),
            ("bicubic crop 235", rule(Filter::Bicubic, crop(235))),
            ("lanczos stretch", rule(Filter::Lanczos, Fit::Stretch)),
            ("box stretch", rule(Filter::Box, Fit::Stretch)),
        ] {
            assert_eq!(Resize::parse(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "bilinear",
            "nearest stretch",
            "bilinear crop 0",
            "bilinear crop 99999",
            "none crop",
            "crop 256",
        ] {
            let said = Resize::parse(text).unwrap_err();
            assert!(said.contains("hamming") && said.contains("SHORTER"), "{said}");
        }
    }

    #[test]
    fn a_window_is_torchvisions() {
        let window = |scaled, input| Axis::cropped(1, scaled, input).start;
        // int(round((scaled - input) / 2.0)), half to even; -((input - scaled) // 2) where it is padded.
        for (scaled, input, start) in [
            (256, 224, 16),
            (225, 224, 0),
            (227, 224, 2),
            (229, 224, 2),
            (231, 224, 4),
            (224, 224, 0),
            (3, 6, -1),
        ] {
            assert_eq!(window(scaled, input), start, "{scaled} to {input}");
        }
        assert_eq!(scaled((4_000, 3_000), 256), (341, 256));
        assert_eq!(scaled((3_000, 4_000), 256), (256, 341));
        assert_eq!(scaled((1, 65_535), 224), (224, 14_679_840));
    }

    proptest! {
        #[test]
        fn a_rule_is_read_back(filter in 0_usize..5, fit in 0_u32..300) {
            let fit = if fit == 299 { Fit::Stretch } else { Fit::Crop(NonZeroU32::new(fit)) };
            let rule = Resize::Resample { filter: Filter::ALL[filter], fit };
            prop_assert_eq!(Resize::parse(&rule.to_string()), Ok(rule));
        }
    }
}
