"""The command line: fetch, env."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import List, Optional

from services_lib.fetch import check_python
from services_lib.process import ended, export, only_one, say
from services_lib.settings import Problem, Settings

from . import fetch

ROOT = Path(__file__).resolve().parents[2]

ABOUT = """\
Gets what Firesteel is compared with, for the programs in benches/peers.

  query      DuckDB, Polars and DataFusion
  inference  PyTorch and ONNX Runtime, for the CPU

`fetch` installs a set (both, where none is named) through pip, pinned by checksum, once, into a virtual environment of its
own in .dev/peers. It needs Linux, Python 3.11 to 3.14 and pip; the set `inference` also a C compiler.
"""

EXAMPLES = """\
settings (environment):
  FIRESTEEL_DEV_DIR  where everything is kept (.dev)

example:
  dev/peers fetch query
  eval "$(dev/peers env query)"
  "$FIRESTEEL_BENCH_PEERS_PYTHON" benches/peers/report.py --engine duckdb --parquet predictions.parquet
"""


def main(arguments: Optional[List[str]] = None) -> int:
    options = _parser().parse_args(arguments)

    def run() -> int:
        chosen = [fetch.SETS[options.set]] if options.set else list(fetch.SETS.values())
        check_python("what Firesteel is compared with", "dev/peers", *fetch.PYTHONS)
        return options.run(Settings.read(os.environ, ROOT).dev_dir, chosen)

    return ended(run, "nothing half fetched is left")


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="dev/peers", description=ABOUT, epilog=EXAMPLES, formatter_class=raw)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, run, text in (
        ("fetch", fetch_all, "fetch what is not there yet, and say where it is"),
        ("env", env, 'print export lines for a shell: eval "$(dev/peers env)"'),
    ):
        sub = commands.add_parser(name, help=text, description=text, epilog=EXAMPLES, formatter_class=raw)
        sub.add_argument("set", nargs="?", choices=list(fetch.SETS), help="one of them; both without it")
        sub.set_defaults(run=run)
    return parser


def fetch_all(dev_dir: Path, chosen: List[fetch.Peers]) -> int:
    with only_one(dev_dir / "run/peers-lock", "peers"):
        for peers in chosen:
            fetch.fetch(dev_dir, peers)
            say("peers", f"{peers.title} are in {fetch.home(dev_dir, peers)}")
    return 0


def env(dev_dir: Path, chosen: List[fetch.Peers]) -> int:
    for peers in chosen:
        if not fetch.is_there(dev_dir, peers):
            raise Problem(f"{peers.title} are not there: run `dev/peers fetch {peers.name}` first")
    export({peers.setting: str(fetch.python(dev_dir, peers)) for peers in chosen})
    return 0
