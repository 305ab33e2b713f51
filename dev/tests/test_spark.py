"""Tests of the Spark programs that need no Spark: arguments, settings, and how counts become the report."""

import argparse
import contextlib
import datetime
import decimal
import io
import os
import unittest
from unittest import mock

import spark_cases
from fakes import InFolder

job = spark_cases.module("mapreduce")
tpch = spark_cases.module("tpch")


class TestArguments(unittest.TestCase):
    def test_defaults(self):
        found = job.parse([])
        self.assertEqual((found.job, found.repeat, found.partition_mb), ("all", 1, 16))

    def test_what_is_wrong_is_wrong_usage(self):
        wrong = [["--job", "sql"], ["--repeat", "0"], ["--repeat", "-1"], ["--repeat", "x"], ["--partition-mb", "1.5"]]
        for arguments in (*wrong, ["--uri", "mongodb://me:pw@h"]):
            with self.subTest(arguments), self.assertRaises(SystemExit) as caught:
                with contextlib.redirect_stderr(io.StringIO()):
                    job.parse(arguments)
            self.assertEqual(caught.exception.code, 2)

    def test_settings(self):
        self.assertEqual(
            job.connection({"FIRESTEEL_MONGODB_URI": "mongodb://h", "FIRESTEEL_MONGODB_DATABASE": "d"}),
            {"connection.uri": "mongodb://h", "database": "d", "collection": "predictions"},
        )
        found = job.connection({"FIRESTEEL_MONGODB_URI": ""})
        self.assertEqual((found["connection.uri"], found["database"]), ("mongodb://localhost:27017", "firesteel"))

    def test_a_served_session_is_not_submitted(self):
        with mock.patch.dict(os.environ, {"PYSPARK_GATEWAY_PORT": "1"}), self.assertRaises(SystemExit):
            with contextlib.redirect_stderr(io.StringIO()) as said:
                job.parse(["--serve"])
        self.assertIn("spark-submit does not hand on: run it with $PYSPARK_PYTHON", said.getvalue())

    def test_lines_of_a_served_session(self):
        seen = []

        def classes(session, source):
            seen.append((session, source))
            return {"classes": []}

        with mock.patch.object(job, "classes", classes):
            for line in ("classes", "classes other"):
                found = job.answer("session", {"database": "d", "x": 1}, line)
                self.assertGreaterEqual(found.pop("seconds"), 0)
                self.assertEqual(found, {"classes": []})
        self.assertEqual(seen, [("session", {"database": "d", "x": 1}), ("session", {"database": "other", "x": 1})])
        for line in ("", "all", "classes a b", "main"):
            with self.subTest(line), self.assertRaisesRegex(job.Unclear, "is not JOB or JOB DATABASE, where JOB is one of rdd,"):
                job.answer("session", {}, line)

    def test_the_queries_of_tpch(self):
        self.assertEqual(tpch.selection("1, 22"), ("q01", "q22"))
        for text in ("0", "23", "q01", "", "1,,2"):
            with self.subTest(text), self.assertRaises(argparse.ArgumentTypeError):
                tpch.selection(text)
        found = tpch.parse(["--tables", "/tables"])
        self.assertEqual(len(found.only), 22)
        for name in found.only:
            self.assertTrue((found.queries / f"{name}.sql").is_file(), name)


class TestReport(unittest.TestCase):
    """The same cases as those of the engine's own report."""

    ROWS = [
        ("bb", "dog", 5, 10, 10, 2_000, 9_000),
        ("aa", "dog", 3, 30, 30, 1_000, 8_000),
        ("aa", "cat", 7, 70, 70, 1_500, 11_000),
    ]

    def test_both_tables_are_sorted_and_agree(self):
        found = job.report_of(self.ROWS)
        self.assertEqual(
            found["producers"],
            [
                {"producer_id": "aa", "wrong_inference_count": 10, "total_inferences": 100, "error_rate": 10.0},
                {"producer_id": "bb", "wrong_inference_count": 5, "total_inferences": 10, "error_rate": 50.0},
            ],
        )
        self.assertEqual(
            found["classes"],
            [
                {"class": "cat", "total": 70, "correct": 63, "accuracy": 90.0},
                {"class": "dog", "total": 40, "correct": 32, "accuracy": 80.0},
            ],
        )
        self.assertEqual(
            found["totals"],
            {
                "images": 110,
                "accuracy": 100.0 * 95 / 110,
                "average_error_rate": 30.0,
                "producers": 2,
                "images_per_second_per_producer": 5.5,
                "ingest_seconds": 10.0,
            },
        )

    def test_nothing_divides_by_zero(self):
        found = job.report_of([])
        self.assertEqual((found["producers"], found["classes"]), ([], []))
        self.assertEqual(set(found["totals"].values()), {0})
        instant = job.report_of([("aa", "cat", 0, 1, 1, 5, 5)])["totals"]
        self.assertEqual((instant["images_per_second_per_producer"], instant["accuracy"]), (0.0, 100.0))

    def test_what_lacks_its_key_or_its_times_is_counted(self):
        found = job.report_of([(None, None, 2, 2, 2, None, None), ("unknown", "cat", 0, 1, 1, None, None)])
        self.assertEqual(
            found["producers"],
            [{"producer_id": "unknown", "wrong_inference_count": 2, "total_inferences": 3, "error_rate": 100.0 * 2 / 3}],
        )
        self.assertEqual([row["class"] for row in found["classes"]], ["cat", "unknown"])
        self.assertEqual(found["totals"]["ingest_seconds"], 0.0)

    def test_unlabelled_images_are_counted_apart_and_change_no_rate(self):
        before = job.report_of(self.ROWS)
        unlabelled = [("aa", None, 0, 0, 3, 1_500, 2_000), ("bb", "bird", 0, 0, 2, None, None), ("cc", None, 0, 0, 7, None, None)]
        after = job.report_of(self.ROWS + unlabelled)
        self.assertEqual(after["classes"], before["classes"])
        for rate in ("accuracy", "average_error_rate"):
            self.assertEqual(after["totals"][rate], before["totals"][rate])
        self.assertEqual([row["unlabelled"] for row in after["producers"]], [3, 2, 7])
        self.assertEqual((after["totals"]["images"], after["totals"]["unlabelled"]), (122, 12))
        self.assertNotIn("unlabelled", before["totals"])

    def test_an_empty_key_is_a_key(self):
        self.assertEqual(job.merged([("", 1, 1, 2), (None, 0, 1, 1)]), [("", 1, 1, 2), ("unknown", 0, 1, 1)])

    def test_nothing_is_rounded(self):
        # 9137 of 9945, with the digits that `firesteel report` prints; and the mean, where the order of additions shows.
        self.assertEqual(job.percent(9137, 9945), 91.8753142282554)
        producers = job.producers_table([(name, 1, 10, 10) for name in "abcdefghij"])
        for row in producers:
            row["error_rate"] = 0.1
        self.assertEqual(job.totals_of(producers, None, None)["average_error_rate"], 0.09999999999999999)

    def test_map_and_reduce(self):
        self.assertEqual(job.pair(("aa", True)), ("aa", (0, 1, 1)))
        self.assertEqual(job.pair(("aa", False)), ("aa", (1, 1, 1)))
        self.assertEqual(job.pair((None, None)), (None, (0, 0, 1)))  # nobody says whether it is correct
        self.assertEqual(job.add((1, 2, 3), (3, 4, 5)), (4, 6, 8))

    def test_jobs_that_disagree(self):
        done = {}
        job.merge(done, {"producers": [1]}, "run 1 of rdd")
        job.merge(done, {"producers": [1], "classes": [2]}, "run 1 of report")
        self.assertEqual(done, {"producers": [1], "classes": [2]})
        with self.assertRaisesRegex(job.Disagreement, "run 2 of rdd counted other producers"):
            job.merge(done, {"producers": [3]}, "run 2 of rdd")

    def test_a_complaint_is_the_cause_and_holds_no_password(self):
        trace = (
            "An error occurred while calling o1.collect.\n: org.apache.spark.SparkException: Job aborted\n\tat x\n"
            "Caused by: com.mongodb.MongoTimeoutException: no mongodb://me:hunter2@h/x\n\tat y"
        )
        self.assertEqual(
            job.complaint(Exception(trace)), "com.mongodb.MongoTimeoutException: no mongodb://***@h/x"
        )
        self.assertEqual(job.complaint(Exception("An error occurred.\n: java.lang.E: why\n\tat x")), "java.lang.E: why")
        self.assertEqual(job.complaint(ValueError()), "ValueError")


class TestTpch(InFolder):
    def test_no_digit_is_lost(self):
        values = [decimal.Decimal("1.10"), datetime.date(1998, 12, 1), 1, 0.1, "x", None]
        self.assertEqual([tpch.plain(value) for value in values], ["1.10", "1998-12-01", 1, 0.1, "x", None])

    def test_tables_are_files_or_folders(self):
        (self.folder / "part.parquet").touch()
        (self.folder / "orders").mkdir()
        self.assertEqual(tpch.table_path(self.folder, "part"), str(self.folder / "part.parquet"))
        self.assertEqual(tpch.table_path(self.folder, "orders"), str(self.folder / "orders"))
        with contextlib.redirect_stderr(io.StringIO()) as said:
            self.assertEqual(tpch.main(["--tables", str(self.folder)]), 1)
        self.assertIn("error: there is no customer.parquet in", said.getvalue())


if __name__ == "__main__":
    unittest.main()
