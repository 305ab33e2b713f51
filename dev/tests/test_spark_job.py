"""The Spark job on a real Spark and a real MongoDB. Only where `dev/spark fetch` has been: it is 320 MB."""

import json
import os
import subprocess
import sys
import unittest
from datetime import datetime, timedelta, timezone

from fakes import ROOT

from services_lib.mongodb_wire import command
from services_lib.settings import MongodbUri, Problem, Settings
from spark_lib import fetch

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def prediction(number, **fields):
    return {"_id": f"x:{number}", **fields}


def times(produced, inferred):
    return {"produced_at": START + timedelta(milliseconds=produced), "inferred_at": START + timedelta(milliseconds=inferred)}


# Two of them lack something; what they lack may not be guessed.
DOCUMENTS = [
    prediction(1, producer_id="bb", label="dog", correct=True, **times(500, 1_000)),
    prediction(2, producer_id="aa", label="cat", correct=False, **times(0, 900)),
    prediction(3, producer_id="aa", label="dog", correct=True, **times(100, 3_000)),
    prediction(4, producer_id="aa", label="dog"),
    prediction(5, correct=True, predicted="dog"),
]
EXPECTED = {
    "producers": [
        {"producer_id": "aa", "wrong_inference_count": 2, "total_inferences": 3, "error_rate": 200.0 / 3},
        {"producer_id": "bb", "wrong_inference_count": 0, "total_inferences": 1, "error_rate": 0.0},
        {"producer_id": "unknown", "wrong_inference_count": 0, "total_inferences": 1, "error_rate": 0.0},
    ],
    "classes": [
        {"class": "cat", "total": 1, "correct": 0, "accuracy": 0.0},
        {"class": "dog", "total": 3, "correct": 2, "accuracy": 200.0 / 3},
        {"class": "unknown", "total": 1, "correct": 1, "accuracy": 100.0},
    ],
    "totals": {
        "images": 5,
        "accuracy": 60.0,
        "average_error_rate": 200.0 / 3 / 3,
        "producers": 3,
        "images_per_second_per_producer": 5 / 9.0,
        "ingest_seconds": 3.0,
    },
}


def left_out(why):
    print(f"\nNOT TESTED: the Spark job: {why}", file=sys.stderr)
    raise unittest.SkipTest(why)


class TestJob(unittest.TestCase):
    def setUp(self):
        settings = Settings.read(os.environ, ROOT)
        if not fetch.is_there(settings.dev_dir):
            left_out("Spark is not there; `dev/spark fetch` gets it")
        try:
            fetch.check_java()
        except Problem as problem:
            left_out(str(problem))
        if not settings.mongodb_uri:
            left_out("FIRESTEEL_MONGODB_URI names no MongoDB")
        if "@" in settings.mongodb_uri or MongodbUri.parse(settings.mongodb_uri).tls:
            left_out("this test writes without a login and without TLS, and FIRESTEEL_MONGODB_URI has one of them")
        self.dev_dir = settings.dev_dir
        self.address = MongodbUri.parse(settings.mongodb_uri).addresses[0]
        self.database = f"firesteel_test_spark_{os.getpid()}"
        self.addCleanup(self.mongodb, {"dropDatabase": 1})
        self.mongodb({"insert": "predictions", "documents": DOCUMENTS})

    def mongodb(self, document):
        return command(self.address, {**document, "$db": self.database}, 10)

    def submit(self, *arguments):
        jars = ",".join(str(jar) for jar in fetch.connector(self.dev_dir).glob("*.jar"))
        spark = fetch.home(self.dev_dir)
        return subprocess.run(
            [str(spark / "bin/spark-submit"), "--master", "local[2]", "--conf", "spark.ui.enabled=false", "--jars", jars]
            + [str(ROOT / "benches/spark/mapreduce.py"), *arguments],
            env={
                **os.environ,
                "SPARK_HOME": str(spark),
                "PYSPARK_PYTHON": sys.executable,
                "FIRESTEEL_MONGODB_DATABASE": self.database,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def test_all_jobs_count_what_is_there(self):
        done = self.submit("--job", "all", "--repeat", "2")
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        found = json.loads(done.stdout.splitlines()[-1])
        self.assertGreater(found["totals"].pop("job_seconds"), 0)
        self.assertEqual({name: found[name] for name in EXPECTED}, EXPECTED)
        self.assertEqual({job: len(runs) for job, runs in found["timings"]["runs"].items()},
                         {"rdd": 2, "dataframe": 2, "classes": 2, "report": 2})  # fmt: skip
        self.assertEqual((found["spark"]["version"], found["spark"]["cores"]), (fetch.version(), 2))


if __name__ == "__main__":
    unittest.main()
