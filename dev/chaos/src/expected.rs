//! What an undisturbed model says of the images of the data set: asked of the real inference server before anything is done to it,
//! and kept for further runs of the same binary.

use crate::oracle::books::Expected;
use anyhow::{Context as _, bail};
use firesteel_pipeline::dataset::{Dataset, Image};
use firesteel_pipeline::inference::{Answer, Client};
use futures::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// Images under way at once.
const IN_FLIGHT: usize = 64;

/// The SHA-256 of a file, in hexadecimal digits.
pub(crate) fn digest(path: &Path) -> anyhow::Result<String> {
    let mut file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        hasher.update(&piece[..read]);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Where the answers of the binary with this digest are kept.
fn kept(digest: &str) -> PathBuf {
    let dev = std::env::var("FIRESTEEL_DEV_DIR").ok().filter(|dev| !dev.is_empty());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join(dev.unwrap_or_else(|| ".dev".to_owned())).join(format!("chaos/expected-{}.json", &digest[..16]))
}

/// The answers for the first `images` rows of the data set, by the images' bytes. `model` is a server that nothing is done to.
pub(crate) async fn expected(
    model: SocketAddr,
    images: usize,
    digest: &str,
) -> anyhow::Result<BTreeMap<Vec<u8>, Expected>> {
    let rows = tokio::task::spawn_blocking(move || Dataset::load(None)?.first(images)).await??;
    let path = kept(digest);
    let mut known: Vec<Expected> = match std::fs::read(&path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).with_context(|| format!("cannot read {}", path.display()))?
        }
        Err(_) => Vec::new(),
    };
    if known.len() < rows.len() {
        let client = Client::connect(&format!("http://{model}"), CONNECT_WITHIN).await?;
        let asked = rows[known.len()..].iter().map(|image| ask(&client, image.clone()));
        let new: Vec<Expected> = futures::stream::iter(asked).buffered(IN_FLIGHT).try_collect().await?;
        known.extend(new);
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        // Whole or not at all: another run may do the same.
        let fresh = path.with_extension(format!("{}.new", std::process::id()));
        std::fs::write(&fresh, serde_json::to_vec(&known)?)?;
        std::fs::rename(&fresh, &path)?;
    }
    Ok(rows.iter().map(|image| image.data.to_vec()).zip(known).collect())
}

async fn ask(client: &Client, image: Image) -> anyhow::Result<Expected> {
    match client.classify(image.encoding, image.data).await? {
        Answer::Classified { label, confidence, model } => {
            Ok(Expected { predicted: label, confidence: f64::from(confidence), model })
        }
        Answer::Rejected { reason } => bail!("the model refuses an image of the data set: {reason}"),
    }
}
