"""`dev/capacity`: prints what rates of images need, and checks it by simulation."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields, replace
from typing import List, Optional

from .capacity import Inputs, markdown, plan, table
from .simulation import simulate

HELP = {
    "inference_per_core": "images/s a core; measured: the demo's 364 images/s in f32 on two cores, everything else on the same cores",
    "writes_per_core": "documents/s a core; measured: `firesteel seed`, 150,000 documents/s on two cores, inserts",
    "scan_per_core": "documents/s a core; measured: the report with pushdown, 5,000,000 documents in 4.35 s on two cores",
    "utilisation": "how busy what computes may be on average",
    "image_bytes": "bytes an image; measured: the data set's size over its 10,000 images",
    "cores_per_inference_pod": "as in overlays/production",
    "consumers_per_inference_pod": "image consumers an inference pod",
    "partitions_per_consumer": "partitions of the images a consumer, so that there is room for more consumers",
    "replication": "copies in Kafka",
    "megabytes_per_broker": "MB/s that a broker takes in, copies included; assumed: measure yours",
    "cores_per_shard": "cores of a shard's primary",
    "executor_cores": "slots an executor, as in overlays/production",
    "report_hours": "how much a report is over",
    "report_seconds": "how long it may take",
}


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="dev/capacity", description=__doc__)
    parser.add_argument("--rates", default="1000,100000,10000000", help="images/s, with commas in between [%(default)s]")
    parser.add_argument("--simulate", action="store_true", help="also runs each plan, event by event")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long a simulation is [%(default)s]")
    defaults = Inputs()
    for field in fields(Inputs):
        value = getattr(defaults, field.name)
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=type(value), default=value, help=f"{HELP[field.name]} [%(default)s]")
    given = parser.parse_args(arguments)
    try:
        inputs = replace(defaults, **{field.name: getattr(given, field.name) for field in fields(Inputs)})
        plans = [plan(float(rate), inputs) for rate in given.rates.split(",")]
    except ValueError as error:
        parser.error(str(error))
    for field in fields(Inputs):
        print(f"{field.name.replace('_', '-')} = {getattr(inputs, field.name):g}: {HELP[field.name]}")
    print(f"\n{table(plans)}")
    if given.simulate:
        print(f"\n{simulations(plans, inputs, given.seconds)}")
    return 0


def simulations(plans, inputs: Inputs, seconds: float) -> str:
    rows = [["images/s", "simulated", "connections", "load", "busy", "busiest pod", "p99", "waiting at the end", "verdict"]]
    for one in plans:
        # As planned; with a tenth more than there is capacity; as planned, by way of a Service.
        for at_random, load in ((False, 1.0), (False, 1.1 * one.capacity / one.rate), (True, 1.0)):
            ran = simulate(one, inputs, seconds, at_random, load)
            rows.append(
                [
                    f"{one.rate:,.0f}",
                    f"{ran.pods} of {one.inference_pods:,} pods",
                    "at random" if at_random else "even",
                    f"{load:.2f}",
                    f"{ran.utilisation:.0%}",
                    f"{ran.busiest:.0%}",
                    f"{ran.p99_seconds:.2f} s",
                    f"{ran.waiting:,}",
                    "bounded" if ran.bounded else f"grows by {ran.growth:,.0f}/s",
                ]
            )
    return markdown(rows)


if __name__ == "__main__":
    sys.exit(main())
