"""Programs of PySpark and what Spark prints for them.

A program is a function that gets a session and prints; its docstring is what it has to print, line by line. `refused` is the
exception: it has what Spark does and Firesteel says it does not.
"""

import contextlib
import inspect
import io
import shutil
import sys
import tempfile

from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F

ROWS = [("a", 1, 1.5), ("a", 2, None), ("b", 3, 4.0), (None, 4, 0.5)]


def frame(spark):
    return spark.createDataFrame(ROWS, "k STRING, n INT, x DOUBLE")


def condition(error):
    """The class of an error, which clients of Spark 3 have under another name."""
    return error.getCondition() if hasattr(error, "getCondition") else error.getErrorClass()


def told(*programs):
    for program in programs:
        try:
            print("no error:", program())
        except PySparkException as error:
            print(type(error).__name__, condition(error), error.getSqlState())


def hello(spark):
    """
    +---+
    | id|
    +---+
    |  0|
    |  1|
    |  2|
    +---+

    [Row(one=1)]
    3
    """
    spark.range(3).show()
    print(spark.sql("SELECT 1 AS one").collect())
    print(spark.range(3).count())


def local_rows(spark):
    """
    +----+---+----+
    |   k|  n|   x|
    +----+---+----+
    |   a|  1| 1.5|
    |   a|  2|NULL|
    |   b|  3| 4.0|
    |NULL|  4| 0.5|
    +----+---+----+

    root
     |-- k: string (nullable = true)
     |-- n: integer (nullable = true)
     |-- x: double (nullable = true)

    """
    frame(spark).show()
    frame(spark).printSchema()


def pandas(spark):
    """
    k  n
    a  1
    a  2
    b  3
    """
    print(frame(spark).where("k IS NOT NULL").select("k", "n").toPandas().to_string(index=False))


def rates(spark):
    """
    +----+-----+-----+----+
    |   k|small|total|rate|
    +----+-----+-----+----+
    |NULL|    0|    1| 0.0|
    |   a|    1|    2|50.0|
    |   b|    0|    1| 0.0|
    +----+-----+-----+----+

    """
    (
        frame(spark)
        .groupBy("k")
        .agg(F.count(F.when(F.col("n") < 2, 1)).alias("small"), F.count("*").alias("total"))
        .withColumn("rate", F.col("small") / F.col("total") * 100)
        .orderBy("k")
        .show()
    )


def word_count(spark):
    """
    +-----+-----+
    | word|count|
    +-----+-----+
    |  the|    2|
    |quick|    1|
    |  fox|    1|
    +-----+-----+

    """
    lines = spark.createDataFrame([("the quick",), ("the  fox",)], "line STRING")
    words = lines.select(F.explode(F.split("line", " +")).alias("word"))
    words.groupBy("word").count().orderBy(F.desc("count"), F.desc("word")).show()


def names(spark):
    """
    ['(n + 1)', 'sum(n)', 'count(1)', 'CASE WHEN (n > 1) THEN a END', 'n']
    """
    rows = frame(spark)
    print(
        rows.select(F.col("n") + 1).columns
        + rows.agg(F.sum("n"), F.count("*")).columns
        + rows.select(F.when(F.col("n") > 1, "a"), F.col("n").cast("string")).columns
    )


def joins(spark):
    """
    [Row(k='a', n=1, m=10), Row(k='a', n=2, m=10)]
    [Row(k='a', n=1, k='a', m=10), Row(k='a', n=2, k='a', m=10)]
    [Row(k='b')]
    """
    left, right = frame(spark).select("k", "n"), spark.createDataFrame([("a", 10), ("c", 20)], "k STRING, m INT")
    print(left.join(right, "k").orderBy("n").collect())
    print(left.join(right, left.k == right.k).orderBy("n").collect())
    print(left.join(right, "k", "left_anti").where("k IS NOT NULL").select("k").collect())


def windows(spark):
    """
    [Row(k='a', n=1, r=1, s=1), Row(k='a', n=2, r=2, s=3), Row(k='b', n=3, r=1, s=3)]
    """
    by = Window.partitionBy("k").orderBy("n")
    rows = frame(spark).where("k IS NOT NULL").select("k", "n", F.row_number().over(by).alias("r"), F.sum("n").over(by).alias("s"))
    print(rows.orderBy("n").collect())


def meaning(spark):
    """
    [Row(a=3.5, b=None, c=None, d=True, e=None)]
    """
    print(spark.range(1).selectExpr("7 / 2 AS a", "1 / 0 AS b", "CAST('x' AS INT) AS c", "NULL <=> NULL AS d", "concat('a', NULL) AS e").collect())


def sql(spark):
    """
    [Row(k='a', total=3)]
    [Row((n * 2)=6)]
    """
    frame(spark).createOrReplaceTempView("rows_of_mine")
    print(spark.sql("SELECT k, sum(n) AS total FROM rows_of_mine WHERE k = :k GROUP BY k", {"k": "a"}).collect())
    print(spark.sql("SELECT n * 2 FROM `rows_of_mine` WHERE n = ?", [3]).collect())


def missing(spark):
    """
    [Row(k='a', x=1.5), Row(k='a', x=0.0), Row(k='b', x=4.0), Row(k='?', x=0.5)]
    2
    """
    print(frame(spark).fillna({"x": 0.0, "k": "?"}).orderBy("n").select("k", "x").collect())
    print(frame(spark).dropna().count())


def errors(spark):
    """
    AnalysisException UNRESOLVED_COLUMN.WITH_SUGGESTION 42703
    AnalysisException TABLE_OR_VIEW_NOT_FOUND 42P01
    AnalysisException UNRESOLVED_ROUTINE 42883
    ParseException PARSE_SYNTAX_ERROR 42601
    """
    told(
        lambda: frame(spark).select("nope").collect(),
        lambda: spark.table("nope").collect(),
        lambda: frame(spark).select(F.expr("nope(n)")).collect(),
        lambda: spark.sql("SELEC 1").collect(),
    )


def refused(spark):
    """
    UnsupportedOperationException UNSUPPORTED_FEATURE 0A000
    UnsupportedOperationException UNSUPPORTED_FEATURE 0A000
    """
    told(
        lambda: frame(spark).select(F.udf(lambda n: n, "int")("n")).collect(),
        lambda: frame(spark).describe().collect(),
    )


def files(spark):
    """
    [Row(k='a', n=1), Row(k='a', n=2), Row(k='b', n=3), Row(k=None, n=4)]
    AnalysisException PATH_ALREADY_EXISTS
    8
    4
    """
    folder = tempfile.mkdtemp(dir=".", prefix="spark-connect-")
    path = f"{folder}/rows"
    try:
        frame(spark).select("k", "n").write.parquet(path)
        print(spark.read.parquet(path).orderBy("n").collect())
        try:
            frame(spark).write.parquet(path)
        except AnalysisException as error:
            print(type(error).__name__, condition(error))
        frame(spark).select("k", "n").write.mode("append").parquet(path)
        print(spark.read.parquet(path).count())
        frame(spark).select("k", "n").write.mode("overwrite").parquet(path)
        print(spark.read.parquet(path).count())
    finally:
        shutil.rmtree(folder)


PROGRAMS = [
    hello, local_rows, pandas, rates, word_count, names, joins, windows, meaning, sql, missing, errors, refused, files,
]


def main():
    spark = SparkSession.builder.remote(sys.argv[1]).getOrCreate()
    asked, failed = sys.argv[2:], 0
    for program in PROGRAMS:
        if asked and program.__name__ not in asked:
            continue
        expected = inspect.cleandoc(program.__doc__).rstrip()
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            try:
                program(spark)
            except PySparkException as error:
                print(f"{type(error).__name__}: {error}")
        found = "\n".join(line.rstrip() for line in printed.getvalue().rstrip().splitlines())
        if found == expected:
            print(f"{program.__name__}: as Spark")
        else:
            failed += 1
            print(f"{program.__name__}: differs\n--- Spark\n{expected}\n--- here\n{found}")
    spark.stop()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
