//! The numbers of a tensor in an ONNX file, or in a file beside it.

use super::proto::{self, data_type};
use crate::inference::error::{Error, Result};
use crate::inference::weights::{finite, to_f32};
use bytes::Bytes;
use candle_core::DType;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// Where a tensor's numbers may be, besides the tensor itself.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The model's file, or words for it, for errors.
    pub(super) origin: String,
    /// The paths of the model's file, beside which its other files may lie: the one that it was asked for by, and where that is a
    /// link the one that it leads to. Their folders are no links. None where the model is in memory.
    pub(super) paths: Vec<PathBuf>,
}

/// A file beside the model's own that holds numbers of it.
#[derive(Debug, PartialEq)]
pub(super) struct External<'a> {
    /// The file; no link.
    pub(super) file: PathBuf,
    /// The path of the model beside which it was found.
    pub(super) model: &'a Path,
}

impl Place {
    /// An error about the model.
    pub(super) fn bad(&self, problem: String) -> Error {
        Error::Architecture { origin: self.origin.clone(), problem }
    }

    /// The file that holds the numbers of `tensor`, where they are not in the model's own: one in the same folder, or in the one that
    /// the model is a link into.
    ///
    /// # Errors
    /// [`Error::Architecture`] for a location that is no name of a file in such a folder, a link that leads out of them included.
    pub(super) fn external(&self, tensor: &proto::Tensor) -> Result<Option<External<'_>>> {
        if tensor.data_location != proto::EXTERNAL {
            return Ok(None);
        }
        let name = &tensor.name;
        let Some(location) = entry(tensor, "location") else {
            return Err(self.bad(format!("tensor {name:?} is in another file, and nothing says in which")));
        };
        let Some(first) = self.paths.first() else {
            return Err(self.bad(format!(
                "tensor {name:?} is in another file, {location:?}, and the model has no folder"
            )));
        };
        let path = Path::new(location);
        let mut parts = path.components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return Err(self.bad(format!(
                "tensor {name:?} is in another file, {location:?}, which is not in the folder of the model"
            )));
        }
        // In a mounted volume of Kubernetes model and tensors are links into one folder, with names of their own in Hugging Face's cache.
        let model = self.paths.iter().find(|model| model.with_file_name(path).exists()).unwrap_or(first);
        let there = model.with_file_name(path);
        let file = there.canonicalize().map_err(|source| Error::ReadWeights { path: there, source })?;
        if !self.paths.iter().any(|model| model.parent() == file.parent()) {
            return Err(self.bad(format!(
                "tensor {name:?} is in another file, {location:?}, which is a link out of the folder of the model"
            )));
        }
        Ok(Some(External { file, model }))
    }

    /// The bytes of `tensor`, as many as `expected`.
    fn raw(&self, tensor: &proto::Tensor, expected: usize) -> Result<Bytes> {
        let Some(External { file: path, .. }) = self.external(tensor)? else {
            return Ok(tensor.raw_data.clone());
        };
        let name = &tensor.name;
        let number = |key: &str| match entry(tensor, key) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| {
                self.bad(format!("tensor {name:?}: {key} is {text:?}, expected a number of bytes"))
            }),
        };
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        if let Some(length) = length.filter(|length| *length != expected as u64) {
            return Err(self.bad(format!("tensor {name:?} has {length} bytes, expected {expected}")));
        }
        let read = || -> std::io::Result<Option<Vec<u8>>> {
            let mut file = File::open(&path)?;
            let there = file.metadata()?.len();
            // Nothing is allocated for numbers that are not there.
            if offset.checked_add(expected as u64).is_none_or(|end| end > there) {
                return Ok(None);
            }
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = vec![0; expected];
            file.read_exact(&mut bytes)?;
            Ok(Some(bytes))
        };
        match read() {
            Ok(Some(bytes)) => Ok(bytes.into()),
            Ok(None) => Err(self.bad(format!(
                "tensor {name:?} is said to be {expected} bytes at {offset} of {}, which is shorter",
                path.display()
            ))),
            Err(source) => Err(Error::ReadWeights { path, source }),
        }
    }

    /// Shape and numbers of a tensor of floats.
    ///
    /// # Errors
    /// [`Error::Dtype`] for another type, [`Error::BadValue`] for what is no finite number, [`Error::Architecture`] for fewer or more
    /// numbers than the shape says, and as [`Place::external`].
    pub(super) fn floats(&self, tensor: &proto::Tensor) -> Result<(Vec<usize>, Vec<f32>)> {
        let (shape, count) = self.shape(tensor)?;
        let (name, packed) = (&tensor.name, &tensor.int32_data);
        let wrong = |found: usize| {
            self.bad(format!("tensor {name:?} has {found} numbers, expected as many as in shape {shape:?}"))
        };
        let dtype = match tensor.data_type {
            data_type::FLOAT => DType::F32,
            data_type::FLOAT16 => DType::F16,
            data_type::BFLOAT16 => DType::BF16,
            other => {
                let (origin, name) = (self.origin.clone(), name.clone());
                return Err(Error::Dtype { origin, name, found: format!("number {other} of ONNX") });
            }
        };
        let values = if dtype == DType::F32 && !tensor.float_data.is_empty() {
            tensor.float_data.clone()
        } else {
            let each = dtype.size_in_bytes();
            let bytes = if dtype == DType::F32 || packed.is_empty() {
                let expected = count.checked_mul(each).ok_or_else(|| self.too_large(tensor))?;
                self.raw(tensor, expected)?
            } else {
                // Sixteen bits in the lower half of each.
                packed.iter().flat_map(|v| v.to_le_bytes().into_iter().take(2)).collect()
            };
            if Some(bytes.len()) != count.checked_mul(each) {
                return Err(wrong(bytes.len() / each));
            }
            to_f32(&self.origin, name, &bytes, dtype, &shape)?
        };
        if values.len() != count {
            return Err(wrong(values.len()));
        }
        finite(&self.origin, name, &values)?;
        Ok((shape, values))
    }

    /// The numbers of a list of whole numbers; none where it is something else.
    pub(super) fn integers(&self, tensor: &proto::Tensor) -> Result<Option<Vec<i64>>> {
        let (shape, count) = self.shape(tensor)?;
        if tensor.data_type != data_type::INT64 || shape.len() > 1 || count > 16 {
            return Ok(None);
        }
        let values: Vec<i64> = if tensor.int64_data.is_empty() {
            let bytes = self.raw(tensor, count * 8)?;
            bytes
                .chunks_exact(8)
                .map(|b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
                .collect()
        } else {
            tensor.int64_data.clone()
        };
        Ok((values.len() == count).then_some(values))
    }

    /// The shape, and how many numbers that is.
    fn shape(&self, tensor: &proto::Tensor) -> Result<(Vec<usize>, usize)> {
        let shape: Option<Vec<usize>> = tensor.dims.iter().map(|d| usize::try_from(*d).ok()).collect();
        let count = shape.as_ref().and_then(|s| s.iter().try_fold(1_usize, |n, d| n.checked_mul(*d)));
        shape.zip(count).ok_or_else(|| self.too_large(tensor))
    }

    fn too_large(&self, tensor: &proto::Tensor) -> Error {
        let (name, dims) = (&tensor.name, &tensor.dims);
        self.bad(format!("tensor {name:?} has shape {dims:?}, which cannot be"))
    }
}

fn entry<'a>(tensor: &'a proto::Tensor, key: &str) -> Option<&'a str> {
    tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_read_from_bytes_and_from_numbers() {
        let place = Place { origin: "m".into(), paths: vec![] };
        for (data_type, bits) in
            [(data_type::FLOAT16, [0x3c00, 0xc000]), (data_type::BFLOAT16, [0x3f80, 0xc000])]
        {
            let raw: Vec<u8> = bits.into_iter().flat_map(u16::to_le_bytes).collect();
            let numbers = bits.map(i32::from).to_vec();
            let of = proto::Tensor { dims: vec![2], data_type, ..proto::Tensor::default() };
            for tensor in [
                proto::Tensor { raw_data: raw.into(), ..of.clone() },
                proto::Tensor { int32_data: numbers, ..of },
            ] {
                assert_eq!(place.floats(&tensor).expect("read"), (vec![2], vec![1.0, -2.0]));
            }
        }
    }

    fn external(location: &str, offset: &str) -> proto::Tensor {
        let entry = |key: &str, value: &str| proto::Entry { key: key.into(), value: value.into() };
        proto::Tensor {
            name: "w".into(),
            dims: vec![2],
            data_type: data_type::FLOAT,
            data_location: proto::EXTERNAL,
            external_data: vec![entry("location", location), entry("offset", offset), entry("length", "8")],
            ..proto::Tensor::default()
        }
    }

    #[test]
    fn tensors_in_other_files_are_read_from_the_models_folder_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let inside = folder.path().canonicalize().expect("there").join("inside");
        std::fs::create_dir(&inside).expect("made");
        let bytes: Vec<u8> = [9.0_f32, 1.5, -2.0].into_iter().flat_map(f32::to_le_bytes).collect();
        std::fs::write(inside.join("data"), &bytes).expect("written");
        std::fs::write(folder.path().join("secret"), &bytes).expect("written");
        let place = Place { origin: "m".into(), paths: vec![inside.join("m.onnx")] };
        let (shape, values) = place.floats(&external("data", "4")).expect("read");
        assert_eq!((shape, values), (vec![2], vec![1.5, -2.0]));
        let secret = folder.path().join("secret");
        #[cfg(unix)]
        std::os::unix::fs::symlink(&secret, inside.join("link")).expect("linked");
        for location in ["../secret", "..", "./../secret", "", &secret.to_string_lossy(), "a/../../secret"] {
            let error = place.floats(&external(location, "0")).expect_err(location).to_string();
            assert!(error.contains("not in the folder"), "{error}");
        }
        #[cfg(unix)]
        assert!(
            place.floats(&external("link", "0")).expect_err("a link").to_string().contains("a link out of")
        );
        for (location, offset, expected) in [
            ("data", "8", "which is shorter"),
            ("data", "18446744073709551615", "which is shorter"),
            ("data", "-1", "expected a number of bytes"),
            ("nowhere", "0", "cannot read"),
        ] {
            let error = place.floats(&external(location, offset)).expect_err(location).to_string();
            assert!(error.contains(expected), "{error}");
        }
        let nowhere = Place { paths: vec![], ..place };
        let error = nowhere.floats(&external("data", "0")).expect_err("in memory").to_string();
        assert!(error.contains("has no folder"), "{error}");
    }

    /// As in Hugging Face's cache, where each file is a link to one with another name.
    #[test]
    #[cfg(unix)]
    fn a_model_that_is_a_link_has_tensors_in_either_folder() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("there");
        let [named, blobs] = ["named", "blobs"].map(|name| root.join(name));
        for folder in [&named, &blobs] {
            std::fs::create_dir(folder).expect("made");
        }
        let bytes = |number: f32| [number; 2].into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
        for (name, number) in [("blobs/a1", 1.0), ("blobs/b2", 2.0), ("blobs/data", 3.0), ("secret", 4.0)] {
            std::fs::write(root.join(name), bytes(number)).expect("written");
        }
        for (name, target) in [("m.onnx", "../blobs/a1"), ("m.data", "../blobs/b2"), ("out", "../secret")] {
            symlink(target, named.join(name)).expect("linked");
        }
        let paths = vec![named.join("m.onnx"), blobs.join("a1")];
        let place = Place { origin: "m".into(), paths: paths.clone() };
        for (location, number, target, model) in [("m.data", 2.0_f32, "b2", 0), ("data", 3.0, "data", 1)] {
            let tensor = external(location, "0");
            assert_eq!(place.floats(&tensor).expect("read").1, [number; 2], "{location}");
            let expected = External { file: blobs.join(target), model: &paths[model] };
            assert_eq!(place.external(&tensor).expect("there"), Some(expected));
        }
        let error = place.floats(&external("out", "0")).expect_err("a link").to_string();
        assert!(error.contains("a link out of"), "{error}");
    }

    #[test]
    fn files_are_found_wherever_their_tensors_are() {
        use crate::inference::ModelFile;
        use prost::Message as _;
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("there");
        for name in ["a", "b", "c"] {
            std::fs::write(root.join(name), [0; 8]).expect("written");
        }
        let node =
            |attribute: proto::Attribute| proto::Node { attribute: vec![attribute], ..Default::default() };
        let constant = node(proto::Attribute { t: Some(external("b", "0")), ..Default::default() });
        let initializer = vec![external("c", "0"), external("c", "0")];
        let body = proto::Graph { node: vec![constant], initializer, ..Default::default() };
        let branch = node(proto::Attribute { g: Some(body), ..Default::default() });
        let initializer = vec![external("a", "0")];
        let graph = proto::Graph { node: vec![branch], initializer, ..Default::default() };
        let model = proto::Model { ir_version: 9, graph: Some(graph), ..Default::default() };
        let path = root.join("m.onnx");
        std::fs::write(&path, model.encode_to_vec()).expect("written");
        let all = ["m.onnx", "a", "b", "c"].map(|name| root.join(name));
        assert_eq!(ModelFile::files(&path), all);
        std::fs::remove_file(&all[2]).expect("removed");
        assert_eq!(ModelFile::files(&path), all[..1], "nobody knows them all");
        assert_eq!(ModelFile::files(&all[1]), all[1..2], "it is no ONNX");
    }

    #[test]
    fn numbers_that_do_not_fit_their_shape_are_an_error() {
        let place = Place { origin: "m".into(), paths: vec![] };
        let floats = |dims: &[i64], raw: usize| {
            let raw_data = vec![0; raw].into();
            let (dims, data_type) = (dims.to_vec(), data_type::FLOAT);
            let tensor = proto::Tensor { dims, raw_data, data_type, ..proto::Tensor::default() };
            place.floats(&tensor).map(|(_, values)| values.len()).map_err(|error| error.to_string())
        };
        assert_eq!(floats(&[2, 3], 24), Ok(6));
        for (dims, raw) in
            [(&[2, 3][..], 23), (&[2, 3], 28), (&[-1], 4), (&[i64::MAX, 4], 4), (&[1 << 62], 4)]
        {
            assert!(floats(dims, raw).is_err(), "{dims:?}, {raw}");
        }
    }
}
