//! A vector of 32-bit words that starts on a cache line, so that no vector load crosses one.

/// Sixteen words on a cache line of their own.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; 16]);

/// Words, aligned to 64 bytes; the length is a multiple of 16.
#[derive(Debug, Clone, Default)]
pub(in crate::inference::compiled) struct Words(Vec<Line>);

impl Words {
    /// At least `length` words of value `fill`.
    pub(in crate::inference::compiled) fn new(length: usize, fill: u32) -> Self {
        Self(vec![Line([fill; 16]); length.div_ceil(16)])
    }

    /// Makes room for `length` words; new ones are `fill`. Never shrinks.
    pub(in crate::inference::compiled) fn grow(&mut self, length: usize, fill: u32) {
        if length > self.0.len() * 16 {
            self.0.resize(length.div_ceil(16), Line([fill; 16]));
        }
    }

    /// Bytes of memory.
    pub(in crate::inference::compiled) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<Line>()
    }

    /// The words.
    pub(in crate::inference::compiled) fn as_slice(&self) -> &[u32] {
        // SAFETY: a `Line` is 16 initialised u32 without padding, and the lifetime is that of `self`.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 16) }
    }

    /// The words, to be written.
    pub(in crate::inference::compiled) fn as_mut_slice(&mut self) -> &mut [u32] {
        // SAFETY: as in `as_slice`; every bit pattern is a valid u32, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 16) }
    }
}
