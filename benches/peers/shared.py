"""What the programs of this folder share with each other and with the job on Spark.

The tables, their arithmetic and the loop that a parent drives are those of `benches/spark/mapreduce.py`, which has to stay one
file: it is what a cluster's users hand to spark-submit, and what k8s/ mounts.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "spark"))

from mapreduce import Unclear, complaint, merge, positive, report_of, serve, timed  # noqa: E402, F401


def cores():
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def existing(path, what):
    """The path as it was given; what is not there is said at the start and not by some engine."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no {path}: {what}")
    return path
