//! Which buffers may have the same memory: those that are never needed at once.
//!
//! A network has a buffer for the result of each step, and most are read by the next step or two alone. Memory is a
//! handful of *slots*, each as large as the largest buffer that it ever holds, so that activations take what the widest
//! place of the network takes, however deep it is.
//!
//! The border of a buffer has to hold its filling. A slot whose last buffer had the same layout still has it; otherwise
//! the border is filled before the buffer is written.

use super::tensor::Plane;

/// How a buffer lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) plane: Plane,
    /// Words of a position.
    pub(super) words: usize,
    /// What the border is filled with.
    pub(super) fill: u32,
}

impl Layout {
    /// Words of an image.
    pub(super) fn size(self) -> usize {
        self.plane.positions() * self.words
    }
}

/// What a buffer needs, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    pub(super) layout: Layout,
    /// Whether anybody reads its border.
    pub(super) border: bool,
    /// The time it is written.
    pub(super) written: usize,
    /// The last time it is read; later than `written`.
    pub(super) read: usize,
}

/// Where a buffer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// The slot's index.
    pub(super) slot: usize,
    /// Whether its border has to be filled before it is written.
    pub(super) fill: bool,
}

/// A slot while buffers are given their places.
struct Slot {
    size: usize,
    /// The last time that its buffer is read.
    read: usize,
    /// The layout whose border it has, if any.
    border: Option<Layout>,
}

/// A place for each of `needs`, which are in the order in which they are written, and the size of each slot in words of
/// an image. Nothing is expected of the memory at the beginning, so that it may be there from another run.
pub(super) fn share(needs: &[Need]) -> (Vec<Place>, Vec<usize>) {
    let mut slots: Vec<Slot> = Vec::new();
    let mut places = Vec::with_capacity(needs.len());
    for need in needs {
        let size = need.layout.size();
        let free = slots.iter().enumerate().filter(|(_, slot)| slot.read < need.written);
        // The same layout saves filling the border; else the slot that has to grow least, and of those that need not
        // the smallest.
        let best = free.min_by_key(|(_, slot)| {
            let same = slot.border == Some(need.layout);
            (!same, size.saturating_sub(slot.size), slot.size)
        });
        let slot = best.map_or(slots.len(), |(slot, _)| slot);
        if slot == slots.len() {
            slots.push(Slot { size: 0, read: 0, border: None });
        }
        let at = &mut slots[slot];
        let there = at.border == Some(need.layout);
        let fill = need.border && !there;
        if !there {
            at.border = fill.then_some(need.layout);
        }
        (at.size, at.read) = (at.size.max(size), need.read);
        places.push(Place { slot, fill });
    }
    (places, slots.into_iter().map(|slot| slot.size).collect())
}

/// Fills the border of `images` images that lie as `layout` says: all but the positions of the result.
pub(super) fn fill_border(layout: Layout, images: usize, words: &mut [u32]) {
    let Layout { plane, words: each, fill } = layout;
    let (row, inner) = (plane.columns() * each, plane.border * each..(plane.border + plane.width) * each);
    for image in words.chunks_exact_mut(layout.size().max(1)).take(images) {
        for (y, row) in image.chunks_exact_mut(row.max(1)).enumerate() {
            if (plane.border..plane.border + plane.height).contains(&y) {
                row[..inner.start].fill(fill);
                row[inner.end..].fill(fill);
            } else {
                row.fill(fill);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout(height: usize, words: usize) -> Layout {
        Layout { plane: Plane { height, width: 5, border: 1 }, words, fill: 7 }
    }

    fn need(layout: Layout, written: usize, read: usize) -> Need {
        Need { layout, border: true, written, read }
    }

    #[test]
    fn a_chain_needs_two_slots() {
        let chain: Vec<Need> = (0..9).map(|t| need(layout(4, 2), t, t + 1)).collect();
        let (places, sizes) = share(&chain);
        assert_eq!(sizes, [layout(4, 2).size(); 2]);
        let fills: Vec<bool> = places.iter().map(|place| place.fill).collect();
        assert_eq!(fills, [true, true, false, false, false, false, false, false, false]);
    }

    #[test]
    fn a_border_that_nobody_reads_is_not_filled_and_not_relied_on() {
        let (a, b) = (layout(4, 2), layout(2, 3));
        let bare = Need { border: false, ..need(b, 1, 2) };
        let (places, sizes) = share(&[need(a, 0, 0), bare, need(a, 3, 4)]);
        assert_eq!(sizes.len(), 1);
        assert_eq!(places.iter().map(|place| place.fill).collect::<Vec<_>>(), [true, false, true]);
    }

    proptest! {
        #[test]
        fn what_is_needed_at_once_is_apart_and_borders_are_whole(
            needs in proptest::collection::vec((1_usize..6, 1_usize..4, any::<bool>(), 1_usize..5), 1..40),
        ) {
            let needs: Vec<Need> = needs
                .into_iter()
                .enumerate()
                .map(|(t, (height, words, border, life))| {
                    Need { layout: layout(height, words), border, written: t, read: t + life }
                })
                .collect();
            let (places, sizes) = share(&needs);
            for (i, (need, place)) in needs.iter().zip(&places).enumerate() {
                prop_assert!(sizes[place.slot] >= need.layout.size());
                for (other, at) in needs[..i].iter().zip(&places) {
                    prop_assert!(at.slot != place.slot || other.read < need.written);
                }
            }
            // The memory holds rubbish at first, and every buffer is written all over but for its border.
            let mut slots: Vec<Vec<u32>> = sizes.iter().map(|size| vec![1; 2 * size]).collect();
            for (need, place) in needs.iter().zip(&places) {
                let (plane, each) = (need.layout.plane, need.layout.words);
                let words = &mut slots[place.slot];
                if place.fill {
                    fill_border(need.layout, 2, words);
                }
                let inside = |position: usize| {
                    let (y, x) = (position / plane.columns(), position % plane.columns());
                    (1..=plane.height).contains(&y) && (1..=plane.width).contains(&x)
                };
                for (at, word) in words.iter_mut().enumerate().take(2 * need.layout.size()) {
                    let position = at / each % plane.positions();
                    if inside(position) {
                        *word = 1;
                    } else if need.border {
                        prop_assert_eq!(*word, 7, "position {} of {:?}", position, plane);
                    }
                }
            }
        }
    }
}
