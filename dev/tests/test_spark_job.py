"""The Spark job on a real Spark and a real MongoDB. Only where `dev/spark fetch` has been: it is 320 MB."""

import json
import os
import shlex
import subprocess
import sys
import unittest

from fakes import ROOT
from spark_cases import DOCUMENTS, EXPECTED

from peers_lib.spark import SPARK, version
from services_lib import mongodb, servers
from shared_lib.program import Problem


def left_out(why):
    print(f"\nNOT TESTED: the Spark job: {why}", file=sys.stderr)
    raise unittest.SkipTest(why)


class TestJob(unittest.TestCase):
    def setUp(self):
        if not SPARK.is_there():
            left_out("Spark is not there; `dev/spark fetch` gets it")
        try:
            SPARK.check()
            servers.drivers()
        except Problem as problem:
            left_out(str(problem))
        uri = os.environ.get("FIRESTEEL_MONGODB_URI")
        if not uri:
            left_out("FIRESTEEL_MONGODB_URI names no MongoDB")
        self.client = mongodb.connect(mongodb.parsed(uri)["nodelist"][0], 10)
        self.addCleanup(self.client.close)
        if "@" in uri or mongodb.parsed(uri)["options"].get("tls"):
            left_out("this test writes without a login and without TLS, and FIRESTEEL_MONGODB_URI has one of them")
        self.database = f"firesteel_test_spark_{os.getpid()}"
        self.addCleanup(self.client.drop_database, self.database)
        self.client[self.database].predictions.insert_many([dict(document) for document in DOCUMENTS])

    def run_job(self, command, *arguments, lines="", **environ):
        return subprocess.run(
            [*command, str(ROOT / "benches/spark/mapreduce.py"), *arguments],
            env={
                **os.environ,
                "SPARK_HOME": str(SPARK.home()),
                "PYSPARK_PYTHON": sys.executable,
                "FIRESTEEL_MONGODB_DATABASE": self.database,
                **environ,
            },
            input=lines,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def options(self):
        jars = ",".join(str(jar) for jar in SPARK.connector().glob("*.jar"))
        return ["--master", "local[2]", "--conf", "spark.ui.enabled=false", "--jars", jars]

    def test_all_jobs_count_what_is_there(self):
        submit = str(SPARK.home() / "bin/spark-submit")
        done = self.run_job([submit, *self.options()], "--job", "all", "--repeat", "2")
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        found = json.loads(done.stdout.splitlines()[-1])
        self.assertGreater(found["totals"].pop("job_seconds"), 0)
        self.assertEqual({name: found[name] for name in EXPECTED}, EXPECTED)
        self.assertEqual({job: len(runs) for job, runs in found["timings"]["runs"].items()},
                         {"rdd": 2, "dataframe": 2, "classes": 2, "report": 2})  # fmt: skip
        self.assertEqual((found["spark"]["version"], found["spark"]["cores"]), (version(), 2))

    def test_a_warm_session_answers_line_by_line(self):
        submitted = shlex.join([*self.options(), "pyspark-shell"])
        lines = f"report\nrdd {self.database}\nrdd {self.database}_none\nsql\n"
        done = self.run_job([sys.executable, "-B"], "--serve", lines=lines, PYSPARK_SUBMIT_ARGS=submitted)
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        ready, report, rdd, none, wrong = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual((ready["ready"], ready["spark"]["cores"]), (True, 2))
        self.assertEqual(report["totals"].pop("job_seconds"), report.pop("seconds"))
        self.assertEqual(report, EXPECTED)
        self.assertEqual((rdd["producers"], none["producers"]), (EXPECTED["producers"], []))
        self.assertIn("'sql' is not JOB", wrong["error"])


if __name__ == "__main__":
    unittest.main()
