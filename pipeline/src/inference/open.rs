//! From what a setting names to a model: the one place that opens its file.

use super::error::Result;
use super::manifest::Manifest;
use super::model_file::ModelFile;
use super::spec::ModelSpec;

impl ModelSpec {
    /// Reads the model, under the name that it has here.
    ///
    /// # Errors
    /// As [`ModelFile::open`].
    pub fn open(&self) -> Result<ModelFile> {
        let mut file = ModelFile::open(self.file.as_deref())?;
        if let Some(name) = &self.name {
            let info = file.info_mut();
            info.name = Manifest::versioned(name, info.version.as_deref());
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_the_name_that_the_setting_gives_it() {
        let open = |text: &str| text.parse::<ModelSpec>().expect("a model").open();
        let name = |text: &str| open(text).expect("a model").info().name.clone();
        assert_eq!(name("shipped"), "resnet18-cifar10");
        assert_eq!(name("mine=shipped,precision=int8"), "mine");
        let error = open("mine=/nowhere/m.safetensors").map(|_| ()).expect_err("no file").to_string();
        assert!(error.contains("/nowhere/m.safetensors"), "{error}");
    }
}
