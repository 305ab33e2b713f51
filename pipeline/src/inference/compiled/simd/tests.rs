//! Every kernel against a loop that is too simple to be wrong, over random shapes.

use super::*;
use crate::inference::compiled::pack;
use crate::inference::compiled::tensor::Plane;
use crate::inference::network::Conv;

/// A linear congruential generator: the same shapes and numbers every time.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    fn below(&mut self, end: usize) -> usize {
        self.bits() as usize % end
    }

    /// From -1 to 1.
    fn float(&mut self) -> f32 {
        self.bits() as f32 / 1_073_741_824.0 - 1.0
    }
}

/// A tensor with its values as f32, `[images][height][width][channels]`.
struct Tensor {
    plane: Plane,
    channels: usize,
    words: Words,
    values: Vec<f32>,
}

fn tensor(r: &mut Random, precision: Precision, plane: Plane, images: usize, channels: usize) -> Tensor {
    let unit = precision.unit();
    let mut words = Words::new(images * plane.positions() * channels / unit, 0);
    let all = words.as_mut_slice();
    let mut values = Vec::new();
    for image in 0..images {
        for position in 0..plane.height * plane.width {
            let at = image * plane.positions() + plane.at(position / plane.width, position % plane.width);
            for channel in 0..channels {
                let (value, bits) = match precision {
                    Precision::F32 => {
                        let value = r.float();
                        (value, value.to_bits())
                    }
                    Precision::Bf16 => {
                        let bits = bf16_bits(r.float());
                        (bf16_value(bits), u32::from(bits))
                    }
                    Precision::Int8 => {
                        let byte = r.below(256) as u32;
                        (byte as f32, byte)
                    }
                };
                values.push(value);
                all[(at * channels + channel) / unit] |= bits << (32 / unit * (channel % unit));
            }
        }
    }
    Tensor { plane, channels, words, values }
}

/// Activation `channel` of position `at`.
fn value(words: &[u32], precision: Precision, index: usize) -> f32 {
    let word = words[index / precision.unit()];
    match precision {
        Precision::F32 => f32::from_bits(word),
        Precision::Bf16 => bf16_value((word >> (16 * (index % 2))) as u16),
        Precision::Int8 => f32::from(word.to_le_bytes()[index % 4]),
    }
}

/// What sums, bias and residual should come to, before ReLU and rounding: `[images][h][w][outputs]`.
fn naive(input: &Tensor, conv: &Conv, weight: impl Fn(usize) -> f64, images: usize) -> Vec<f64> {
    let (h, w, k, p) = (input.plane.height, input.plane.width, conv.kernel, conv.padding());
    let (oh, ow) = (h.div_ceil(conv.stride), w.div_ceil(conv.stride));
    let mut out = Vec::new();
    for at in 0..images * oh * ow {
        let (image, y, x) = (at / (oh * ow), at / ow % oh, at % ow);
        for o in 0..conv.outputs {
            let mut sum = 0.0;
            for (ky, kx) in (0..k * k).map(|i| (i / k, i % k)) {
                let (iy, ix) = (y * conv.stride + ky, x * conv.stride + kx);
                if (p..h + p).contains(&iy) && (p..w + p).contains(&ix) {
                    let from = ((image * h + iy - p) * w + ix - p) * input.channels;
                    for c in 0..conv.inputs {
                        let weight = weight(((o * conv.inputs + c) * k + ky) * k + kx);
                        sum += f64::from(input.values[from + c]) * weight;
                    }
                }
            }
            out.push(sum);
        }
    }
    out
}

/// AMX's loop over a model of its instructions, where the processor has those for what comes after the sums.
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn modelled(precision: Precision) -> Option<super::conv::Item> {
    let item = match precision {
        Precision::F32 => return None,
        Precision::Bf16 => amx_model::bf16_item,
        Precision::Int8 => amx_model::int8_item,
    };
    Isa::Avx512.supports(precision).then_some(item)
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn modelled(_: Precision) -> Option<super::conv::Item> {
    None
}

fn isas(precision: Precision) -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(move |isa| isa.supports(precision))
}

/// One random convolution in `precision`, on every instruction set, with and without Winograd, alone and in a team.
#[expect(clippy::too_many_lines, reason = "one comparison, step by step")]
fn check(seed: u64, precision: Precision) {
    let r = &mut Random(seed);
    (0..9).for_each(|_| {
        r.bits();
    });
    let (kernel, stride) = [(3, 1), (3, 1), (3, 2), (1, 2), (1, 1), (7, 2)][r.below(6)];
    let border = kernel / 2 + r.below(2);
    let plane = Plane { height: 1 + r.below(11), width: 1 + r.below(11) + 16 * r.below(2), border };
    let images = 1 + r.below(3);
    let (inputs, outputs) = ([4, 16, 32, 48, 64][r.below(5)], [64, 20, 128, 70][r.below(4)]);
    let count = outputs * inputs * kernel * kernel;
    let size =
        if precision == Precision::Int8 { 1e-4 } else { 1.0 / ((inputs * kernel * kernel) as f32).sqrt() };
    let weight: Vec<f32> = (0..count).map(|_| r.float() * size).collect();
    let bias: Vec<f32> = (0..outputs).map(|_| r.float()).collect();
    let conv_ = Conv { inputs, outputs, kernel, stride, weight, bias };
    let packed = pack::direct(&conv_, precision, inputs);
    let input = tensor(r, precision, plane, images, inputs);
    let target = plane.strided(stride, r.below(2));
    let channels = outputs.next_multiple_of(PANEL);
    let (relu, wide) = (r.below(2) == 0, precision == Precision::Int8 && r.below(3) == 0);
    let own = tensor(r, precision, target, images, channels);
    let kind = r.below(3);
    let wide_residual = tensor(r, Precision::F32, target, images, channels);
    let residual = match kind {
        0 => Residual::None,
        1 => Residual::Own(own.words.as_slice(), 0.37),
        _ => Residual::Wide(wide_residual.words.as_slice()),
    };
    let output_scale = 1.0 / 0.04;
    let scale: Vec<f32> = packed.scale.iter().map(|s| s * output_scale).collect();
    let epilogue = Epilogue { scale: &scale, bias: &packed.bias, residual, relu, wide };

    // The expected values, from the weights as they were rounded.
    let area = inputs * kernel * kernel;
    let sums = naive(
        &input,
        &conv_,
        |i| match precision {
            Precision::F32 => f64::from(conv_.weight[i]),
            Precision::Bf16 => f64::from(bf16_value(bf16_bits(conv_.weight[i]))),
            Precision::Int8 => f64::from(nearest(conv_.weight[i] / packed.scale[i / area])),
        },
        images,
    );
    let expected: Vec<f64> = sums
        .iter()
        .enumerate()
        .map(|(i, sum)| {
            let (position, o) = (i / outputs, i % outputs);
            let at = position * channels + o;
            let scaled = scale.get(o).map_or(*sum, |s| sum * f64::from(*s)) + f64::from(conv_.bias[o]);
            let factor = if precision == Precision::Int8 { 0.37 } else { 1.0 };
            let sum = scaled
                + match kind {
                    0 => 0.0,
                    1 => f64::from(own.values[at]) * factor,
                    _ => f64::from(wide_residual.values[at]),
                };
            if relu { sum.max(0.0) } else { sum }
        })
        .collect();

    let positions = Positions::new(plane, target, kernel, stride);
    let stored = if wide { Precision::F32 } else { precision };
    let length = images * target.positions() * channels / stored.unit();
    const UNTOUCHED: u32 = 0x3f80_3f80;
    let compare = |what: &str, output: &[u32], tolerance: f64| {
        for image in 0..images {
            for y in 0..target.rows() {
                for x in 0..target.columns() {
                    let at = (image * target.rows() + y) * target.columns() + x;
                    let inside = (target.border..target.border + target.height).contains(&y)
                        && (target.border..target.border + target.width).contains(&x);
                    if !inside {
                        let words = channels / stored.unit();
                        assert!(
                            output[at * words..][..words].iter().all(|w| *w == UNTOUCHED),
                            "{what}: the border was written"
                        );
                        continue;
                    }
                    let (y, x) = (y - target.border, x - target.border);
                    for o in 0..outputs {
                        let want = expected[((image * target.height + y) * target.width + x) * outputs + o];
                        let got = f64::from(value(output, stored, at * channels + o));
                        let want = if stored == Precision::Int8 { want.clamp(0.0, 255.0) } else { want };
                        assert!(
                            (got - want).abs() <= tolerance * (1.0 + want.abs()),
                            "{what}: image {image} ({y}, {x}) channel {o}: {got}, expected {want}"
                        );
                    }
                }
            }
        }
    };
    let tolerance = match (precision, wide) {
        (Precision::F32, _) => 2e-5,
        (Precision::Bf16, _) => 1.0 / 128.0,
        (Precision::Int8, true) => 1e-4,
        (Precision::Int8, false) => 0.501,
    };
    let mut portable: Option<Words> = None;
    for isa in isas(precision) {
        let what =
            format!("seed {seed}, {precision}, {isa:?}, {kernel}x{kernel}/{stride} {inputs}->{outputs}");
        let job = Job {
            isa,
            precision,
            input: input.words.as_slice(),
            input_words: inputs / precision.unit(),
            positions: &positions,
            images,
            weights: packed.words.as_slice(),
            panels: packed.panels,
            epilogue,
        };
        for threads in [1, 2] {
            let mut output = Words::new(length, UNTOUCHED);
            with_team(threads, |driver| conv(driver, &job, output.as_mut_slice()));
            compare(&what, output.as_slice(), tolerance);
            if precision == Precision::Int8 {
                let first = portable.get_or_insert_with(|| output.clone());
                assert_eq!(first.as_slice(), output.as_slice(), "{what}: not the portable result");
            }
        }
        if isa == Isa::Portable
            && let Some(item) = modelled(precision)
        {
            let (what, job) = (format!("{what} on the model of AMX"), Job { isa: Isa::Amx, ..job });
            let mut output = Words::new(length, UNTOUCHED);
            // SAFETY: `modelled` has asked the processor.
            with_team(2, |driver| unsafe { super::conv::share(driver, &job, item, output.as_mut_slice()) });
            compare(&what, output.as_slice(), tolerance);
            if let Some(first) = &portable {
                assert_eq!(first.as_slice(), output.as_slice(), "{what}: not the portable result");
            }
        }
        let edges = isa != Isa::Portable && isa != Isa::Amx && precision != Precision::Int8;
        if !edges || kernel != 3 || stride != 1 || !inputs.is_multiple_of(LANES) {
            continue;
        }
        for edge in [4, 6] {
            let weights = pack::winograd(&conv_, precision, inputs, edge);
            let job = Winograd {
                isa,
                precision,
                edge,
                input: input.words.as_slice(),
                input_plane: plane,
                inputs,
                output_plane: target,
                images,
                weights: weights.as_slice(),
                panels: packed.panels,
                block: 1 + r.below(20),
                epilogue,
            };
            let mut scratch = WinogradScratch::default();
            for threads in [1, 2] {
                let mut output = Words::new(length, UNTOUCHED);
                with_team(threads, |driver| winograd(driver, &job, &mut scratch, output.as_mut_slice()));
                // bf16 rounds the transformed values, whose sums cancel.
                let tolerance =
                    if precision == Precision::F32 { 5e-5 } else { 0.025 * (edge * edge) as f64 / 8.0 };
                compare(&format!("{what}, edge {edge}"), output.as_slice(), tolerance);
            }
        }
    }
}

/// Miri takes a minute for what takes a millisecond.
fn rounds() -> u64 {
    if cfg!(miri) { 1 } else { 60 }
}

#[test]
fn f32_convolutions() {
    (0..rounds()).for_each(|seed| check(seed, Precision::F32));
}

#[test]
fn bf16_convolutions() {
    (0..rounds()).for_each(|seed| check(1_000 + seed, Precision::Bf16));
}

#[test]
fn int8_convolutions() {
    (0..rounds()).for_each(|seed| check(2_000 + seed, Precision::Int8));
}

#[test]
fn bf16_rounds_to_nearest_even() {
    assert_eq!(bf16_value(bf16_bits(1.0)), 1.0);
    assert_eq!(bf16_bits(f32::from_bits(0x3f80_8000)), 0x3f80, "a half to even");
    assert_eq!(bf16_bits(f32::from_bits(0x3f81_8000)), 0x3f82, "a half to even");
    assert_eq!(bf16_bits(f32::from_bits(0x3f80_8001)), 0x3f81);
    assert!(bf16_value(bf16_bits(f32::NAN)).is_nan());
    assert_eq!([nearest(0.5), nearest(1.5), nearest(-2.5), nearest(254.7)], [0.0, 2.0, -2.0, 255.0]);
}

#[test]
#[should_panic(expected = "input")]
fn a_short_input_is_refused() {
    let plane = Plane { height: 4, width: 4, border: 1 };
    let positions = Positions::new(plane, plane, 3, 1);
    let words = Words::new(9 * 16 * PANEL, 0);
    let job = Job {
        isa: Isa::detect(Precision::F32),
        precision: Precision::F32,
        input: &words.as_slice()[..36 * 16 - 1],
        input_words: 16,
        positions: &positions,
        images: 1,
        weights: words.as_slice(),
        panels: 1,
        epilogue: Epilogue {
            scale: &[],
            bias: &[0.0; 64],
            residual: Residual::None,
            relu: true,
            wide: false,
        },
    };
    conv(&mut Driver::alone(), &job, &mut vec![0; 36 * 64]);
}
