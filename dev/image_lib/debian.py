"""Root file systems made of Debian's packages, unpacked and not installed: no script of a package is run.

The packages are those of the release that this machine has, so that a binary linked here finds its C library there.
apt checks what it fetches; what was fetched stays in a folder and is checked by its sum before it is used again.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import List
from urllib.parse import unquote

from .problem import Problem, run

# What the binary links (ldd): the C library and the compiler's own; and whom to trust behind TLS.
BASE = ["libc6", "libgcc-s1", "gcc-12-base", "ca-certificates"]
# Of those, what a program needs at run time. Left out: character sets, locales, tools, manuals, and libraries for what a
# server does not do: vector mathematics for compilers, NIS, the debugging of memory and threads.
KEPT = re.compile(
    r"/(ld-linux[^/]*|lib(c|m|dl|rt|pthread|util|resolv|anl|gcc_s|stdc\+\+|nss_(files|dns)))\.so(\.[^/]*)?$"
    r"|/usr/share/doc/[^/]+/copyright$|/usr/share/ca-certificates/"
)
USER = 65532
USER_NAME = "nonroot"


@dataclass(frozen=True)
class Package:
    file: str
    sha256: str  # "" where apt names a weaker sum: then it is fetched anew

    @property
    def name(self) -> str:
        return self.file.split("_")[0]

    @property
    def version(self) -> str:
        return unquote(self.file.split("_")[1])


def parse(uris: str) -> List[Package]:
    """What `apt-get --print-uris` lists, a line each: 'address' file size kind:sum."""
    found = []
    for line in uris.splitlines():
        match = re.match(r"'[^']*' (\S+\.deb) \d+(?: SHA256:([0-9a-f]{64}))?", line)
        if match:
            found.append(Package(match[1], match[2] or ""))
    return sorted(found, key=lambda package: package.file)


def exactly(names: List[str]) -> List[Package]:
    """These packages and no others."""
    return _listed(["download", *names], names)


def closure(names: List[str]) -> List[Package]:
    """These packages and all that they need, on a system that has nothing."""
    with tempfile.NamedTemporaryFile() as nothing:
        every = _listed(
            ["--yes", "--no-install-recommends", "-o", f"Dir::State::status={nothing.name}", "install", *names], names
        )
    # `install` names weaker sums than `download` does.
    return exactly([f"{package.name}={package.version}" for package in every])


def _listed(arguments: List[str], names: List[str]) -> List[Package]:
    failure = f"apt-get does not know {' '.join(names[:8])}; run 'apt-get update' once (or this with --install)"
    packages = parse(run(["apt-get", "-qq", "--print-uris", *arguments], failure))
    if not packages:
        raise Problem(failure)
    return packages


def fetch(packages: List[Package], folder: Path) -> List[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    missing = [package for package in packages if not _whole(folder / package.file, package.sha256)]
    if missing:
        print(f"fetching {len(missing)} packages with apt-get", flush=True)
        for package in missing:
            (folder / package.file).unlink(missing_ok=True)
        # apt's own user cannot write into a folder of root's: it says so at length and goes on.
        wanted = [f"{package.name}={package.version}" for package in missing]
        run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *wanted], "apt-get cannot fetch", folder)
    for package in packages:
        if not _whole(folder / package.file, package.sha256):
            raise Problem(f"apt-get brought no whole {package.file} into {folder}")
    return [folder / package.file for package in packages]


def _whole(path: Path, sha256: str) -> bool:
    return path.is_file() and bool(sha256) and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def unpack(debs: List[Path], root: Path) -> None:
    """All of them, as on a system where /bin and /lib are links into /usr."""
    root.mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for deb in debs:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as source:
            taken = subprocess.run(
                ["tar", "-x", "--keep-directory-symlink", "-C", str(root)], stdin=source.stdout, capture_output=True, text=True
            )
        if source.returncode or taken.returncode:
            raise Problem(f"{deb} cannot be unpacked: {taken.stderr.strip()[:300]}")


def prune(root: Path) -> None:
    """Leaves what KEPT says, and no empty folder."""
    for folder, folders, files in os.walk(root, topdown=False):
        for name in files:
            path = Path(folder) / name
            if not KEPT.search("/" + str(path.relative_to(root))):
                path.unlink()
        for name in folders:
            path = Path(folder) / name
            if not path.is_symlink() and not any(path.iterdir()):
                path.rmdir()


def furnish(root: Path, debs: List[Path]) -> None:
    """What packages make when they are installed, as far as a server without a shell needs it."""
    certificates = root / "usr/share/ca-certificates"
    if certificates.is_dir():
        bundle = root / "etc/ssl/certs/ca-certificates.crt"
        bundle.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_text("".join(path.read_text() for path in sorted(certificates.rglob("*.crt"))))
        shutil.rmtree(certificates)
    etc = root / "etc"
    etc.mkdir(exist_ok=True)
    (etc / "passwd").write_text(
        f"root:x:0:0:root:/root:/sbin/nologin\n{USER_NAME}:x:{USER}:{USER}:{USER_NAME}:/home/{USER_NAME}:/sbin/nologin\n"
    )
    (etc / "group").write_text(f"root:x:0:\n{USER_NAME}:x:{USER}:\n")
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    shutil.copy("/etc/os-release", etc / "os-release")
    # The places where a runtime mounts: it cannot make them where the root file system is read-only.
    for name in ("proc", "sys", "dev", "run"):
        (root / name).mkdir(exist_ok=True)
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    home = root / "home" / USER_NAME
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    os.chown(home, USER, USER)
    # As distroless images have it: what lists the parts of an image finds the packages here.
    status = root / "var/lib/dpkg/status.d"
    status.mkdir(parents=True, exist_ok=True)
    for deb in debs:
        control = run(["dpkg-deb", "--field", str(deb)], f"{deb} cannot be read")
        (status / deb.name.split("_")[0]).write_text(control)
