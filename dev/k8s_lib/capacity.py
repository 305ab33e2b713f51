"""What a rate of images needs: from figures a core to cores, pods, partitions, brokers, shards and executors.

Each line of `plan` is one division, rounded up. `simulation` checks the part that has queues.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import List

# Kafka's own advice: a few thousand partitions a broker, with their replicas.
PARTITIONS_PER_BROKER = 4000


@dataclass(frozen=True)
class Inputs:
    """Rates are a second. What `measured` says of an input is where its default comes from."""

    inference_per_core: float = 182.0
    writes_per_core: float = 75_000.0
    scan_per_core: float = 575_000.0
    utilisation: float = 0.7
    image_bytes: float = 933.0
    cores_per_inference_pod: int = 4
    consumers_per_inference_pod: int = 1
    partitions_per_consumer: int = 4
    replication: int = 3
    megabytes_per_broker: float = 100.0
    cores_per_shard: int = 8
    executor_cores: int = 4
    report_hours: float = 1.0
    report_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} has to be more than 0")
        if self.utilisation > 1:
            raise ValueError("utilisation is at most 1")


@dataclass(frozen=True)
class Plan:
    """What a rate needs, and what it makes."""

    rate: float
    inference_cores: int
    inference_pods: int
    consumers: int
    partitions: int
    brokers: int
    shards: int
    report_documents: float
    report_cores: int
    executors: int
    megabytes: float
    capacity: float


def plan(rate: float, inputs: Inputs) -> Plan:
    """The least of everything that takes `rate` images a second at the wanted utilisation."""
    if not rate > 0:
        raise ValueError("a rate has to be more than 0")
    cores = _up(rate / (inputs.inference_per_core * inputs.utilisation))
    pods = _up(cores / inputs.cores_per_inference_pod)
    # A consumer keeps one connection, so it uses one inference pod; a partition is read by one consumer.
    consumers = pods * inputs.consumers_per_inference_pod
    # A multiple of the consumers, or some of them would have one partition more than others, and with it more to do.
    partitions = consumers * inputs.partitions_per_consumer
    megabytes = rate * inputs.image_bytes / 1e6
    brokers = max(
        inputs.replication,
        _up(megabytes * inputs.replication / (inputs.megabytes_per_broker * inputs.utilisation)),
        # Both topics have as many.
        _up(2 * partitions * inputs.replication / PARTITIONS_PER_BROKER),
    )
    shards = _up(rate / (inputs.writes_per_core * inputs.cores_per_shard * inputs.utilisation))
    documents = rate * inputs.report_hours * 3600
    report_cores = _up(documents / (inputs.scan_per_core * inputs.report_seconds))
    return Plan(
        rate=rate,
        inference_cores=cores,
        inference_pods=pods,
        consumers=consumers,
        partitions=partitions,
        brokers=brokers,
        shards=shards,
        report_documents=documents,
        report_cores=report_cores,
        executors=_up(report_cores / inputs.executor_cores),
        megabytes=megabytes,
        capacity=pods * inputs.cores_per_inference_pod * inputs.inference_per_core,
    )


def _up(number: float) -> int:
    # A hair above a whole number is rounding's doing.
    return max(1, ceil(round(number, 9)))


def table(plans: List[Plan]) -> str:
    rows = [
        ("images/s", [_number(p.rate) for p in plans]),
        ("inference: cores", [_number(p.inference_cores) for p in plans]),
        ("inference: pods", [_number(p.inference_pods) for p in plans]),
        ("image consumers", [_number(p.consumers) for p in plans]),
        ("partitions of each topic", [_number(p.partitions) for p in plans]),
        ("images in Kafka, MB/s", [_number(p.megabytes) for p in plans]),
        ("Kafka brokers", [_number(p.brokers) for p in plans]),
        ("MongoDB shards", [_number(p.shards) for p in plans]),
        ("documents a report reads", [_number(p.report_documents) for p in plans]),
        ("cores for a report in time", [_number(p.report_cores) for p in plans]),
        ("executors", [_number(p.executors) for p in plans]),
    ]
    return markdown([[title, *cells] for title, cells in rows])


def markdown(rows: List[List[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = "|".join("-" * (width + 1) + (":" if column else "-") for column, width in enumerate(widths))
    lines = [_line(row, widths) for row in rows]
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def _line(row: List[str], widths: List[int]) -> str:
    """A title on the left, numbers on the right."""
    cells = [cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths))]
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
