//! Compiles the protobuf files with protox, a compiler written in Rust: no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["firesteel/v1/records.proto", "firesteel/v1/inference.proto"];
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;

    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    let mut config = tonic_prost_build::Config::new();
    config.bytes(["."]);
    // Written by hand, so that what it decodes is bounded: a request of two bytes is a hundred in memory.
    config.extern_path(".firesteel.v1.ClassifyRequests", "crate::inference::ClassifyRequests");
    tonic_prost_build::configure()
        .file_descriptor_set_path(out.join("firesteel_descriptor.bin"))
        .compile_fds_with_config(descriptors.clone(), config)?;
    // The descriptor set serves gRPC reflection.
    std::fs::write(out.join("firesteel_descriptor.bin"), prost::Message::encode_to_vec(&descriptors))?;

    let mut config = tonic_prost_build::Config::new();
    config.bytes(["."]);
    let spark = protox::compile(["spark/connect/base.proto"], ["proto"])?;
    tonic_prost_build::configure().build_client(false).compile_fds_with_config(spark, config)?;
    Ok(())
}
