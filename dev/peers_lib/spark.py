"""Spark from PySpark's package and the connector's jars from Maven, pinned by checksum, each in a folder of `.dev/spark`.

The package is unpacked and not installed: nothing is built, and no other Python environment changes. Unpacked it has the
layout of Spark's own distribution, so it is a SPARK_HOME.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tarfile
from pathlib import Path, PurePosixPath
from typing import Dict, Optional

from shared_lib import fetch
from shared_lib.program import Problem, dev_dir, say

HERE = Path(__file__).resolve().parent
REQUIREMENTS, BUILD, POM, SUMS = (HERE / f"spark{end}" for end in (".txt", "-build.txt", ".pom.xml", ".jars.sha256"))
# Where the folders of the package go; what is not named stays out (examples, data).
LAYOUT = {"deps/bin": "bin", "deps/sbin": "sbin", "deps/jars": "jars", "deps/licenses": "licenses"}
LAYOUT.update({"lib": "python/lib", "pyspark": "python/pyspark"})


def version() -> str:
    match = re.search(r"^pyspark==(\S+)", REQUIREMENTS.read_text(), re.M)
    if not match:
        raise Problem("dev/peers_lib/spark.txt names no pyspark")
    return match[1]


def sums() -> Dict[str, str]:
    """The checksum of each of the connector's jars, by name."""
    return fetch.pinned(SUMS)


class Spark:
    name, title, runs = "spark", f"Spark {version()}", "PySpark 3.5"
    # What the jobs were run on. PySpark carries a pickler of its own, which knows Python's insides only up to some version.
    pythons = ((3, 9), (3, 13))

    def home(self) -> Path:
        """SPARK_HOME, whether it is there or not."""
        return dev_dir() / "spark" / f"spark-{version()}-{fetch.digest(REQUIREMENTS)}"

    def connector(self) -> Path:
        """The folder of the connector's jars, whether it is there or not."""
        return dev_dir() / "spark" / f"connector-{fetch.digest(POM)}"

    def check(self) -> None:
        fetch.find_java("Spark 3.5", 8, 17)

    def is_there(self) -> bool:
        return (self.home() / "bin/spark-submit").is_file() and fetch.differing(self.connector(), sums()) is None

    def values(self) -> Dict[str, str]:
        jars = ",".join(str(self.connector() / name) for name in sorted(sums()))
        # The driver and its workers have to be the same Python, and spark-submit takes any python3.
        return {"SPARK_HOME": str(self.home()), "PYSPARK_PYTHON": sys.executable, "FIRESTEEL_BENCH_SPARK_JARS": jars}

    def fetch(self) -> None:
        if not (self.home() / "bin/spark-submit").is_file():
            say("spark", f"fetching {self.title} through pip (317 MB, once)")
            with fetch.whole(self.home()) as home:
                made, archives = home / "build", home / "archives"
                # What pip runs to read the package's own description.
                fetch.pip("spark", self.title, BUILD, made, "install", *fetch.WHEELS)
                fetch.pip("spark", self.title, REQUIREMENTS, archives, "download", "--no-build-isolation", path=made)
                [archive] = archives.glob("pyspark-*.tar.gz")
                say("spark", "unpacking")
                unpack(archive, home)
                shutil.rmtree(made)
                shutil.rmtree(archives)
                if fetch.differing(home / "jars") or not (home / "bin/spark-submit").is_file():
                    raise Problem(f"{self.title} did not come whole: run this again")
        fetch.maven("spark", "the MongoDB connector (3 MB)", POM, self.connector(), sums())


SPARK = Spark()


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
