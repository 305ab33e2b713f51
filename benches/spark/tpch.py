"""The queries of TPC-H on Spark 3.5, over Parquet tables.

    "$SPARK_HOME/bin/spark-submit" --master 'local[2]' --driver-memory 4g benches/spark/tpch.py --tables FOLDER

FOLDER holds the eight tables, each as NAME.parquet (a file or a folder) or as a folder NAME. Prints one line of JSON: of
each query its seconds (of each run, from the text to the last row), columns with Spark's types, and rows of the first
run. Decimals and dates are strings, so that no digit is lost on the way.

With --serve it prints {"ready": true, ...} and then, for each line of standard input such as q06, that query's line of JSON,
or {"error": ...}; the end of its input ends it.

Tuning: in local mode the driver is the one executor too, and joins at scale factor 1 want more than Spark's 1g. As many
shuffle partitions as cores. The rest, adaptive execution and broadcast joins with them, is as Spark has it.
"""

import argparse
import datetime
import decimal
import json
import sys
import time
from pathlib import Path

from mapreduce import find_spark, serve

TABLES = ("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier")
NAMES = tuple(f"q{number:02}" for number in range(1, 23))


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        prog="tpch.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--queries", type=Path, default=Path(__file__).resolve().parents[1] / "tpch", metavar="FOLDER", help="of q*.sql"
    )
    parser.add_argument("--only", type=selection, default=NAMES, metavar="N,N", help="such as 1,6,14; all without it")
    parser.add_argument("--serve", action="store_true", help="run the queries that the lines of standard input name")
    parser.add_argument("--repeat", type=int, choices=range(1, 101), default=1, metavar="N", help="rounds in one session")
    return parser.parse_args(arguments)


def selection(text):
    numbers = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    if not all(1 <= number <= len(NAMES) for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers from 1 to {len(NAMES)}")
    return tuple(NAMES[number - 1] for number in numbers)


def table_path(folder, name):
    for path in (folder / f"{name}.parquet", folder / name):
        if path.exists():
            return str(path)
    raise FileNotFoundError(f"there is no {name}.parquet in {folder}")


def plain(value):
    """A value as JSON can hold it."""
    if isinstance(value, (decimal.Decimal, datetime.date)):
        return str(value)
    return value


def run(session, text, repeat):
    seconds, answer = [], None
    for _ in range(repeat):
        began = time.monotonic()
        frame = session.sql(text)
        rows = frame.collect()
        seconds.append(time.monotonic() - began)
        answer = answer or (frame, rows)
    frame, rows = answer
    return {
        "seconds": seconds,
        "columns": [{"name": field.name, "type": field.dataType.simpleString()} for field in frame.schema],
        "rows": [[plain(value) for value in row] for row in rows],
    }


def answer(session, texts, name):
    if name not in texts:
        raise ValueError(f"{name!r} is no query")
    return run(session, texts[name], 1)


def main(arguments=None):
    options = parse(arguments)
    try:
        tables = {name: table_path(options.tables, name) for name in TABLES}
        texts = {name: (options.queries / f"{name}.sql").read_text() for name in options.only}
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    began = time.monotonic()
    find_spark()
    from pyspark.sql import SparkSession

    session = SparkSession.builder.getOrCreate()
    started = time.monotonic() - began
    context = session.sparkContext
    context.setLogLevel("ERROR")
    if not context.getConf().contains("spark.sql.shuffle.partitions"):
        session.conf.set("spark.sql.shuffle.partitions", context.defaultParallelism)
    for name, path in tables.items():
        session.read.parquet(path).createOrReplaceTempView(name)
    spark = {"version": session.version, "master": context.master, "cores": context.defaultParallelism}
    if options.serve:
        serve({"session_seconds": started, "spark": spark}, lambda line: answer(session, texts, line))
        session.stop()
        return 0
    queries, failed = [], False
    for name, text in texts.items():
        try:
            found = run(session, text, options.repeat)
        except Exception as error:  # the others are still worth their time
            found, failed = {"error": str(error).strip().split("\n")[0][:500]}, True
            print(f"error: {name}: {found['error']}", file=sys.stderr)
        queries.append({"query": name, **found})
    print(
        json.dumps(
            {
                "queries": queries,
                "timings": {"session_seconds": started},
                "spark": spark,
            }
        ),
        flush=True,
    )
    session.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
