//! The kernels of `kernels.cu`: compiled for the GPU at hand, and launched.

use super::fault::Fault;
use super::numbers::Numbers;
use super::plan::Step;
use cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DeviceRepr, LaunchConfig, PushKernelArg,
};
use cudarc::nvrtc::{Ptx, result, sys};
use std::ffi::{CStr, c_char};
use std::sync::Arc;

const SOURCE: &CStr = match CStr::from_bytes_with_nul(concat!(include_str!("kernels.cu"), "\0").as_bytes()) {
    Ok(source) => source,
    Err(_) => c"",
};

/// Bytes that a thread of `patches` copies at once.
const VECTOR: usize = 16;

/// Threads of a block.
const BLOCK: u32 = 256;

/// `Window` of `kernels.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Window {
    total: u32,
    height: i32,
    width: i32,
    out_height: i32,
    out_width: i32,
    kernel: i32,
    stride: i32,
    padding: i32,
    depth: i32,
}

// SAFETY: plain numbers in C's layout, as `kernels.cu` declares them.
unsafe impl DeviceRepr for Window {}

impl Window {
    /// `step` on `images`, with `depth` values or vectors a position and a thread for each.
    fn new(step: &Step, images: usize, depth: usize) -> Result<Self, Fault> {
        Ok(Self {
            total: number(images * step.out.0 * step.out.1 * depth)?,
            height: number(step.size.0)?,
            width: number(step.size.1)?,
            out_height: number(step.out.0)?,
            out_width: number(step.out.1)?,
            kernel: number(step.kernel)?,
            stride: number(step.stride)?,
            padding: number(step.padding)?,
            depth: number(depth)?,
        })
    }
}

fn number<T: TryFrom<usize>>(value: usize) -> Result<T, Fault> {
    T::try_from(value).map_err(|_| Fault::Size(value))
}

/// The kernels, loaded for one kind of numbers.
#[derive(Debug)]
pub(super) struct Kernels {
    numbers: Numbers,
    pixels: CudaFunction,
    patches: CudaFunction,
    largest: CudaFunction,
    mean: CudaFunction,
    logits: CudaFunction,
}

impl Kernels {
    /// Compiles the kernels for the GPU of `context`.
    pub(super) fn load(context: &Arc<CudaContext>, numbers: Numbers) -> Result<Self, Fault> {
        let doing = Fault::driver("loading the kernels");
        let (major, minor) = context.compute_capability().map_err(&doing)?;
        let module = context.load_module(Ptx::from_binary(compile(major, minor)?)).map_err(&doing)?;
        let named = |name: &str| module.load_function(name).map_err(&doing);
        let typed = |name: &str| named(&format!("{name}_{}", numbers.name()));
        Ok(Self {
            numbers,
            pixels: typed("pixels")?,
            patches: named("patches")?,
            largest: typed("largest")?,
            mean: typed("mean")?,
            logits: named("logits")?,
        })
    }

    /// Patches of the images' bytes, normalised by `table`.
    pub(super) fn pixels(
        &self,
        stream: &CudaStream,
        (step, images): (&Step, usize),
        (pixels, table): (&CudaSlice<u8>, &CudaSlice<f32>),
        out: &mut CudaSlice<u8>,
    ) -> Result<(), Fault> {
        let window = Window::new(step, images, step.depth())?;
        let patches = images * step.out.0 * step.out.1 * step.depth() * self.numbers.bytes();
        Fault::check_room(&[
            (pixels.len(), images * step.values().0),
            (table.len(), 3 * 256),
            (out.len(), patches),
        ])?;
        let mut launch = stream.launch_builder(&self.pixels);
        launch.arg(pixels).arg(table).arg(out).arg(&window);
        // SAFETY: the tensors are as long as was checked.
        unsafe { launch.launch(grid(window.total)) }.map_err(Fault::driver("reading pixels")).map(drop)
    }

    /// Patches of an activation.
    pub(super) fn patches(
        &self,
        stream: &CudaStream,
        (step, images): (&Step, usize),
        x: &CudaSlice<u8>,
        out: &mut CudaSlice<u8>,
    ) -> Result<(), Fault> {
        let window = Window::new(step, images, step.inputs * self.numbers.bytes() / VECTOR)?;
        let row = step.kernel * step.kernel * step.inputs;
        let patches = images * step.out.0 * step.out.1 * row * self.numbers.bytes();
        Fault::check_room(&[
            (x.len(), images * step.values().0 * self.numbers.bytes()),
            (out.len(), patches),
        ])?;
        let mut launch = stream.launch_builder(&self.patches);
        launch.arg(x).arg(out).arg(&window);
        // SAFETY: the tensors are as long as was checked, and the channels are whole vectors, as the plan says.
        unsafe { launch.launch(grid(window.total)) }.map_err(Fault::driver("taking patches")).map(drop)
    }

    /// The largest value of each window.
    pub(super) fn largest(
        &self,
        stream: &CudaStream,
        (step, images): (&Step, usize),
        x: &CudaSlice<u8>,
        out: &mut CudaSlice<u8>,
    ) -> Result<(), Fault> {
        let window = Window::new(step, images, step.inputs)?;
        let (from, to) = step.values();
        let bytes = images * self.numbers.bytes();
        Fault::check_room(&[(x.len(), from * bytes), (out.len(), to * bytes)])?;
        let mut launch = stream.launch_builder(&self.largest);
        launch.arg(x).arg(out).arg(&window);
        // SAFETY: the tensors are as long as was checked.
        unsafe { launch.launch(grid(window.total)) }.map_err(Fault::driver("pooling")).map(drop)
    }

    /// The mean of each channel of the last step's output.
    pub(super) fn mean(
        &self,
        stream: &CudaStream,
        (step, images): (&Step, usize),
        x: &CudaSlice<u8>,
        out: &mut CudaSlice<f32>,
    ) -> Result<(), Fault> {
        let total = number(images * step.outputs)?;
        let (height, width) = (number(step.out.0)?, number(step.out.1)?);
        let window = Window { total, height, width, ..Window::new(step, 1, step.outputs)? };
        let activation = images * step.values().1 * self.numbers.bytes();
        Fault::check_room(&[(x.len(), activation), (out.len(), images * step.outputs)])?;
        let mut launch = stream.launch_builder(&self.mean);
        launch.arg(x).arg(out).arg(&window);
        // SAFETY: the tensors are as long as was checked.
        unsafe { launch.launch(grid(window.total)) }.map_err(Fault::driver("taking the mean")).map(drop)
    }

    /// The logits of `images` from their means: `rows` is `[classes, channels]`, `bias` `[classes]`.
    pub(super) fn logits(
        &self,
        stream: &CudaStream,
        (step, images): (&Step, usize),
        (means, rows, bias): (&CudaSlice<f32>, &CudaSlice<f32>, &CudaSlice<f32>),
        out: &mut CudaSlice<f32>,
    ) -> Result<(), Fault> {
        let (total, classes) = (number(images * bias.len())?, number(bias.len())?);
        let window = Window { total, out_width: classes, ..Window::new(step, 1, step.outputs)? };
        Fault::check_room(&[
            (means.len(), images * step.outputs),
            (rows.len(), bias.len() * step.outputs),
            (out.len(), images * bias.len()),
        ])?;
        let mut launch = stream.launch_builder(&self.logits);
        launch.arg(means).arg(rows).arg(bias).arg(out).arg(&window);
        // SAFETY: the tensors are as long as was checked.
        unsafe { launch.launch(grid(window.total)) }.map_err(Fault::driver("classifying")).map(drop)
    }
}

fn grid(threads: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (threads.div_ceil(BLOCK), 1, 1), block_dim: (BLOCK, 1, 1), shared_mem_bytes: 0 }
}

/// Machine code for GPUs of this capability. Not the portable kind, which a driver older than the compiler does not take.
pub(super) fn compile(major: i32, minor: i32) -> Result<Vec<u8>, Fault> {
    let failed = |error: result::NvrtcError| Fault::Compile(error.to_string());
    let program = result::create_program(SOURCE, Some(c"kernels.cu")).map_err(failed)?;
    // SAFETY: the program is one that was just created, and is destroyed here and nowhere else.
    unsafe {
        let code = code(program, &format!("--gpu-architecture=sm_{major}{minor}"));
        let destroyed = result::destroy_program(program).map_err(failed);
        code.and_then(|code| destroyed.map(|()| code))
    }
}

/// # Safety
/// `program` has to be one that was created and not destroyed.
unsafe fn code(program: sys::nvrtcProgram, architecture: &str) -> Result<Vec<u8>, Fault> {
    let failed = |error: result::NvrtcError| Fault::Compile(error.to_string());
    // SAFETY: the caller's; the buffer is as long as the library says that the code is.
    unsafe {
        if let Err(error) = result::compile_program(program, &[architecture, "--std=c++17"]) {
            let log: Vec<u8> =
                result::get_program_log(program).map_err(failed)?.into_iter().map(byte).collect();
            return Err(Fault::Compile(format!(
                "{error}: {}",
                String::from_utf8_lossy(&log).trim_matches(['\0', '\n'])
            )));
        }
        let mut length = 0;
        sys::nvrtcGetCUBINSize(program, &raw mut length).result().map_err(failed)?;
        let mut code = vec![0_u8; length];
        sys::nvrtcGetCUBIN(program, code.as_mut_ptr().cast::<c_char>()).result().map_err(failed)?;
        Ok(code)
    }
}

#[expect(clippy::cast_sign_loss, reason = "a character of C is a byte")]
fn byte(character: c_char) -> u8 {
    character as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NVRTC compiles for GPUs that are not there; without it this says so.
    #[test]
    fn the_kernels_compile_for_every_generation() {
        // SAFETY: opens the library that the system has under this name.
        if !unsafe { sys::is_culib_present() } {
            eprintln!("skipped: there is no libnvrtc.so");
            return;
        }
        for (major, minor) in [(7, 5), (8, 0), (8, 9), (9, 0), (10, 0), (12, 0)] {
            let code = compile(major, minor).expect("machine code");
            assert!(code.starts_with(b"\x7fELF"), "for {major}.{minor}");
        }
        let error = compile(1, 0).expect_err("too old").to_string();
        assert!(error.contains("compiling the kernels") && error.contains("architecture"), "{error}");
    }
}
