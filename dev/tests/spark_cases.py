"""What the tests of the comparisons share: their programs as modules, which need nothing until they run, and a report."""

import contextlib
import importlib.util
import io
import json
import sys
from datetime import datetime, timedelta, timezone
from unittest import mock

from fakes import ROOT

SPARK, PEERS = ROOT / "benches/spark", ROOT / "benches/peers"
sys.path += [str(SPARK), str(PEERS)]  # as for programs that are started there
START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def prediction(number, **fields):
    return {"_id": f"x:{number}", **fields}


def times(produced, inferred):
    return {"produced_at": START + timedelta(milliseconds=produced), "inferred_at": START + timedelta(milliseconds=inferred)}


# Three of them lack something; what they lack may not be guessed. Nobody says whether the fourth and the sixth are right.
DOCUMENTS = [
    prediction(1, producer_id="bb", label="dog", correct=True, **times(500, 1_000)),
    prediction(2, producer_id="aa", label="cat", correct=False, **times(0, 900)),
    prediction(3, producer_id="aa", label="dog", correct=True, **times(100, 3_000)),
    prediction(4, producer_id="aa", label="dog"),
    prediction(5, correct=True, predicted="dog"),
    prediction(6, producer_id="bb", label=None, correct=None, predicted="dog", **times(200, 300)),
]
EXPECTED = {
    "producers": [
        {"producer_id": "aa", "wrong_inference_count": 1, "total_inferences": 2, "error_rate": 50.0, "unlabelled": 1},
        {"producer_id": "bb", "wrong_inference_count": 0, "total_inferences": 1, "error_rate": 0.0, "unlabelled": 1},
        {"producer_id": "unknown", "wrong_inference_count": 0, "total_inferences": 1, "error_rate": 0.0},
    ],
    "classes": [
        {"class": "cat", "total": 1, "correct": 0, "accuracy": 0.0},
        {"class": "dog", "total": 2, "correct": 2, "accuracy": 100.0},
        {"class": "unknown", "total": 1, "correct": 1, "accuracy": 100.0},
    ],
    "totals": {
        "images": 6,
        "accuracy": 75.0,
        "average_error_rate": 50.0 / 3,
        "producers": 3,
        "images_per_second_per_producer": 6 / 9.0,
        "ingest_seconds": 3.0,
        "unlabelled": 2,
    },
}


def module(name, folder=SPARK):
    spec = importlib.util.spec_from_file_location(f"benches_{folder.name}_{name}", folder / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(found)
    finally:
        sys.dont_write_bytecode = before
    return found


def served(main, arguments, lines):
    """(exit code, what was printed as JSON) of a program that is driven by these lines, in this process."""
    with contextlib.redirect_stdout(io.StringIO()) as out, mock.patch.object(sys, "stdin", io.StringIO(lines)):
        code = main(arguments)
    return code, [json.loads(line) for line in out.getvalue().splitlines()]
