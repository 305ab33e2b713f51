//! The device that a model computes on: the processor, a GPU of NVIDIA or one of Apple.
//!
//! Every build reads every device; whether it can use one is found out when a model is made for it. Feature `cuda` is for
//! GPUs of NVIDIA, with this crate's kernels; `metal` is for those of Apple, and passes through to candle.

use super::compiled::Isa;
use std::fmt;
use std::str::FromStr;

/// The device that a model computes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// The processor, on all of its cores.
    #[default]
    Cpu,
    /// The processor, with these instructions and no others, whatever they cost: what it computes is then the same in
    /// every process.
    CpuWith(Isa),
    /// A GPU of NVIDIA: the index that CUDA gives it.
    Cuda(usize),
    /// The GPU of an Apple machine.
    Metal,
}

/// A text that names no [`Device`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no device: expected cpu, cpu:INSTRUCTIONS ({names}), cuda, cuda:INDEX or metal", names = Isa::ALL.map(Isa::name).join(", "))]
pub struct UnknownDevice(String);

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.pad("cpu"),
            Self::CpuWith(isa) => f.pad(&format!("cpu:{isa}")),
            Self::Cuda(index) => f.pad(&format!("cuda:{index}")),
            Self::Metal => f.pad("metal"),
        }
    }
}

impl FromStr for Device {
    type Err = UnknownDevice;

    fn from_str(text: &str) -> Result<Self, UnknownDevice> {
        let unknown = || UnknownDevice(text.to_owned());
        let lower = text.trim().to_ascii_lowercase();
        let index = |text: &str| text.parse().map_err(|_| unknown());
        match lower.split_once(':').unwrap_or((&lower, "")) {
            (_, "") if lower.ends_with(':') => Err(unknown()),
            ("cpu", "") => Ok(Self::Cpu),
            ("cpu", name) => {
                let isa = Isa::ALL.into_iter().find(|isa| isa.name() == name);
                isa.map(Self::CpuWith).ok_or_else(unknown)
            }
            ("cuda", "") => Ok(Self::Cuda(0)),
            ("cuda", text) => Ok(Self::Cuda(index(text)?)),
            ("metal", "") => Ok(Self::Metal),
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_written_as_it_is_read() {
        let processors = [Device::Cpu].into_iter().chain(Isa::ALL.map(Device::CpuWith));
        for device in processors.chain([Device::Cuda(0), Device::Cuda(3), Device::Metal]) {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        assert_eq!("cpu:AVX-VNNI".parse(), Ok(Device::CpuWith(Isa::AvxVnni)));
        assert_eq!(" CUDA ".parse(), Ok(Device::Cuda(0)));
        assert_eq!("Metal".parse(), Ok(Device::Metal));
        assert_eq!(Device::default(), Device::Cpu);
    }

    #[test]
    fn anything_else_is_an_error_that_names_them_all() {
        for text in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:", "cpu:0", "cuda:0:1", "metal:0", ":"] {
            let error = text.parse::<Device>().expect_err("no device").to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("cuda:INDEX"), "{error}");
            assert!(error.contains("avx512"), "{error}");
        }
    }
}
