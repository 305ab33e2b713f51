# The one image: every role is a subcommand of the binary in it, and the model lies inside the binary.
#   docker build --tag firesteel:0.1.0 .          (or podman, or buildah; dev/image finds one and tries what came out)
#
# Arguments: RUST, what builds; BASE, what it runs on; FEATURES: cargo's, such as cuda; LTO, CODEGEN_UNITS, RUSTFLAGS: how it
# is compiled and linked.
# RUST and BASE are of one release of Debian, or of Ubuntu: a binary needs the C library that it was linked with, or a newer one.
ARG RUST=docker.io/library/rust:1.95.0-bookworm
ARG BASE=gcr.io/distroless/cc-debian12:nonroot

# The manifests, with sources that hold nothing: what the dependencies are, and no more. Its files are the same until a
# manifest changes, whatever else does, and so the layer of the dependencies below stays.
FROM ${RUST} AS skeleton
WORKDIR /src
COPY . .
RUN sh dev/image_lib/skeleton.sh /src /skeleton

FROM ${RUST} AS builder
ARG FEATURES=
# `thin` and one unit make a smaller and faster binary than `make release` does, for a longer build.
ARG LTO=thin
ARG CODEGEN_UNITS=1
# Functions of one code are one function, and the table of what is moved at the start is packed, which takes a C library 2.36
# or newer. Both are options of lld, with which Rust links on x86-64; elsewhere, --build-arg RUSTFLAGS=
ARG RUSTFLAGS="-C link-arg=-Wl,--icf=all -C link-arg=-Wl,-z,pack-relative-relocs"
ENV RUSTFLAGS=${RUSTFLAGS} \
    CARGO_PROFILE_RELEASE_LTO=${LTO} \
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS=${CODEGEN_UNITS} \
    CARGO_PROFILE_RELEASE_STRIP=symbols
WORKDIR /src
# An hour on two cores, once for each change of a manifest.
COPY --from=skeleton /skeleton .
RUN cargo build --release --locked --package firesteel --bin firesteel --features "${FEATURES}"
# What was built of the empty sources is older than the real ones, whose times may be those of a checkout long ago.
COPY . .
RUN find . -path ./target -prune -o -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --package firesteel --bin firesteel --features "${FEATURES}" \
    && mkdir -p /out \
    && cp target/release/firesteel Cargo.lock LICENSE /out/
# The parts of the binary, as CycloneDX: of the same Cargo.lock and features.
ARG REVISION=unknown
RUN REVISION=${REVISION} python3 dev/sbom --features "${FEATURES}" --output /out/sbom.cdx.json

FROM ${BASE}
# What is in it, for whoever lists the parts of images: the crates by a list and by Cargo.lock, the packages by the base's own records.
COPY --from=builder /out/Cargo.lock /out/LICENSE /out/sbom.cdx.json /usr/share/doc/firesteel/
COPY --from=builder /out/firesteel /usr/local/bin/firesteel
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG BASE
LABEL org.opencontainers.image.title="firesteel" \
      org.opencontainers.image.description="Events from Kafka through a neural network into MongoDB, and a distributed engine over them" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
# By number: Kubernetes cannot tell that a name is not root. Nothing is written outside of /tmp, so that the root file system
# may be read-only where /tmp is a volume.
USER 65532:65532
WORKDIR /
# Scheduler; executor: Flight, orders, health; the scheduler's health; inference, its health, and that of consumers.
EXPOSE 50050 50051 50052 50053 50054 50060 50061 50062
# For engines of containers that look for themselves; Kubernetes has its own probes. It asks a scheduler; for another role
# set FIRESTEEL_HEALTH_URL, such as http://127.0.0.1:50053/healthz for an executor. It asks without TLS: a scheduler that has a certificate
# is asked on a port for health, by --bind-health-port 50054 and FIRESTEEL_HEALTH_URL=http://127.0.0.1:50054/healthz.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/usr/local/bin/firesteel", "health"]
# SIGTERM drains; a scheduler and an executor say with --grace-seconds for how long.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/firesteel"]
CMD ["--help"]
