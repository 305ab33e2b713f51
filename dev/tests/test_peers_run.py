"""The programs of benches/peers on the real engines. Only where `dev/peers fetch` has been: it is 800 MB."""

import json
import subprocess
import sys
import unittest

from fakes import ROOT, InFolder
from spark_cases import DOCUMENTS, EXPECTED, PEERS

from peers_lib import peers

# The columns and types of an export of `predictions`.
EXPORT = """
import json, sys, pyarrow as pa, pyarrow.parquet as parquet
millis = pa.timestamp("ms", "UTC")
kinds = {"_id": pa.string(), "producer_id": pa.string(), "sequence": pa.int64(), "label": pa.string(), "correct": pa.bool_()}
kinds.update(predicted=pa.string(), confidence=pa.float64(), model=pa.string(), produced_at=millis, inferred_at=millis)
kinds.update({name: getattr(pa, sys.argv[2])() for name in ("producer_id", "label")})
rows = json.load(sys.stdin)
columns = {
    name: pa.array([row.get(name) for row in rows], pa.int64() if kind == millis else kind).cast(kind)
    for name, kind in kinds.items()
}
parquet.write_table(pa.table(columns), sys.argv[1])
"""


def plain(document):
    return {name: value.timestamp() * 1000 if name.endswith("_at") else value for name, value in document.items()}


class TestRun(InFolder):
    def python(self, name):
        self.use_what_is_there()
        if not peers.SETS[name].is_there():
            why = f"{peers.SETS[name].title} are not there; `dev/peers fetch {name}` gets them"
            print(f"\nNOT TESTED: the comparison with them: {why}", file=sys.stderr)
            raise unittest.SkipTest(why)
        return str(peers.SETS[name].python())

    def run_it(self, command, lines):
        done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_all_engines_count_what_is_there(self):
        python = self.python("query")
        files = {kind: self.folder / f"it's {kind}.parquet" for kind in ("string", "large_string", "string_view")}
        for kind, file in files.items():
            self.run_it([python, "-c", EXPORT, str(file), kind], json.dumps([plain(document) for document in DOCUMENTS]))
        (self.folder / "text.parquet").write_text("no such thing")
        lines = "".join(f"report {file}\n" for file in (*files.values(), self.folder / "text.parquet"))
        for engine in ("duckdb", "polars", "datafusion"):
            with self.subTest(engine):
                command = [python, str(PEERS / "report.py"), "--engine", engine, "--threads", "2", "--serve"]
                ready, *answers, wrong = self.run_it(command, lines)
                self.assertEqual((ready["engine"]["name"], ready["engine"]["threads"]), (engine, 2))
                self.assertEqual(len(answers), len(files))
                for found in answers:
                    self.assertEqual(found["totals"].pop("job_seconds"), found.pop("seconds"))
                    self.assertEqual(found, EXPECTED)
                self.assertEqual(list(wrong), ["error"])

    def test_pytorch_runs_without_cuda(self):
        command = [self.python("inference"), str(PEERS / "inference.py"), "--variants", "torch-fp32", "--serve"]
        ready, found = self.run_it(command, "torch-fp32 2 0.001\n")
        self.assertEqual(ready["variants"], ["torch-fp32"])
        self.assertEqual((found["batch"], found["images"] % 2), (2, 0))


if __name__ == "__main__":
    unittest.main()
