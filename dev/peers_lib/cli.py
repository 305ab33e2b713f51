"""The command line of `dev/peers` and `dev/spark`: fetch, env."""

from __future__ import annotations

import argparse
import os
import sys
from typing import List, Optional

from shared_lib.fetch import check_python
from shared_lib.program import Problem, ended, export, only_one, say

from . import peers, spark

PEERS = """\
Gets what Firesteel is compared with, for the programs in benches/peers.

  query      DuckDB, Polars and DataFusion
  inference  PyTorch and ONNX Runtime, for the CPU

`fetch` installs a set (both, where none is named) through pip, pinned by checksum, once, into a virtual environment of its
own in .dev/peers. It needs Linux, Python 3.11 to 3.14 and pip; the set `inference` also a C compiler.
"""
SPARK = """\
Gets Spark 3.5 and MongoDB's connector for it, which the comparison of Firesteel with Spark runs.

`fetch` brings Spark through pip and the connector through Maven, pinned by checksum, once, into .dev/spark.
It needs Java 8 to 17, mvn and pip.
"""
EXAMPLES = """\
settings (environment):
  FIRESTEEL_DEV_DIR  where everything is kept (.dev)
  JAVA_HOME          for Spark: the Java to use, where the one on the PATH will not do

examples:
  dev/peers fetch query
  eval "$(dev/peers env query)"
  "$FIRESTEEL_BENCH_PEERS_PYTHON" benches/peers/report.py --engine duckdb --parquet predictions.parquet

  dev/spark fetch
  eval "$(dev/spark env)"
  "$SPARK_HOME/bin/spark-submit" --master 'local[2]' --jars "$FIRESTEEL_BENCH_SPARK_JARS" benches/spark/mapreduce.py
"""


def main(arguments: Optional[List[str]] = None, program: Optional[str] = None) -> int:
    program = program or os.path.basename(sys.argv[0])
    about, sets = (SPARK, {"spark": spark.SPARK}) if program == "spark" else (PEERS, peers.SETS)
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=f"dev/{program}", description=about, epilog=EXAMPLES, formatter_class=raw)
    parser.add_argument("command", choices=["fetch", "env"], help='fetch what is not there; or print: eval "$(dev/... env)"')
    if program != "spark":
        parser.add_argument("set", nargs="?", choices=list(sets), help="one of them; both without it")
    options = parser.parse_args(arguments)

    def run() -> None:
        named = getattr(options, "set", None)
        chosen = [sets[named]] if named else list(sets.values())
        for one in chosen:
            one.check()
            check_python(one.runs, f"dev/{program}", *one.pythons)
        if options.command == "fetch":
            with only_one(program):
                for one in chosen:
                    one.fetch()
                    say(program, f"{one.title} are in {one.home()}" if program == "peers" else f"{one.title} is in {one.home()}")
            return
        for one in chosen:
            if not one.is_there():
                what = "is not there, or not whole" if program == "spark" else "are not there"
                raise Problem(f"{one.title} {what}: run `dev/{program} fetch{'' if program == 'spark' else f' {one.name}'}` first")
        for one in chosen:
            export(one.values())

    return ended(run, "nothing half fetched is left")
