"""The reference job on Spark 3.5: wrong inferences by producer and accuracy by class, over the predictions in MongoDB.

    eval "$(dev/spark env)"
    "$SPARK_HOME/bin/spark-submit" --master 'local[2]' --jars "$FIRESTEEL_BENCH_SPARK_JARS" \\
        benches/spark/mapreduce.py --job all

It prints one line of JSON with the names of `firesteel report --format json`, and `timings` in seconds: of the start of
the session, and of each run of each job. Jobs, each of which reads the collection once:
  rdd        map to (producer_id, (wrong, labelled, 1)) and reduceByKey, in Python
  dataframe  the same as a DataFrame aggregation, which runs in the JVM
  classes    accuracy by class, as a DataFrame aggregation
  report     both tables and the totals in one pass: exactly the work of `firesteel report`
  all        these four in turn; where two of them, or two runs, count differently, the program fails

With --serve it is a warm session that a parent drives, which needs a standard input, and spark-submit gives none:
    PYSPARK_SUBMIT_ARGS="--master local[2] --jars $FIRESTEEL_BENCH_SPARK_JARS pyspark-shell" \\
        "$PYSPARK_PYTHON" benches/spark/mapreduce.py --serve
It prints {"ready": true, "session_seconds": ..., "spark": ...}; then for each line, `JOB` or `JOB DATABASE`, one line with
that job's tables and its "seconds", or {"error": ...}; the end of its input ends it.

Settings: FIRESTEEL_MONGODB_URI (which may hold a password, so it is no argument) and FIRESTEEL_MONGODB_DATABASE.

Tuning, beside what the code below says:
* `--driver-memory` stays at Spark's 1g: partitions are streamed, and two cores hold two of them at a time.
* `--conf spark.ui.enabled=false` spares a web server that nobody looks at.
* On Kubernetes the number of executors and their cores come with `--conf`, as in k8s/overlays/spark.
Spark reads without a snapshot: what is written during a run may be counted or not.
"""

import argparse
import glob
import json
import os
import platform
import re
import sys
import time

JOBS = ("rdd", "dataframe", "classes", "report")
# What stands for a producer or a class that a document lacks, as in Firesteel's own report.
UNKNOWN = "unknown"
# A quarter of the connector's own 64 MB, so that two cores have work each from about 100,000 documents on.
PARTITION_MB = 16


class Disagreement(Exception):
    """Two ways to count the same documents came to different results."""


class Unclear(Exception):
    """A line that asks for nothing that there is."""


def parse(arguments=None):
    about, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="mapreduce.py", description=about, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--job", choices=(*JOBS, "all"), default="all")
    number = {"type": positive, "metavar": "N"}
    parser.add_argument("--repeat", default=1, help="rounds in one session: those after the first are warm (1)", **number)
    parser.add_argument("--serve", action="store_true", help="run what the lines of standard input name")
    parser.add_argument("--partition-mb", default=PARTITION_MB, help=f"size of a partition ({PARTITION_MB})", **number)
    options = parser.parse_args(arguments)
    if options.serve and os.environ.get("PYSPARK_GATEWAY_PORT"):  # which spark-submit sets
        parser.error("--serve reads standard input, which spark-submit does not hand on: run it with $PYSPARK_PYTHON instead")
    return options


def positive(text):
    if not re.fullmatch(r"[0-9]{1,9}", text) or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def connection(environ):
    """The connector's options for the settings; empty ones are unset ones, as everywhere."""
    return {
        "connection.uri": environ.get("FIRESTEEL_MONGODB_URI") or "mongodb://localhost:27017",
        "database": environ.get("FIRESTEEL_MONGODB_DATABASE") or "firesteel",
        "collection": "predictions",
    }


# Tables. Counts are (key, wrong, labelled, total); a key may occur more than once. An image is unlabelled where `correct` is null
# or not there: nobody says whether its prediction is right. Such images are counted apart, and no rate depends on them.


def quotient(dividend, divisor):
    return dividend / divisor if divisor else 0.0


def percent(part, whole):
    return quotient(100.0 * part, whole)


def merged(counts):
    """One (key, wrong, labelled, total) a key, sorted, with a name for a key that is not there."""
    sums = {}
    for key, *numbers in counts:
        key = UNKNOWN if key is None else key
        before = sums.get(key, (0, 0, 0))
        sums[key] = tuple(a + (b or 0) for a, b in zip(before, numbers))
    return [(key, *sums[key]) for key in sorted(sums)]


def apart(unlabelled):
    """The count of unlabelled images, where there is any."""
    return {"unlabelled": unlabelled} if unlabelled else {}


def producers_table(counts):
    return [
        {
            "producer_id": producer,
            "wrong_inference_count": wrong,
            "total_inferences": labelled,
            "error_rate": percent(wrong, labelled),
            **apart(total - labelled),
        }
        for producer, wrong, labelled, total in merged(counts)
    ]


def classes_table(counts):
    return [
        {"class": label, "total": total, "correct": total - wrong, "accuracy": percent(total - wrong, total)}
        for label, wrong, total, _ in merged(counts)
        if total
    ]


def totals_of(producers, first_produced, last_inferred):
    """The totals; times in milliseconds, None where no document has one."""
    labelled = sum(row["total_inferences"] for row in producers)
    unlabelled = sum(row.get("unlabelled", 0) for row in producers)
    images = labelled + unlabelled
    wrong = sum(row["wrong_inference_count"] for row in producers)
    rated = [row["error_rate"] for row in producers if row["total_inferences"]]
    rates = 0.0
    for rate in rated:  # one after the other: Python's own `sum` compensates for rounding, and the report does not
        rates += rate
    ingest = 0.0
    if first_produced is not None and last_inferred is not None:
        ingest = max(last_inferred - first_produced, 0) / 1000.0
    return {
        "images": images,
        "accuracy": percent(labelled - wrong, labelled),
        "average_error_rate": quotient(rates, len(rated)),
        "producers": len(producers),
        "images_per_second_per_producer": quotient(images, ingest * len(producers)),
        "ingest_seconds": ingest,
        **apart(unlabelled),
    }


def report_of(rows):
    """Everything from rows (producer_id, label, wrong, labelled, total, first_produced, last_inferred)."""
    producers = producers_table([(row[0], row[2], row[3], row[4]) for row in rows])
    first = min((row[5] for row in rows if row[5] is not None), default=None)
    last = max((row[6] for row in rows if row[6] is not None), default=None)
    return {
        "producers": producers,
        "classes": classes_table([(row[1], row[2], row[3], row[4]) for row in rows]),
        "totals": totals_of(producers, first, last),
    }


def merge(report, found, who):
    """Adds tables to the report; those that are there already have to be the same."""
    for name, table in found.items():
        if report.setdefault(name, table) != table:
            raise Disagreement(f"{who} counted other {name} than what ran before it: is someone writing to the collection?")


# The jobs. What they need of pyspark is imported late, so that the tables can be tested without it.


def read(session, source, *fields):
    """The collection as a DataFrame of (name, type) fields.

    The schema is given: to infer it, the connector would read 1,000 documents first, and take a column that those lack for
    one that is not there. It asks MongoDB for these fields only; filtering and counting is Spark's part.
    """
    schema = ", ".join(f"{name} {kind}" for name, kind in fields)
    return session.read.format("mongodb").options(**source).schema(schema).load()


def pair(row):
    producer_id, correct = row  # by position: by name, Python would search for the column in each row
    return producer_id, (int(correct is False), int(correct is not None), 1)


def add(a, b):
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def rdd(session, source):
    predictions = read(session, source, ("producer_id", "STRING"), ("correct", "BOOLEAN")).rdd
    # As many reducers as cores: by default it would be one a partition, for a handful of keys.
    reduced = predictions.map(pair).reduceByKey(add, session.sparkContext.defaultParallelism)
    return {"producers": producers_table([(key, *counts) for key, counts in reduced.collect()])}


def counted():
    """Wrong, labelled and all images of a group. A null is not wrong: the condition is not met."""
    from pyspark.sql import functions as F

    return F.sum(F.when(~F.col("correct"), 1).otherwise(0)), F.count("correct"), F.count(F.lit(1))


def counts_by(session, source, key):
    predictions = read(session, source, (key, "STRING"), ("correct", "BOOLEAN"))
    return predictions.groupBy(key).agg(*counted()).collect()


def dataframe(session, source):
    return {"producers": producers_table(counts_by(session, source, "producer_id"))}


def classes(session, source):
    return {"classes": classes_table(counts_by(session, source, "label"))}


def report(session, source):
    from pyspark.sql import functions as F

    fields = [("producer_id", "STRING"), ("label", "STRING"), ("correct", "BOOLEAN")]
    fields += [("produced_at", "TIMESTAMP"), ("inferred_at", "TIMESTAMP")]
    rows = read(session, source, *fields).groupBy("producer_id", "label").agg(
        *counted(),
        F.unix_millis(F.min("produced_at")),
        F.unix_millis(F.max("inferred_at")),
    )
    return report_of(rows.collect())


def tune(session):
    """What can be set once the cores are known, and only where the user did not."""
    given = session.sparkContext.getConf()
    settings = {
        # As many reducers as cores; Spark's 200 are for a cluster.
        "spark.sql.shuffle.partitions": session.sparkContext.defaultParallelism,
        # Spark hides `url` in plans and in its UI, and the connector's option is called `uri`.
        "spark.sql.redaction.options.regex": "(?i)ur[il]",
    }
    for name, value in settings.items():
        if not given.contains(name):
            session.conf.set(name, value)


def run(session, source, jobs, repeat):
    """The merged report of all runs, and the seconds of each."""
    done, seconds = {}, {job: [] for job in jobs}
    for number in range(1, repeat + 1):
        for job in jobs:  # in turn, so that a slow spell of the machine meets all of them
            began = time.monotonic()
            found = globals()[job](session, source)
            seconds[job].append(time.monotonic() - began)
            merge(done, found, f"run {number} of {job}")
    return done, seconds


def serve(ready, answer):
    """Says that it is ready; then for each line of standard input, `answer` of it or an error; a line of JSON each."""
    print(json.dumps({"ready": True, **ready}), flush=True)
    for line in iter(sys.stdin.readline, ""):  # to iterate over the file itself would read ahead
        try:
            found = answer(line.strip())
        except Exception as error:  # what was asked for is wrong or failed, and the next may be right
            found = {"error": complaint(error)}
        print(json.dumps(found), flush=True)


def timed(count):
    """The tables that `count` gives, and its seconds, where `firesteel report` has them too."""
    began = time.monotonic()
    found = count()
    seconds = time.monotonic() - began
    if "totals" in found:
        found["totals"]["job_seconds"] = seconds
    return {**found, "seconds": seconds}


def answer(session, source, line):
    job, *database = line.split() or [""]
    if job not in JOBS or len(database) > 1:
        raise Unclear(f"{line!r} is not JOB or JOB DATABASE, where JOB is one of {', '.join(JOBS)}")
    place = {**source, "database": database[0]} if database else source
    return timed(lambda: globals()[job](session, place))


def find_spark():
    """Spark's own Python, which spark-submit puts on the path, found by SPARK_HOME where it did not."""
    home = os.environ.get("SPARK_HOME")
    if home and not os.environ.get("PYSPARK_GATEWAY_PORT"):
        sys.path[:0] = [os.path.join(home, "python"), *glob.glob(os.path.join(home, "python/lib/py4j-*.zip"))]


def complaint(error):
    """The cause in one line, without what may be a password."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if line.startswith("Caused by: ")]
    line = causes[-1][len("Caused by: ") :] if causes else next((line for line in lines if line.startswith(": ")), None)
    return re.sub(r"://\S*@", "://***@", (line or (lines or [type(error).__name__])[0]).lstrip(": "))[:500]


def main(arguments=None):
    options = parse(arguments)
    find_spark()
    began = time.monotonic()
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        print('error: there is no PySpark: set SPARK_HOME, as `eval "$(dev/spark env)"` does', file=sys.stderr)
        return 1
    session = SparkSession.builder.getOrCreate()
    started = time.monotonic() - began
    context = session.sparkContext
    context.setLogLevel("ERROR")
    tune(session)
    source = {**connection(os.environ), "partitioner.options.chunkSize": str(options.partition_mb)}
    # The connector's default from 10.5 on, named so that an older one does the same: it samples for the bounds, which
    # takes no time, where the paginating ones walk through the index.
    source["partitioner"] = "com.mongodb.spark.sql.connector.read.partitioner.AutoBucketPartitioner"
    spark = {
        "version": session.version,
        "master": context.master,
        "cores": context.defaultParallelism,
        "partition_mb": options.partition_mb,
        "python": platform.python_version(),
        "java": context._jvm.System.getProperty("java.version"),
    }
    if options.serve:
        serve({"session_seconds": started, "spark": spark}, lambda line: answer(session, source, line))
        session.stop()
        return 0
    try:
        done, seconds = run(session, source, JOBS if options.job == "all" else (options.job,), options.repeat)
    except Exception as error:
        print(f"error: {complaint(error)}", file=sys.stderr)
        return 1
    if "totals" in done:
        done["totals"]["job_seconds"] = seconds["report"][-1]
    done["timings"] = {"session_seconds": started, "runs": seconds}
    done["spark"] = spark
    print(json.dumps(done), flush=True)
    session.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
