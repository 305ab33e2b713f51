"""The command line: fetch, env."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import List, Optional

from services_lib.fetch import check_python
from services_lib.process import ended, export, only_one, say
from services_lib.settings import Problem, Settings

from . import fetch

ROOT = Path(__file__).resolve().parents[2]
# What the jobs were run on. PySpark carries a pickler of its own, which knows Python's insides only up to some version.
PYTHON = ("PySpark 3.5", "dev/spark", (3, 9), (3, 13))

ABOUT = """\
Gets Spark 3.5 and MongoDB's connector for it, which the comparison of Firesteel with Spark runs.

`fetch` brings Spark through pip and the connector through Maven, pinned by checksum, once, into .dev/spark.
It needs Java 8 to 17, mvn and pip.
"""

EXAMPLES = """\
settings (environment):
  FIRESTEEL_DEV_DIR  where everything is kept (.dev)
  JAVA_HOME          the Java to use, where the one on the PATH will not do

example:
  dev/spark fetch
  eval "$(dev/spark env)"
  "$SPARK_HOME/bin/spark-submit" --master 'local[2]' --jars "$FIRESTEEL_BENCH_SPARK_JARS" benches/spark/mapreduce.py
"""


def main(arguments: Optional[List[str]] = None) -> int:
    options = _parser().parse_args(arguments)
    return ended(lambda: options.run(Settings.read(os.environ, ROOT).dev_dir), "nothing half fetched is left")


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="dev/spark", description=ABOUT, epilog=EXAMPLES, formatter_class=raw)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, run, text in (
        ("fetch", fetch_all, "fetch what is not there yet, and say where it is"),
        ("env", env, 'print export lines for a shell: eval "$(dev/spark env)"'),
    ):
        sub = commands.add_parser(name, help=text, description=text, epilog=EXAMPLES, formatter_class=raw)
        sub.set_defaults(run=run)
    return parser


def fetch_all(dev_dir: Path) -> int:
    fetch.check_java()
    check_python(*PYTHON)
    with only_one(dev_dir / "run/spark-lock", "spark"):
        fetch.fetch(dev_dir)
    say("spark", f"Spark {fetch.version()} is in {fetch.home(dev_dir)}")
    return 0


def env(dev_dir: Path) -> int:
    fetch.check_java()
    check_python(*PYTHON)
    if not fetch.is_there(dev_dir):
        raise Problem("Spark is not there, or not whole: run `dev/spark fetch` first")
    jars = [str(fetch.connector(dev_dir) / name) for name in sorted(fetch.sums())]
    export(
        {
            "SPARK_HOME": str(fetch.home(dev_dir)),
            # The driver and its workers have to be the same Python, and spark-submit takes any python3.
            "PYSPARK_PYTHON": sys.executable,
            "FIRESTEEL_BENCH_SPARK_JARS": ",".join(jars),
        }
    )
    return 0
