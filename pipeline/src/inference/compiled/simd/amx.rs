//! AMX: tiles of 16 × 16 words, `tdpbusd` and `tdpbf16ps`, on Linux.
//!
//! The compiler's own functions for tiles are not stable, so each instruction is a line of assembly. The registers belong to
//! the thread; the compiler never uses them, and they are configured and released within one item of work. A process may use
//! them only after it has asked the system, which may refuse, as may a virtual machine hide them: then [`available`] is false
//! and other kernels are taken.

use super::raw::Raw;
use super::tiles::{Tiles, item};
use super::{bf16, int8};
use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

/// Whether the processor has tiles for int8 and bf16 and the system lets this process use them. It is asked once.
pub(super) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| cfg!(target_os = "linux") && present() && permitted())
}

/// Whether the processor has AMX for bf16 and int8 with tiles as they are used here, and the system saves their state.
fn present() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const BF16_TILE_INT8: u32 = 1 << 22 | 1 << 24 | 1 << 25;
    /// The states of the tiles' configuration and of the tiles.
    const STATES: u32 = 0b11 << 17;
    let leaves = __cpuid(0).eax;
    if leaves < 0x1d || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    if __cpuid_count(7, 0).edx & BF16_TILE_INT8 != BF16_TILE_INT8 {
        return false;
    }
    let enabled: u32;
    // SAFETY: the processor has `xgetbv`, since the system has set OSXSAVE; it reads a register.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") enabled, out("edx") _, options(nomem, nostack, preserves_flags));
    }
    // Palette 1: eight tiles of 16 rows of 64 bytes.
    let palette = __cpuid_count(0x1d, 1);
    enabled & STATES == STATES
        && palette.ebx & 0xffff == 64
        && palette.ebx >> 16 == 8
        && palette.ecx & 0xffff == 16
}

/// Asks Linux for the tiles' state, `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`; false where it refuses.
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let result: i64;
    // SAFETY: the system call takes two numbers and changes what this process may use; nothing in memory.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// What `ldtilecfg` reads: palette 1, and for each of eight tiles 64 bytes in each of 16 rows.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIGURATION: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// An instruction on tiles, or several. The registers' contents pass from one to the next: nothing else touches them.
macro_rules! tiles {
    ($text:literal, [$($option:ident),*] $($operands:tt)*) => {
        asm!(
            $text,
            $($operands)*
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options($($option,)* nostack, preserves_flags),
        )
    };
}

/// The registers of this thread, with the product of u8 × i8, or of bf16.
struct Hardware<const BF16: bool>;

impl<const BF16: bool> Drop for Hardware<BF16> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the value exists, so that the processor has the instruction.
        unsafe { tiles!("tilerelease", [nomem]) }
    }
}

impl<const BF16: bool> Tiles for Hardware<BF16> {
    #[inline(always)]
    unsafe fn open() -> Self {
        // SAFETY: AMX, as the trait demands of the caller; 64 bytes are readable.
        unsafe { tiles!("ldtilecfg [{at}]", [readonly] at = in(reg) &raw const CONFIGURATION,) }
        Self
    }
    #[inline(always)]
    unsafe fn zero<const T: usize>(&mut self) {
        // SAFETY: AMX, configured.
        unsafe { tiles!("tilezero tmm{tile}", [nomem] tile = const T,) }
    }
    #[inline(always)]
    unsafe fn load<const T: usize>(&mut self, from: *const u32, pitch: usize) {
        // SAFETY: AMX, configured; the rows are readable.
        unsafe {
            tiles!(
                "tileloadd tmm{tile}, [{from} + {pitch}]",
                [readonly] tile = const T, from = in(reg) from, pitch = in(reg) pitch,
            );
        }
    }
    #[inline(always)]
    unsafe fn store<const T: usize>(&mut self, to: *mut u32, pitch: usize) {
        // SAFETY: AMX, configured; the rows are writable.
        unsafe {
            tiles!(
                "tilestored [{to} + {pitch}], tmm{tile}",
                [] tile = const T, to = in(reg) to, pitch = in(reg) pitch,
            );
        }
    }
    #[inline(always)]
    unsafe fn dot<const C: usize, const A: usize, const B: usize>(&mut self) {
        // SAFETY: AMX, configured.
        unsafe {
            if BF16 {
                tiles!("tdpbf16ps tmm{c}, tmm{a}, tmm{b}", [nomem] c = const C, a = const A, b = const B,);
            } else {
                tiles!("tdpbusd tmm{c}, tmm{a}, tmm{b}", [nomem] c = const C, a = const A, b = const B,);
            }
        }
    }
}

/// Products of words in a round of [`products`].
pub(super) const PRODUCTS: usize = 4 * 16 * 16 * 16;

/// Rounds of four independent products of tiles.
///
/// # Safety
/// [`available`].
pub(super) unsafe fn products<const BF16: bool>(rounds: u32) {
    // SAFETY: the caller's.
    unsafe {
        let mut tiles = Hardware::<BF16>::open();
        for _ in 0..rounds {
            tiles.dot::<0, 4, 6>();
            tiles.dot::<1, 4, 7>();
            tiles.dot::<2, 5, 6>();
            tiles.dot::<3, 5, 7>();
        }
    }
}

/// [`item`] in int8 on AMX.
///
/// # Safety
/// As [`item`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn int8_item(t: &Raw, panel: usize, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { item::<Hardware<false>, int8::Int8>(t, panel, start, end) }
}

/// [`item`] in bf16 on AMX.
///
/// # Safety
/// As [`item`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn bf16_item(t: &Raw, panel: usize, start: usize, end: usize) {
    // SAFETY: the caller's.
    unsafe { item::<Hardware<true>, bf16::Bf16>(t, panel, start, end) }
}
