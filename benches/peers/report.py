"""The report of `firesteel report` by DuckDB, Polars or DataFusion, over a Parquet file of the predictions.

    eval "$(dev/peers env query)"
    "$FIRESTEEL_BENCH_PEERS_PYTHON" benches/peers/report.py --engine duckdb --parquet predictions.parquet --repeat 5

It prints one line of JSON with the names of `firesteel report --format json`, the `engine`, and `timings` in seconds: of the
engine's import and start, and of each run, which opens the file anew. Where two runs count differently, the program fails.

With --serve it prints {"ready": true, "import_seconds": ..., "engine": ...}; then for each line of standard input,
`report FILE`, one line with the tables of that file and its "seconds", or {"error": ...}; the end of its input ends it.

Each engine groups by producer and label in the way its users write it, with the columns that it takes and no others; the
few rows that come out become the tables here, as they do for Spark. Settings beside the number of threads are as the
engine has them.
"""

import argparse
import json
import os
import sys
import time

sys.dont_write_bytecode = True

import shared  # noqa: E402

# For DuckDB and DataFusion, which differ in how a time becomes milliseconds. A row that does not say whether it is correct is
# that of an unlabelled image.
SQL = """
SELECT producer_id, label, sum(CASE WHEN NOT correct THEN 1 ELSE 0 END), count(correct), count(*), {first}, {last}
FROM {table} GROUP BY producer_id, label
"""


def parse(arguments=None):
    about, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="report.py", description=about, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=tuple(ENGINES), required=True)
    parser.add_argument("--parquet", metavar="FILE", help="the predictions")
    number = {"type": shared.positive, "metavar": "N"}
    parser.add_argument("--repeat", default=1, help="rounds in one session: those after the first are warm (1)", **number)
    parser.add_argument("--threads", default=shared.cores(), help="as many as cores without it", **number)
    parser.add_argument("--serve", action="store_true", help="report on the files that the lines of standard input name")
    options = parser.parse_args(arguments)
    if bool(options.parquet) == options.serve:
        parser.error("one of --parquet FILE and --serve is needed")
    return options


# The engines. Each takes a number of threads, starts, and gives its version and a function from a file to rows
# (producer_id, label, wrong, labelled, total, first_produced, last_inferred), with times in milliseconds.


def duckdb(threads):
    import duckdb

    connection = duckdb.connect(config={"threads": threads})
    text = SQL.format(first="epoch_ms(min(produced_at))", last="epoch_ms(max(inferred_at))", table="read_parquet(?)")
    return duckdb.__version__, lambda file: connection.execute(text, [file]).fetchall()


def polars(threads):
    os.environ["POLARS_MAX_THREADS"] = str(threads)  # read at the import
    import polars as pl

    def rows(file):
        groups = pl.scan_parquet(file, glob=False).group_by("producer_id", "label")
        return groups.agg(
            pl.col("correct").not_().sum(),
            pl.col("correct").count(),
            pl.len(),
            pl.col("produced_at").min().dt.epoch("ms"),
            pl.col("inferred_at").max().dt.epoch("ms"),
        ).collect().rows()  # fmt: skip

    return pl.__version__, rows


def datafusion(threads):
    os.environ["TOKIO_WORKER_THREADS"] = str(threads)
    import datafusion

    context = datafusion.SessionContext(datafusion.SessionConfig().with_target_partitions(threads))
    millis = "CAST(arrow_cast({}, 'Timestamp(Millisecond, None)') AS BIGINT)"
    first, last = millis.format("min(produced_at)"), millis.format("max(inferred_at)")
    text = SQL.format(first=first, last=last, table="predictions")

    def rows(file):
        context.register_parquet("predictions", file, file_extension=os.path.splitext(file)[1])
        try:
            return list(zip(*context.sql(text).to_pydict().values()))
        finally:
            context.deregister_table("predictions")

    return datafusion.__version__, rows


ENGINES = {"duckdb": duckdb, "polars": polars, "datafusion": datafusion}


def report(rows_of, file):
    file = shared.existing(file, "an export of the collection `predictions`")
    return shared.timed(lambda: shared.report_of(rows_of(file)))


def answer(rows_of, line):
    word, _, file = line.partition(" ")
    if word != "report" or not file.strip():
        raise shared.Unclear(f"{line!r} is not `report FILE`")
    return report(rows_of, file.strip())


def run(rows_of, file, repeat):
    """The report of all runs, and the seconds of each."""
    done, seconds, job_seconds = {}, [], 0.0
    for number in range(1, repeat + 1):
        found = report(rows_of, file)
        seconds.append(found.pop("seconds"))
        job_seconds = found["totals"].pop("job_seconds")
        shared.merge(done, found, f"run {number}")
    done["totals"]["job_seconds"] = job_seconds
    return done, seconds


def main(arguments=None):
    options = parse(arguments)
    began = time.monotonic()
    try:
        version, rows_of = ENGINES[options.engine](options.threads)
    except ImportError as error:
        print(f"error: {error}: run this with the Python that `dev/peers env query` names", file=sys.stderr)
        return 1
    started = time.monotonic() - began
    engine = {"name": options.engine, "version": version, "threads": options.threads}
    if options.serve:
        shared.serve({"import_seconds": started, "engine": engine}, lambda line: answer(rows_of, line))
        return 0
    try:
        done, seconds = run(rows_of, options.parquet, options.repeat)
    except Exception as error:
        print(f"error: {shared.complaint(error)}", file=sys.stderr)
        return 1
    print(json.dumps({**done, "timings": {"import_seconds": started, "runs": seconds}, "engine": engine}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
