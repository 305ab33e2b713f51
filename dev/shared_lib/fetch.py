"""Gets packages through pip's and Maven's ordinary clients, once, pinned by hash or version, and never leaves half of them behind.

Everything is made in a temporary folder beside its place, and renamed when it is whole and checked.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple

from .program import POLL, Problem, dev_dir, say

STALLED = 180.0  # seconds in which nothing at all arrived


def digest(*parts: "Path | str") -> str:
    """Twelve digits that change with these files and texts."""
    texts = [part.read_bytes() if isinstance(part, Path) else part.encode() for part in parts]
    return hashlib.sha256(b"\n".join(texts)).hexdigest()[:12]


@contextmanager
def whole(home: Path) -> Iterator[Path]:
    """A temporary folder that becomes `home` at the end, unless what makes it fails."""
    home.parent.mkdir(parents=True, exist_ok=True)
    for left in home.parent.glob("tmp-*"):  # of a run that was killed
        if time.time() - left.stat().st_mtime > 3600:
            shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix="tmp-", dir=home.parent))
    temporary.chmod(0o755)
    try:
        yield temporary
        shutil.rmtree(home, ignore_errors=True)
        os.rename(temporary, home)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def find_pip(what: str) -> List[str]:
    """pip as a command: this Python's own, else the one on the PATH."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")
    if not found:
        raise Problem(f"{what} comes through pip, and there is no pip: install it (Debian, Ubuntu: python3-pip)")
    return [found]


def pip(
    who: str, what: str, requirements: Path, target: Path, mode: str = "install", *options: str, path: Optional[Path] = None
) -> None:
    """Installs or downloads what `requirements` pins by hash into the folder `target`. `path`: for what pip itself runs."""
    quiet = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--progress-bar", "off"]
    # The pip on the PATH may be that of another Python.
    quiet += ["--python-version", "%d.%d" % sys.version_info[:2], "--implementation", "cp"] if ":all:" in options else []
    quiet += ["--root-user-action=ignore", "--target"] if mode == "install" else ["--dest"]
    command = [*find_pip(what), mode, *quiet, str(target), *options, "--requirement", str(requirements)]
    with tempfile.TemporaryDirectory(prefix="tmp-", dir=target.parent) as scratch:
        so_far = lambda: f"{(size(Path(scratch)) + size(target)) / 1e6:.0f} MB so far"  # noqa: E731
        client(who, what, command, so_far, {"TMPDIR": scratch, **({"PYTHONPATH": str(path)} if path else {})})


WHEELS = ("--only-binary", ":all:")


def packages(who: str, what: str, requirements: Path) -> Path:
    """A folder of .dev/downloads for PYTHONPATH, with the wheels that `requirements` pins. Fetched where it is not there."""
    name = requirements.name.split(".")[0]
    home = dev_dir() / "downloads" / f"{name}-py{sys.version_info[0]}{sys.version_info[1]}-{digest(requirements)}"
    if not home.is_dir():
        say(who, f"fetching {what} through pip (once)")
        with whole(home) as temporary:
            pip(who, what, requirements, temporary, "install", *WHEELS)
    if str(home) not in sys.path:
        # Before what the system has: what is pinned is what runs. Behind the folder of the program itself.
        sys.path.insert(1, str(home))
    return home


def pinned(path: Path) -> Dict[str, str]:
    """The checksum of each file that `path` lists as `sha256sum` does, by name."""
    return {name: checksum for checksum, name in (line.split() for line in path.read_text().splitlines())}


def maven(who: str, what: str, pom: Path, home: Path, sums: Optional[Dict[str, str]] = None) -> Path:
    """`home`, with the jars of `pom`: whole, and where there are `sums`, those and no others."""
    if home.is_dir():
        wrong = differing(home, sums)
        if not wrong:
            return home
        say(who, f"{wrong} is damaged: fetching again")
        shutil.rmtree(home)
    mvn = shutil.which("mvn")
    if not mvn:
        raise Problem(f"{what} comes through Maven, and there is no mvn on the PATH: install it (Debian, Ubuntu: maven)")
    say(who, f"fetching {what} through Maven (once)")
    with whole(home) as temporary:
        # With -C, a checksum of the registry that does not fit ends it.
        goal = "org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies"
        command = [mvn, "-B", "-C", "-U", "-f", str(pom), goal, f"-DoutputDirectory={temporary}", "-DincludeScope=runtime"]
        client(who, what, command, lambda: f"{len(list(temporary.glob('*')))} files so far")
        wrong = differing(temporary, sums)
        if wrong or not any(temporary.iterdir()):
            raise Problem(f"Maven gave a damaged {wrong}: delete it in Maven's local repository and run this again")
    return home


def differing(folder: Path, sums: Optional[Dict[str, str]] = None) -> Optional[str]:
    """The first jar in `folder` that is no jar; where there are `sums`, that is missing, not wanted or another one."""
    there = {path.name: path for path in folder.glob("*.jar")}
    if sums is None:
        return next((name for name, path in sorted(there.items()) if not zipfile.is_zipfile(path)), None)
    for name in sorted(sums.keys() | there.keys()):
        if name not in there or hashlib.sha256(there[name].read_bytes()).hexdigest() != sums.get(name):
            return name
    return None


def client(who: str, what: str, command: List[str], progress: Callable[[], str], environ: Optional[Dict[str, str]] = None) -> None:
    """Runs a client with its output in a log. It never outlives this call, whatever ends it."""
    name = "Maven" if command[0].endswith("mvn") else "pip"
    log = dev_dir() / f"logs/{who}-{name.lower()}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env={**os.environ, **(environ or {})}, start_new_session=True,
        )
    started = moved = time.monotonic()
    state, next_word = "", 3.0
    try:
        while child.poll() is None:
            now = time.monotonic()
            seen = f"{progress()} {log.stat().st_size}"
            if seen != state:
                state, moved = seen, now
            if now - moved > STALLED:
                raise Problem(f"{name} could not fetch {what}: nothing arrived for {STALLED:.0f} s; see {log}")
            if now - started > next_word:
                say(who, f"still fetching after {now - started:.0f} s: {progress()}")
                next_word += 5.0
            time.sleep(POLL)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if child.returncode:
        words = complaint(log.read_text(errors="replace"))
        raise Problem(f"{name} could not fetch {what} (is the registry within reach?): {words}; the whole log is {log}")


def complaint(words: str) -> str:
    """The first error that Maven or pip names: their last lines are advice."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in words.splitlines()]
    errors = [line for line in lines if re.match(r"\[?ERROR\b", line)]
    line = (errors or [line for line in lines if line] or ["it said nothing"])[0]
    return re.sub(r"^\[?ERROR[\]:]*\s*", "", line)[:500]


def size(folder: Path) -> int:
    total = 0
    for path, _, names in os.walk(folder):  # it goes on where a folder vanishes meanwhile, which `rglob` does not
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except OSError:
                continue  # pip moved it meanwhile
    return total


def find_java(who: str = "Kafka", lowest: int = 17, highest: Optional[int] = None) -> str:
    """A Java runtime that `who` can run on, by default Kafka 4, looked for where Java's own tools look."""
    wanted = f"Java {lowest} to {highest}" if highest else f"Java {lowest} or newer"
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(os.path.join(home, "bin", "java")) if home else shutil.which("java")
    if not java:
        where = f"under JAVA_HOME ({home})" if home else "on the PATH"
        raise Problem(f"{who} needs {wanted}, and there is no java {where}: install a JDK (Debian, Ubuntu: openjdk-17-jdk-headless)")
    try:
        words = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL).stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Problem(f"{java} -version does not answer: {error}") from error
    major = java_major(words)
    if major is None or major < lowest or (highest and major > highest):
        what = "its version cannot be told" if major is None else f"it is Java {major}"
        raise Problem(f"{who} needs {wanted}; {java} is not ({what}): install a JDK, or point JAVA_HOME at one")
    return java


def java_major(words: str) -> Optional[int]:
    match = re.search(r'version "(?:1\.)?(\d+)', words)
    return int(match[1]) if match else None


def check_python(who: str, program: str, lowest: Tuple[int, int], highest: Tuple[int, int]) -> None:
    """That `who` runs on this Python; one that came out after it was pinned may lack packages or break it."""
    found = sys.version_info[:2]
    if not lowest <= found <= highest:
        words = ["%d.%d" % version for version in (lowest, highest, found)]
        raise Problem(
            f"{who} runs on Python {words[0]} to {words[1]}, and this is {words[2]}: run `pythonX.Y {program}` with one that fits"
        )
