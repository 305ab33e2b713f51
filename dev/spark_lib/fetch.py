"""Spark from PySpark's package and the connector's jars from Maven, pinned by checksum, each in a folder of `.dev/spark`.

A folder is there only when it is whole. The package is unpacked and not installed: nothing is built, and no other Python
environment changes. Unpacked it has the layout of Spark's own distribution, so it is a SPARK_HOME.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import Dict, List, Optional

from services_lib.fetch import beside, count, damaged_jar, digest, find_java, find_pip, run_client, size
from services_lib.process import say
from services_lib.settings import Problem

HERE = Path(__file__).resolve().parent
# Where the folders of the package go; what is not named stays out (examples, data).
LAYOUT = {"deps/bin": "bin", "deps/sbin": "sbin", "deps/jars": "jars", "deps/licenses": "licenses"}
LAYOUT.update({"lib": "python/lib", "pyspark": "python/pyspark"})


def version() -> str:
    match = re.search(r"^pyspark==(\S+)", (HERE / "requirements.txt").read_text(), re.M)
    if not match:
        raise Problem("dev/spark_lib/requirements.txt names no pyspark")
    return match[1]


def check_java() -> str:
    return find_java("Spark 3.5", 8, 17)


def home(dev_dir: Path) -> Path:
    """SPARK_HOME, whether it is there or not."""
    return dev_dir / "spark" / f"spark-{version()}-{digest(HERE / 'requirements.txt')}"


def connector(dev_dir: Path) -> Path:
    """The folder of the connector's jars, whether it is there or not."""
    return dev_dir / "spark" / f"connector-{digest(HERE / 'pom.xml')}"


def sums() -> Dict[str, str]:
    """The checksum of each jar, by name."""
    lines = [line.split() for line in (HERE / "jars.sha256").read_text().splitlines()]
    return {name: checksum for checksum, name in lines}


def differing(folder: Path, wanted: Dict[str, str]) -> Optional[str]:
    """The first jar in `folder` that is missing, not wanted or not what it should be."""
    there = {path.name: path for path in folder.glob("*.jar")}
    for name in sorted(wanted.keys() | there.keys()):
        if name not in there or hashlib.sha256(there[name].read_bytes()).hexdigest() != wanted.get(name):
            return name
    return None


def is_there(dev_dir: Path) -> bool:
    return (home(dev_dir) / "bin/spark-submit").is_file() and differing(connector(dev_dir), sums()) is None


def fetch(dev_dir: Path) -> None:
    if not (home(dev_dir) / "bin/spark-submit").is_file():
        _spark(dev_dir)
    if differing(connector(dev_dir), sums()):
        _connector(dev_dir)


def _spark(dev_dir: Path) -> None:
    pip = find_pip("Spark")
    quiet = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--progress-bar", "off"]
    log = dev_dir / "logs/spark-fetch.log"
    say("spark", f"fetching Spark {version()} through pip (317 MB, once)")
    with beside(home(dev_dir)) as temporary:
        environ = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(temporary / "build")}

        def client(arguments: List[str]) -> None:
            progress = lambda: f"{size(temporary) / 1e6:.0f} MB so far"  # noqa: E731
            run_client("spark", pip + arguments, log, progress, f"pip could not fetch Spark {version()}", environ)

        client(
            ["install", *quiet, "--no-compile", "--root-user-action=ignore", "--only-binary", ":all:"]
            + ["--target", str(temporary / "build"), "-r", str(HERE / "build-requirements.txt")]
        )
        client(
            ["download", *quiet, "--no-build-isolation", "-d", str(temporary)]
            + ["-r", str(HERE / "requirements.txt")]
        )
        archives = list(temporary.glob("pyspark-*.tar.gz"))
        if len(archives) != 1:
            raise Problem(f"pip brought {len(archives)} archives instead of one: see {log}")
        say("spark", "unpacking")
        unpack(archives[0], temporary / "home")
        if damaged_jar(temporary / "home/jars") or not (temporary / "home/bin/spark-submit").is_file():
            raise Problem(f"Spark {version()} did not come whole: run this again")
        shutil.rmtree(home(dev_dir), ignore_errors=True)
        os.rename(temporary / "home", home(dev_dir))


def unpack(archive: Path, target: Path) -> None:
    """The files of the package, each where Spark's own distribution has it."""
    with tarfile.open(archive) as package:
        for member in package:
            place = placed(member.name)
            source = package.extractfile(member) if place and member.isfile() else None
            if not source:
                continue
            path = target / place
            path.parent.mkdir(parents=True, exist_ok=True)
            with source, open(path, "wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
            os.chmod(path, 0o755 if member.mode & 0o100 else 0o644)


def placed(name: str) -> Optional[str]:
    """Where a file of the package belongs, None where nowhere."""
    inner = PurePosixPath(*PurePosixPath(name).parts[1:])
    for source, target in LAYOUT.items():
        if PurePosixPath(source) in inner.parents and ".." not in inner.parts:
            return str(PurePosixPath(target) / inner.relative_to(source))
    return None


def _connector(dev_dir: Path) -> None:
    mvn = shutil.which("mvn")
    if not mvn:
        raise Problem(
            "the MongoDB connector comes through Maven, and there is no mvn on the PATH: "
            "install it (Debian, Ubuntu: maven)"
        )
    log = dev_dir / "logs/spark-connector-fetch.log"
    say("spark", "fetching the MongoDB connector through Maven (3 MB, once)")
    with beside(connector(dev_dir)) as temporary:
        run_client(
            "spark",
            # With -C, a checksum of the registry that does not fit ends it.
            [mvn, "-B", "-C", "-U", "-f", str(HERE / "pom.xml")]
            + ["org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies"]
            + [f"-DoutputDirectory={temporary}", "-DincludeScope=runtime"],
            log,
            lambda: f"{count(log, b'Downloaded from ')} files so far",
            "Maven could not fetch the MongoDB connector",
        )
        wrong = differing(temporary, sums())
        if wrong:
            raise Problem(
                f"{wrong} from Maven is not what dev/spark_lib/jars.sha256 says: "
                "delete it in Maven's local repository and run this again"
            )
        shutil.rmtree(connector(dev_dir), ignore_errors=True)
        os.rename(temporary, connector(dev_dir))
