//! A model of AMX's tile instructions in plain Rust, after the operations in Intel's manual: the loop of [`super::tiles`]
//! runs over it on processors without AMX.

use super::raw::Raw;
use super::tiles::{Tiles, item};
use super::{bf16, bf16_value, int8};

/// A register: 16 rows of 16 words.
type Tile = [[u32; 16]; 16];

/// Eight registers, with the product of u8 × i8, or of bf16.
struct Model<const BF16: bool>(Box<[Tile; 8]>);

/// `tdpbusd`'s sum of four products.
fn bytes(sum: u32, a: u32, b: u32) -> u32 {
    let products = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
    products.fold(sum, |sum, (a, b)| {
        sum.wrapping_add((i32::from(a) * i32::from(b.cast_signed())).cast_unsigned())
    })
}

impl<const BF16: bool> Tiles for Model<BF16> {
    unsafe fn open() -> Self {
        // What was in the registers before, nobody knows.
        Self(Box::new([[[0x7fc0_7fc1; 16]; 16]; 8]))
    }
    unsafe fn zero<const T: usize>(&mut self) {
        self.0[T] = [[0; 16]; 16];
    }
    unsafe fn load<const T: usize>(&mut self, from: *const u32, pitch: usize) {
        for (row, words) in self.0[T].iter_mut().enumerate() {
            // SAFETY: the caller's: the row is readable.
            *words = unsafe { from.byte_add(row * pitch).cast::<[u32; 16]>().read_unaligned() };
        }
    }
    unsafe fn store<const T: usize>(&mut self, to: *mut u32, pitch: usize) {
        for (row, words) in self.0[T].iter().enumerate() {
            // SAFETY: the caller's: the row is writable.
            unsafe { to.byte_add(row * pitch).cast::<[u32; 16]>().write_unaligned(*words) }
        }
    }
    unsafe fn dot<const C: usize, const A: usize, const B: usize>(&mut self) {
        let (mut sums, a, b) = (self.0[C], self.0[A], self.0[B]);
        for (sums, a) in sums.iter_mut().zip(&a) {
            for (n, sum) in sums.iter_mut().enumerate() {
                let pairs = a.iter().zip(&b).map(|(a, row)| (*a, row[n]));
                if BF16 {
                    // Even and odd places are summed apart, and added to the sum at the end.
                    let half = |shift: u32| -> f32 {
                        let value = |word: u32| bf16_value((word >> shift) as u16);
                        pairs.clone().map(|(a, b)| value(a) * value(b)).sum()
                    };
                    *sum = (f32::from_bits(*sum) + (half(0) + half(16))).to_bits();
                } else {
                    *sum = pairs.fold(*sum, |sum, (a, b)| bytes(sum, a, b));
                }
            }
        }
        self.0[C] = sums;
    }
}

/// [`item`] in int8 over the model.
///
/// # Safety
/// As [`item`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn int8_item(t: &Raw, panel: usize, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { item::<Model<false>, int8::Int8>(t, panel, start, end) }
}

/// [`item`] in bf16 over the model.
///
/// # Safety
/// As [`item`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn bf16_item(t: &Raw, panel: usize, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { item::<Model<true>, bf16::Bf16>(t, panel, start, end) }
}
