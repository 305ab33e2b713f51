//! From what a setting names to a network: the one place that opens the file of a model.

use super::error::Result;
use super::manifest::Manifest;
use super::network::Network;
use super::spec::ModelSpec;
use super::weights::Weights;

impl ModelSpec {
    /// Reads the model, under the name that it has here.
    ///
    /// # Errors
    /// A file that cannot be read or holds no network that is computed here, a manifest that lacks something.
    pub fn network(&self) -> Result<Network> {
        let mut network = Network::read(Weights::load(self.file.as_deref())?)?;
        if let Some(name) = &self.name {
            network.info.name = Manifest::versioned(name, network.info.version.as_deref());
        }
        Ok(network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_the_name_that_the_setting_gives_it() {
        let network = |text: &str| text.parse::<ModelSpec>().expect("a model").network();
        let name = |text: &str| network(text).expect("a network").info.name;
        assert_eq!(name("shipped"), "resnet18-cifar10");
        assert_eq!(name("mine=shipped,precision=int8"), "mine");
        let error = network("mine=/nowhere/m.safetensors").map(|_| ()).expect_err("no file").to_string();
        assert!(error.contains("/nowhere/m.safetensors"), "{error}");
    }
}
