"""Tests of the programs in benches/peers that need no engine: arguments, and how a parent drives them."""

import argparse
import contextlib
import io
import json
import sys
import types
import unittest
from unittest import mock

import spark_cases
from fakes import InFolder
from spark_cases import EXPECTED, PEERS, served

report = spark_cases.module("report", PEERS)
inference = spark_cases.module("inference", PEERS)

# DOCUMENTS as an engine groups them: (producer_id, label, wrong, labelled, total, first_produced, last_inferred).
ROWS = [
    ("bb", "dog", 0, 1, 1, 500, 1_000),
    ("aa", "cat", 1, 1, 1, 0, 900),
    ("aa", "dog", 0, 1, 2, 100, 3_000),
    ("bb", None, 0, 0, 1, 200, 300),
    (None, None, 0, 1, 1, None, None),
]


def said_by(main, *arguments):
    """(exit code, errors) of a program whose arguments may be wrong."""
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(list(arguments))
        except SystemExit as exit:
            code = exit.code
    return code, said.getvalue()


class TestReport(InFolder):
    def setUp(self):
        super().setUp()
        self.rows = mock.Mock(return_value=ROWS)
        engines = mock.patch.dict(report.ENGINES, {"duckdb": lambda threads: ("1.2", self.rows)})
        engines.start()
        self.addCleanup(engines.stop)
        self.file = self.folder / "my predictions.parquet"
        self.file.touch()

    def test_arguments(self):
        for arguments in (
            ["--engine", "duckdb"],
            ["--engine", "duckdb", "--parquet", "x", "--serve"],
            ["--engine", "spark", "--serve"],
            ["--engine", "duckdb", "--serve", "--threads", "0"],
        ):
            with self.subTest(arguments):
                self.assertEqual(said_by(report.main, *arguments)[0], 2)
        self.assertGreaterEqual(report.parse(["--engine", "polars", "--serve"]).threads, 1)

    def test_one_line_with_all_runs(self):
        arguments = ["--engine", "duckdb", "--parquet", str(self.file), "--repeat", "3", "--threads", "2"]
        code, (found,) = served(report.main, arguments, "")
        self.assertEqual(code, 0)
        self.assertEqual(found["totals"].pop("job_seconds"), found["timings"]["runs"][-1])
        self.assertEqual({name: found[name] for name in EXPECTED}, EXPECTED)
        self.assertEqual(len(found["timings"]["runs"]), 3)
        self.assertEqual(found["engine"], {"name": "duckdb", "version": "1.2", "threads": 2})
        self.rows.assert_called_with(str(self.file))

    def test_runs_that_disagree(self):
        self.rows.side_effect = [ROWS, ROWS[1:]]
        code, said = said_by(report.main, "--engine", "duckdb", "--parquet", str(self.file), "--repeat", "2")
        self.assertEqual(code, 1)
        self.assertRegex(said, "^error: run 2 counted other producers than what ran before it")

    def test_what_is_not_there(self):
        code, said = said_by(report.main, "--engine", "duckdb", "--parquet", str(self.folder / "x"))
        self.assertEqual(code, 1)
        self.assertRegex(said, "^error: there is no .*/x: an export of the collection `predictions`\n$")
        with mock.patch.dict(report.ENGINES, {"duckdb": mock.Mock(side_effect=ImportError("No module named 'duckdb'"))}):
            code, said = said_by(report.main, "--engine", "duckdb", "--serve")
        self.assertEqual(code, 1)
        self.assertIn("No module named 'duckdb': run this with the Python that `dev/peers env query` names", said)

    def test_served(self):
        self.rows.side_effect = [ROWS, RuntimeError("no magic bytes"), ROWS]
        line = f"report {self.file}\n"
        lines = f"{line}{line}\nreport\nclasses x\nreport {self.folder}/x\n{line.strip()}"
        code, (ready, *answers) = served(report.main, ["--engine", "duckdb", "--serve"], lines)
        self.assertEqual((code, ready["ready"], ready["engine"]["name"]), (0, True, "duckdb"))
        self.assertEqual(len(answers), 7)
        for found in (answers[0], answers[6]):
            self.assertEqual(found["totals"].pop("job_seconds"), found.pop("seconds"))
            self.assertEqual(found, EXPECTED)
        errors = ["no magic bytes", *(f"'{line}' is not `report FILE`" for line in ("", "report", "classes x"))]
        self.assertEqual([found.get("error") for found in answers[1:5]], errors)
        self.assertIn("there is no ", answers[5]["error"])


class Logits(list):
    """As much of an array as `accuracy` and `measured` take."""

    def __eq__(self, other):
        return Logits(a == b for a, b in zip(self, other))

    def __getitem__(self, what):
        return Logits(list.__getitem__(self, what)) if isinstance(what, slice) else list.__getitem__(self, what)

    def argmax(self, _):
        return self

    def sum(self):
        return sum(list(self))


class TestInference(unittest.TestCase):
    PIXELS = Logits(range(20))

    def serve(self, lines, *arguments, told=None):
        models = {"torch-fp32": lambda pixels: pixels, "onnx-int8": mock.Mock(side_effect=RuntimeError("no memory"))}
        built = mock.Mock(return_value=(models, self.PIXELS, self.PIXELS, told or {"variants": list(models)}))
        with mock.patch.object(inference, "built", built):
            return served(inference.main, list(arguments), lines)

    def test_arguments(self):
        for arguments in (
            ["--variants", "torch-fp64"],
            ["--batches", "0"],
            ["--batches", "1,,2"],
            ["--batches", "5000"],
            ["--seconds", "0"],
            ["--seconds", "nan"],
            ["--threads", "-1"],
            ["--rounds", "x"],
        ):
            with self.subTest(arguments):
                self.assertEqual(said_by(inference.main, *arguments)[0], 2)
        found = inference.parse(["--variants", "onnx-int8, torch-bf16", "--batches", "1,256"])
        self.assertEqual((found.variants, found.batches), (("onnx-int8", "torch-bf16"), (1, 256)))
        self.assertTrue(found.weights.is_file() and found.images.is_file())

    def test_served(self):
        lines = "torch-fp32 4 0.001\nonnx-int8 1 1\ntorch-fp32 21 1\ntorch-fp32 4\nx 1 1\ntorch-fp32 0 1\ntorch-fp32 1 inf\n"
        code, (ready, found, *errors) = self.serve(lines, "--serve")
        self.assertEqual((code, ready["ready"], ready["variants"]), (0, True, ["torch-fp32", "onnx-int8"]))
        self.assertEqual((found["variant"], found["batch"], found["images"] % 4), ("torch-fp32", 4, 0))
        self.assertGreaterEqual(found["seconds"], 0.001)
        for error, expected in zip(
            errors,
            (
                "no memory",
                "a batch of 21 needs as many images, and there are 20",
                "'torch-fp32 4' is not VARIANT BATCH SECONDS",
                "'x' is none of torch-fp32, onnx-int8",
                "'0' is not a batch size, 1 to 4096",
                "'inf' is not a number of seconds, above 0 and up to 3600",
            ),
        ):
            self.assertEqual(error, {"error": expected})
        self.assertEqual(len(errors), 6)

    def test_batches_walk_through_the_images(self):
        seen = []
        clock = mock.Mock(side_effect=[0.0, 0.4, 0.8, 1.2])
        with mock.patch.object(inference.time, "monotonic", clock):
            self.assertEqual(inference.measured(lambda pixels: seen.append(list(pixels)), self.PIXELS, 8, 1.0), (24, 1.2))
        first, second = list(range(8)), list(range(8, 16))
        self.assertEqual(seen, [first, second, first] + [first, second, first])  # three before the clock starts

    def test_rates_take_turns(self):
        options = argparse.Namespace(batches=(1, 4), rounds=3, seconds=1.0)
        order = []

        def measured(logits, pixels, size, wanted):
            order.append((logits, size))
            return size * len(order), 1.0

        with mock.patch.object(inference, "measured", measured):
            found = inference.rates({"a": "A", "b": "B"}, self.PIXELS, options)
        self.assertEqual(order, [("A", 1), ("B", 1), ("A", 4), ("B", 4)] * 3)
        self.assertEqual(found[0], {"variant": "a", "batch": 1, "images_per_second": 5.0, "rounds": [1.0, 5.0, 9.0]})

    def test_accuracy(self):
        labels = Logits([0] * 5 + list(range(5, 20)))
        self.assertEqual(inference.accuracy(lambda pixels: pixels, self.PIXELS, labels, 8), 100.0 * 16 / 20)

    def test_the_exporter_does_not_speak_to_the_parent(self):
        def built(_):
            print("exporting")
            return {}, self.PIXELS, self.PIXELS, {}

        with mock.patch.object(inference, "built", built), contextlib.redirect_stderr(io.StringIO()) as said:
            code, found = served(inference.main, ["--serve"], "")
        self.assertEqual((code, len(found), said.getvalue()), (0, 1, "exporting\n"))

    def test_what_is_not_there(self):
        nothing = {name: None for name in ("torch", "onnxruntime")}
        with mock.patch.dict(sys.modules, nothing):
            code, said = said_by(inference.main)
        self.assertEqual(code, 1)
        self.assertIn("run this with the Python that `dev/peers env inference` names", said)
        fakes = {"torch": mock.Mock(__version__="1"), "onnxruntime": mock.Mock(__version__="1")}
        fakes.update({name: types.ModuleType(name) for name in ("numpy", "pyarrow", "pyarrow.parquet", "PIL", "PIL.Image")})
        fakes["pyarrow"].parquet, fakes["PIL"].Image = fakes["pyarrow.parquet"], fakes["PIL.Image"]
        with mock.patch.dict(sys.modules, fakes):
            code, said = said_by(inference.main, "--images", "none.parquet")
        self.assertEqual((code, said), (1, "error: there is no none.parquet: images as Parquet, with columns jpeg and label\n"))


class TestLines(unittest.TestCase):
    def test_each_line_is_flushed(self):
        out = mock.Mock()
        with mock.patch.object(sys, "stdout", out), mock.patch.object(sys, "stdin", io.StringIO("a\n")):
            report.shared.serve({}, lambda line: {"line": line})
        calls = [call for call in out.method_calls if call[0] == "flush"]
        self.assertEqual(len(calls), 2)
        written = "".join(call.args[0] for call in out.method_calls if call[0] == "write")
        self.assertEqual([json.loads(line) for line in written.splitlines()], [{"ready": True}, {"line": "a"}])


if __name__ == "__main__":
    unittest.main()
