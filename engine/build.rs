//! Compiles the messages of the connectors with protox, a compiler written in Rust: no `protoc` is needed.
//!
//! Each connector keeps its messages in its own folder, as `src/connectors/<name>/<name>.proto` of the package
//! `firesteel.<name>.v1`. What is generated is `firesteel.<name>.v1.rs` in `OUT_DIR`, and `messages.binpb`, which describes all
//! messages without their comments: a test holds it to the wire version.

use std::path::{Path, PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let connectors = Path::new("src/connectors");
    println!("cargo:rerun-if-changed={}", connectors.display());
    let mut protos: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(connectors)? {
        let entry = entry?;
        let proto = Path::new(&entry.file_name()).join(entry.file_name()).with_extension("proto");
        if connectors.join(&proto).is_file() {
            protos.push(proto);
        }
    }
    protos.sort();
    let descriptors = protox::compile(protos, [connectors])?;
    let mut plain = descriptors.clone();
    plain.file.iter_mut().for_each(|file| file.source_code_info = None);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("messages.binpb"), plain.encode_to_vec())?;
    tonic_prost_build::configure().build_client(false).build_server(false).compile_fds(descriptors)?;
    Ok(())
}
