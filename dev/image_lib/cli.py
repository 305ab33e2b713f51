"""`dev/image`: what builds the image, of what, and whether the result holds."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import List, Optional

from sbom_lib.cli import document as parts_of
from sbom_lib.cli import provenance
from shared_lib.fetch import digest
from shared_lib.program import ROOT, Problem, dev_dir, ended, require, run

from . import debian, verify
from .store import Store, layers

LIMIT = 200_000_000
REGISTRY = "docker.io/library/"  # where a short name leads, for Kubernetes and for docker
DESCRIPTION = """Builds the container image with what is there, starts what came out, and says how large it is.

With docker (an engine that answers) or podman the whole Dockerfile is built; that takes the images of RUST and BASE from
their registries, and an hour on two cores the first time. With --local, or where there is neither, buildah makes the same
image of what `make release` left, linked once more for size, and a base of Debian's packages, as root, and asks no registry
of images; it lies in .dev/containers and, to load it into kind, minikube or k3s, in .dev/image/firesteel-VERSION.tar."""
# As in the Dockerfile: functions of one code are one function, and the table of what is moved at the start is packed.
LINK = ["-C", "link-arg=-Wl,--icf=all", "-C", "link-arg=-Wl,-z,pack-relative-relocs"]


def parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    found = argparse.ArgumentParser(prog="dev/image", description=DESCRIPTION, formatter_class=raw)
    found.add_argument("--local", action="store_true", help="with buildah, of the binary that is built already")
    found.add_argument("--engine", choices=["docker", "podman"], help="what builds the whole Dockerfile")
    found.add_argument("--base", help="another image to run on, for the whole Dockerfile: its argument BASE")
    found.add_argument("--binary", type=Path, help="for --local, taken as it is [default: that of `make release`, linked for size]")
    found.add_argument("--tag", help="the image's name [default: firesteel:VERSION]")
    found.add_argument("--install", action="store_true", help="install what is missing (Debian); also where CI=true")
    return found


def version() -> str:
    return tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]


def build_arguments(**more: str) -> List[str]:
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    revision = found.stdout.strip() if found.returncode == 0 else "unknown"
    values = {"VERSION": version(), "REVISION": revision, **more}
    return [word for name, value in values.items() for word in ("--build-arg", f"{name}={value}")]


def engine() -> Optional[str]:
    """docker or podman, if it answers and may be meant: podman alone on a machine of root's is not set up for pulling."""
    for name in ("docker", "podman"):
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True, timeout=60).returncode == 0:
            if name == "docker" or os.geteuid() != 0:
                return name
    return None


def linked() -> Path:
    """The binary, linked once more: a minute where `make release` was there before, and cargo keeps both."""
    if not shutil.which("cargo"):
        raise Problem("cargo is not on the PATH: install Rust with rustup, or name a binary with --binary")
    print("linking the binary for size", flush=True)
    command = ["cargo", "rustc", "--release", "--locked", "--package", "firesteel", "--bin", "firesteel", "--", *LINK]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise Problem("cargo cannot build the binary: see above")
    return Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release/firesteel"


def local(arguments: argparse.Namespace, tag: str) -> Path:
    """The image's archive."""
    if os.geteuid() != 0:
        raise Problem("a base of Debian's packages is made as root; with docker or podman, run 'dev/image --engine'")
    require(["buildah", "dpkg-deb", "strip"], ["buildah", "binutils"], arguments.install)
    binary = arguments.binary or linked()
    if not binary.is_file():
        raise Problem(f"there is no {binary}")
    store = Store()
    base = base_image(store)
    context = dev_dir() / "image/builder"
    shutil.rmtree(context, ignore_errors=True)
    (context / "out").mkdir(parents=True)
    run(["strip", "--strip-all", "-o", str(context / "out/firesteel"), str(binary)], f"{binary} cannot be stripped")
    for name in ("Cargo.lock", "LICENSE"):
        shutil.copy(ROOT / name, context / "out" / name)
    below = [tuple(package.exact.split("=", 1)) for package in debian.exactly(debian.BASE)]
    (context / "out/sbom.cdx.json").write_text(parts_of(debian=below))
    print(f"building {tag} of {binary}", flush=True)
    # The context takes the place of the stage of that name, and a stage that nothing needs is left out.
    store.buildah(
        "build", "--quiet", "--isolation", "chroot", "--pull-never", "--build-context", f"builder={context}",
        *build_arguments(BASE=base), "--tag", REGISTRY + tag, str(ROOT), failure="buildah cannot build the image",
    )
    store.buildah("rmi", "--prune")  # the build before this one
    archive = dev_dir() / f"image/firesteel-{version()}.tar"
    archive.unlink(missing_ok=True)
    store.buildah("push", "--quiet", REGISTRY + tag, f"docker-archive:{archive}:{REGISTRY}{tag}", failure=f"{tag} cannot be written")
    # Beside the archive: what is in it, and how it and the binary came about.
    shutil.copy(context / "out/sbom.cdx.json", archive.with_suffix(".cdx.json"))
    archive.with_suffix(".provenance.json").write_text(provenance([archive, context / "out/firesteel"], {"link": " ".join(LINK)}))
    return archive


def base_image(store: Store) -> str:
    """The name of an image with what the binary links, and nothing that could run a command."""
    try:
        packages = debian.exactly(debian.BASE)
    except Problem:
        run(["apt-get", "update", "-qq"], "apt-get update failed")
        packages = debian.exactly(debian.BASE)
    image = f"localhost/firesteel-base:{digest(Path(debian.__file__), *(package.file for package in packages))}"
    if not store.has(image):
        rootfs = debian.root(packages, dev_dir() / "image/base")
        debian.prune(rootfs)
        debian.populate(rootfs, packages)
        store.from_rootfs(rootfs, image, f"--user={debian.USER}", "--env=SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt")
    return image


def make(arguments: argparse.Namespace) -> None:
    tag = arguments.tag or f"firesteel:{version()}"
    program = None if arguments.local else arguments.engine or engine()
    if program:
        base = {"BASE": arguments.base} if arguments.base else {}
        if subprocess.run([program, "build", "--tag", tag, *build_arguments(**base), str(ROOT)]).returncode:
            raise Problem(f"{program} cannot build the image: see above")
        size = int(run([program, "image", "inspect", "--format", "{{.Size}}", tag], f"{tag} is not there"))
        said, where = verify.by_engine(program, tag), program
    else:
        archive = local(arguments, tag)
        size, said, where = layers(archive), verify.by_buildah(Store(), REGISTRY + tag), archive
    print(f"'{said}' starts in it; its scheduler serves as user {debian.USER} on a read-only root file system")
    print(f"{tag}: {size / 1e6:.1f} MB (limit {LIMIT / 1e6:.0f}), in {where}")
    if size >= LIMIT:
        raise Problem(f"the image has {size} bytes, and at most {LIMIT} are allowed")


def main(argv: Optional[List[str]] = None) -> int:
    return ended(lambda: make(parser().parse_args(argv)))
