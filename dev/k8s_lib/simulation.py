"""Images through partitions, consumers and inference pods, event by event: does what waits stay bounded, or grow?

Images arrive at random (a Poisson process), each in a partition. A partition belongs to one consumer, which holds so many
images in flight and keeps one connection to one pod. A pod takes what is queued, up to a batch, while it was busy with the
batch before. MongoDB and the hop through the topic of predictions are not simulated: they have no queue of this kind.

Large plans are simulated by a slice: pods do not know of each other, so 8 of them with their share of the images are as good.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass
from typing import Deque, List

from .capacity import Inputs, Plan

SLICE = 8
IN_FLIGHT = 256
BATCH = 64
# What waits may swing by this share of the rate and still be called bounded.
GROWTH = 0.02


@dataclass(frozen=True)
class Outcome:
    """What one run came to."""

    pods: int
    rate: float
    utilisation: float
    busiest: float
    waiting: int
    growth: float
    p99_seconds: float

    @property
    def bounded(self) -> bool:
        return self.growth < GROWTH * self.rate


def simulate(
    plan: Plan, inputs: Inputs, seconds: float = 60.0, at_random: bool = False, load: float = 1.0, seed: int = 1
) -> Outcome:
    """Runs `plan`, or a slice of it, at `load` times its rate. `at_random`: each connection leads to any pod, as a Service of
    Kubernetes has it; else they are dealt out evenly."""
    pods = min(plan.inference_pods, SLICE)
    share = pods / plan.inference_pods
    consumers = max(pods, round(plan.consumers * share))
    partitions = max(consumers, round(plan.partitions * share))
    rate = plan.rate * load * share
    speed = inputs.cores_per_inference_pod * inputs.inference_per_core
    run = _Run(pods, consumers, partitions, speed, random.Random(seed), at_random)
    return run.go(rate, seconds)


class _Run:
    def __init__(self, pods: int, consumers: int, partitions: int, speed: float, chance: random.Random, at_random: bool):
        self.partitions, self.speed, self.chance = partitions, speed, chance
        self.pod_of = [chance.randrange(pods) if at_random else n % pods for n in range(consumers)]
        self.logs: List[Deque[float]] = [deque() for _ in range(consumers)]  # times of arrival
        self.in_flight = [0] * consumers
        self.queues: List[Deque] = [deque() for _ in range(pods)]  # (time of arrival, consumer)
        self.batches: List[List] = [[] for _ in range(pods)]
        self.busy = [0.0] * pods
        self.latencies: List[float] = []
        self.arrived = 0

    def go(self, rate: float, seconds: float) -> Outcome:
        events = [(self.chance.expovariate(rate), -1)]  # (time, pod that is done; -1: an image arrives)
        half = None
        while events:
            now, pod = heapq.heappop(events)
            if now > seconds:
                break
            if half is None and now > seconds / 2:
                half = self.arrived - len(self.latencies)
            if pod < 0:
                consumer = self.chance.randrange(self.partitions) % len(self.logs)
                self.arrived += 1
                self.logs[consumer].append(now)
                heapq.heappush(events, (now + self.chance.expovariate(rate), -1))
                self.forward(consumer)
                pod = self.pod_of[consumer]
            else:
                self.finish(pod, now)
            if self.queues[pod] and not self.batches[pod]:
                heapq.heappush(events, (now + self.begin(pod, seconds - now), pod))
        waiting = self.arrived - len(self.latencies)
        growth = (waiting - (half or 0)) / (seconds / 2)
        self.latencies.sort()
        p99 = self.latencies[int(len(self.latencies) * 0.99)] if self.latencies else float("inf")
        used = [busy / seconds for busy in self.busy]
        return Outcome(len(used), rate, sum(used) / len(used), max(used), waiting, growth, p99)

    def forward(self, consumer: int) -> None:
        while self.logs[consumer] and self.in_flight[consumer] < IN_FLIGHT:
            self.in_flight[consumer] += 1
            self.queues[self.pod_of[consumer]].append((self.logs[consumer].popleft(), consumer))

    def begin(self, pod: int, left: float) -> float:
        batch = [self.queues[pod].popleft() for _ in range(min(BATCH, len(self.queues[pod])))]
        self.batches[pod] = batch
        took = len(batch) / self.speed
        self.busy[pod] += min(took, left)
        return took

    def finish(self, pod: int, now: float) -> None:
        for arrived, consumer in self.batches[pod]:
            self.latencies.append(now - arrived)
            self.in_flight[consumer] -= 1
        done, self.batches[pod] = self.batches[pod], []
        for consumer in {consumer for _, consumer in done}:
            self.forward(consumer)
