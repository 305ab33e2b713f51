"""What the tests of the Spark side share: its programs as modules. They need no Spark until they run."""

import importlib.util
import sys

from fakes import ROOT

SPARK = ROOT / "benches/spark"


def module(name):
    spec = importlib.util.spec_from_file_location(f"benches_spark_{name}", SPARK / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(found)
    finally:
        sys.dont_write_bytecode = before
    return found
