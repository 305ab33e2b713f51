//! Resampling against a table of what Pillow makes, and what has to hold for any image.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::super::fixtures::{crc32, noise, shown};
use super::super::resize::{Fit, Resize};
use super::*;
use proptest::prelude::*;

fn resized(data: Vec<u8>, size: (u32, u32), orientation: u32, rule: Resize, to: (u32, u32)) -> Vec<u8> {
    let orientation = Orientation::of(orientation);
    let plan = rule.plan(orientation.shown(size), to).unwrap();
    let stored = Pixels { width: size.0 as usize, height: size.1 as usize, data };
    resample(stored, orientation, &plan)
}

#[test]
fn pixels_are_pillows() {
    let mut wrong = Vec::new();
    let table = include_str!("../../../tests/images/resize.txt");
    for line in table.lines() {
        let [rule, sizes, crc] = line.split("; ").collect::<Vec<_>>().try_into().unwrap();
        let sizes: Vec<u32> = sizes.split(' ').map(|n| n.parse().unwrap()).collect();
        let [w, h, orientation, to_w, to_h] = sizes.try_into().unwrap();
        let data = noise(w as usize, h as usize);
        let pixels = resized(data, (w, h), orientation, Resize::parse(rule).unwrap(), (to_w, to_h));
        assert_eq!(pixels.len(), (to_w * to_h * 3) as usize);
        if crc32(&pixels) != u32::from_str_radix(crc, 16).unwrap() {
            wrong.push(line);
        }
    }
    assert!(table.lines().count() > 300);
    assert!(wrong.is_empty(), "{} of them differ, {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
}

#[test]
fn an_image_is_turned_without_a_change() {
    let (size, data) = ((5, 3), noise(5, 3));
    for orientation in 1..=8 {
        let to = Orientation::of(orientation).shown(size);
        let expected = shown(&data, (5, 3), orientation);
        for rule in [Resize::None, Resize::DEFAULT] {
            assert_eq!(resized(data.clone(), size, orientation, rule, to), expected, "{orientation} {rule}");
        }
    }
}

fn rule() -> impl Strategy<Value = Resize> {
    (0_usize..5, 0_u32..90).prop_map(|(filter, fit)| {
        let fit = if fit > 80 { Fit::Stretch } else { Fit::Crop(std::num::NonZeroU32::new(fit)) };
        Resize::Resample { filter: Filter::ALL[filter], fit }
    })
}

proptest! {
    #[test]
    fn one_colour_stays_what_it_is(
        colour: [u8; 3], size in (1_u32..90, 1_u32..90), to in (1_u32..40, 1_u32..40), orientation in 1_u32..9,
        filter in 0_usize..5,
    ) {
        let data = colour.repeat((size.0 * size.1) as usize);
        let rule = Resize::Resample { filter: Filter::ALL[filter], fit: Fit::Stretch };
        let pixels = resized(data, size, orientation, rule, to);
        prop_assert_eq!(pixels, colour.repeat((to.0 * to.1) as usize));
    }

    #[test]
    fn any_size_becomes_the_inputs(
        size in (1_u32..70, 1_u32..70), to in (1_u32..70, 1_u32..70), orientation in 1_u32..9, rule in rule(),
        stretch in 0_u32..3,
    ) {
        let size = (size.0 + 3_000 * (stretch & 1), size.1 + 1_000 * (stretch >> 1));
        let data = vec![255; (size.0 * size.1 * 3) as usize];
        let pixels = resized(data, size, orientation, rule, to);
        prop_assert_eq!(pixels.len(), (to.0 * to.1 * 3) as usize);
        // Of white there is white, and black where there is no image.
        prop_assert!(pixels.iter().all(|byte| matches!(byte, 0 | 255)));
        prop_assert!(pixels.contains(&255));
    }

    #[test]
    fn the_inputs_size_is_left_alone(size in (1_u32..40, 1_u32..40), filter in 0_usize..5) {
        let data = noise(size.0 as usize, size.1 as usize);
        for fit in [Fit::Stretch, Fit::Crop(None)] {
            let rule = Resize::Resample { filter: Filter::ALL[filter], fit };
            prop_assert_eq!(&resized(data.clone(), size, 1, rule, size), &data);
        }
    }
}
