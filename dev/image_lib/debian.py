"""Root file systems made of Debian's packages, unpacked and not installed: no script of a package is run.

The packages are those of the release that this machine has, so that a binary linked here finds its C library there.
apt checks what it fetches; what was fetched stays in .dev/downloads/debs and is checked by its sum before it is used again.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import List
from urllib.parse import unquote

from shared_lib.program import Problem, dev_dir, run

# What the binary links (ldd): the C library and the compiler's own; and whom to trust behind TLS.
BASE = ["libc6", "libgcc-s1", "gcc-12-base", "ca-certificates"]
# Of those, what a program needs at run time. Left out: character sets, locales, tools, manuals, and libraries for what a
# server does not do: vector mathematics for compilers, NIS, the debugging of memory and threads.
KEPT = re.compile(
    r"/(ld-linux[^/]*|lib(c|m|dl|rt|pthread|util|resolv|anl|gcc_s|stdc\+\+|nss_(files|dns)))\.so(\.[^/]*)?$"
    r"|/usr/share/doc/[^/]+/copyright$|/usr/share/ca-certificates/"
)
USER, USER_NAME = 65532, "nonroot"


@dataclass(frozen=True)
class Package:
    file: str
    sha256: str  # "" where apt names a weaker sum: then it is fetched anew

    @property
    def exact(self) -> str:
        name, version, _ = self.file.split("_")
        return f"{name}={unquote(version)}"

    def whole(self) -> bool:
        path = debs() / self.file
        return path.is_file() and bool(self.sha256) and hashlib.sha256(path.read_bytes()).hexdigest() == self.sha256


def debs() -> Path:
    return dev_dir() / "downloads/debs"


def parse(uris: str) -> List[Package]:
    """What `apt-get --print-uris` lists, a line each: 'address' file size kind:sum."""
    found = re.findall(r"(?m)^'[^']*' (\S+\.deb) \d+(?: SHA256:([0-9a-f]{64}))?", uris)
    return [Package(*one) for one in sorted(found)]


def exactly(names: List[str], *options: str) -> List[Package]:
    """These packages and no others."""
    failure = f"apt-get does not know {' '.join(names[:8])}; run 'apt-get update' once (or this with --install)"
    packages = parse(run(["apt-get", "-qq", "--print-uris", *(options or ["download"]), *names], failure))
    if not packages:
        raise Problem(failure)
    return packages


def closure(names: List[str]) -> List[Package]:
    """These packages and all that they need, on a system that has nothing."""
    with tempfile.NamedTemporaryFile() as nothing:
        status = f"Dir::State::status={nothing.name}"
        every = exactly(names, "--yes", "--no-install-recommends", "-o", status, "install")
    # `install` names weaker sums than `download` does.
    return exactly([package.exact for package in every])


def fetch(packages: List[Package]) -> List[Path]:
    debs().mkdir(parents=True, exist_ok=True)
    missing = [package for package in packages if not package.whole()]
    for package in missing:
        (debs() / package.file).unlink(missing_ok=True)
    if missing:
        print(f"fetching {len(missing)} packages with apt-get", flush=True)
        # apt's own user cannot write into a folder of root's: it says so at length and goes on.
        command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *(package.exact for package in missing)]
        run(command, "apt-get cannot fetch", debs())
    for package in packages:
        if not package.whole():
            raise Problem(f"apt-get brought no whole {package.file} into {debs()}")
    return [debs() / package.file for package in packages]


def root(packages: List[Package], folder: Path) -> Path:
    """A root file system of these packages in `folder`, as on a system where /bin and /lib are links into /usr."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (folder / "usr" / name).mkdir(parents=True)
        (folder / name).symlink_to(f"usr/{name}")
    for deb in fetch(packages):
        take = 'dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2"'
        run(["bash", "-o", "pipefail", "-c", take, "bash", str(deb), str(folder)], f"{deb} cannot be unpacked")
    return folder


def prune(root: Path) -> None:
    """Leaves what KEPT says, and no empty folder."""
    for folder, folders, files in os.walk(root, topdown=False):
        for path in (Path(folder) / name for name in files):
            if not KEPT.search("/" + str(path.relative_to(root))):
                path.unlink()
        for path in (Path(folder) / name for name in folders):
            if not path.is_symlink() and not any(path.iterdir()):
                path.rmdir()


def populate(root: Path, packages: List[Package]) -> None:
    """What packages make when they are installed, as far as a server without a shell needs it."""
    certificates, etc = root / "usr/share/ca-certificates", root / "etc"
    if certificates.is_dir():
        bundle = etc / "ssl/certs/ca-certificates.crt"
        bundle.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_text("".join(path.read_text() for path in sorted(certificates.rglob("*.crt"))))
        shutil.rmtree(certificates)
    # The places where a runtime mounts: it cannot make them where the root file system is read-only.
    for name in ("etc", "proc", "sys", "dev", "run", "tmp", f"home/{USER_NAME}", "var/lib/dpkg/status.d"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("passwd", f"root:x:0:0:root:/root:/sbin/nologin\n{USER_NAME}:x:{USER}:{USER}:{USER_NAME}:/home/{USER_NAME}:/sbin/nologin\n"),
        ("group", f"root:x:0:\n{USER_NAME}:x:{USER}:\n"),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
        ("os-release", Path("/etc/os-release").read_text()),
    ):  # fmt: skip
        (etc / name).write_text(text)
    (root / "tmp").chmod(0o1777)
    (root / "home" / USER_NAME).chmod(0o700)
    os.chown(root / "home" / USER_NAME, USER, USER)
    # As distroless images have it: what lists the parts of an image finds the packages here.
    for package in packages:
        control = run(["dpkg-deb", "--field", str(debs() / package.file)], f"{package.file} cannot be read")
        (root / "var/lib/dpkg/status.d" / package.file.split("_")[0]).write_text(control)
