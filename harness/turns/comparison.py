"""The comparison of two arms: rounds until every metric is decided, or time or rounds are used up."""
from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from time import monotonic
from typing import Any, NamedTuple

from harness.accuracy.dataset import Dataset, DatasetError
from harness.accuracy.layouts import read_again
from harness.machine.noise import calibrated_iterations, timed
from harness.turns import accuracy
from harness.turns.arms import NAMES
from harness.turns.outcome import UNKNOWN, Row, looks, outcomes
from harness.turns.process import ArmError, Burst, Place, Process
from harness.turns.rounds import LEAST_REQUESTS, PAIRS, THROUGHPUT, Round, burst_images, measured
from harness.verdict.loads import pattern_for
from harness.verdict.targets import GPU

PLATFORMS = {"neuron": "inf1", "gpu": GPU}  # backend → platform of the load table
BOTH, SPEED, ACCURACY = "both", "speed", "accuracy"


class Plan(NamedTuple):
    """What is compared and for how long.

    `callers` and `batch_size` are 0 where the load table decides. `within` and `within_ap` are the least changes that
    matter, of a speed as a share and of AP. `most` is the number of rounds that are planned for, `seconds` what all of
    them may take, without what is done once. `startup` and `deadline` are seconds that an arm has to load (or compile)
    its detector, and for a response.
    """

    callers: int = 0
    batch_size: int = 0
    within: float = 0.02
    within_ap: float = accuracy.WITHIN
    most: int = 16
    seconds: float = 600.0
    only: str = BOTH
    pairs: int = PAIRS
    startup: float = 3600.0
    deadline: float = 600.0
    seed: int = 0


class NotComparable(ValueError):
    """The two arms measure different things; the message says which."""


@dataclass
class Comparison:
    """What was measured so far of two arms; `say` gets a line a round."""

    places: dict[str, Place]
    plan: Plan
    say: Callable[[str], object]
    rounds: list[Round] = field(default_factory=list)
    accuracy: list[Row] = field(default_factory=list)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    images: int = 0  # of a burst
    round_seconds: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Measures. What was measured stays, whatever ends it. Raises ArmError, NotComparable, DatasetError."""
        rng, control = random.Random(self.plan.seed), partial(timed, calibrated_iterations())
        for number in range(self.plan.most if self.plan.only != ACCURACY else 1):
            if number > 1 and (number + 1) * self._seconds > self.plan.seconds:
                return
            start = monotonic()
            self._round(number, control, rng)
            self.round_seconds.append(monotonic() - start)
            self.say(self._line())
            if len(self.rounds) in looks(self.plan.most) and all(row.outcome != UNKNOWN for row in self.speed):
                return

    @property
    def speed(self) -> list[Row]:
        """What is known of the speed."""
        if self.plan.only == ACCURACY:
            return []
        return outcomes(self.rounds, self.plan.within, self.plan.most, self._seconds)

    @property
    def _seconds(self) -> float:
        """Of a round; the first may have compiled the detectors too, and has the detections of the whole dataset."""
        return fmean(self.round_seconds[1:] or self.round_seconds or [0.0])

    def _line(self) -> str:
        if not self.rounds:
            return "detections compared"
        a, b = (self.rounds[-1].values[arm][THROUGHPUT] for arm in NAMES)
        return (f"round {len(self.rounds)}: A {a:.1f}, B {b:.1f} images/s ({b / a - 1:+.1%}), "
                f"{self.round_seconds[-1]:.1f} s")

    def _round(self, number: int, control: Callable[[], float], rng: random.Random) -> None:
        order = rng.choice(("AB", "BA"))
        with ExitStack() as stack:
            processes = {}
            for name in order:
                processes[name] = Process(self.places[name])
                stack.callback(processes[name].end)
            stack.callback(lambda: [process.release() for process in processes.values()])
            facts = {name: processes[name].hello(self.plan.startup) for name in order}
            if not number:
                self.facts, self.plan = facts, _with_load(self.plan, facts["A"])
                dataset = _common_dataset(facts)
                if self.plan.only != SPEED:
                    self.accuracy = self._accuracy(dataset, processes)
            if self.plan.only != ACCURACY:
                arms = {name: partial(self._burst, processes[name]) for name in NAMES}
                self._warm_up(arms, order)
                self.rounds.append(measured(arms, self.images, control, rng, self.plan.pairs,
                                            first=number * self.plan.pairs * self.images))

    def _burst(self, process: Process, first: int, images: int) -> Burst:
        return process.burst(self.plan.deadline, first=first, images=images, callers=self.plan.callers,
                             batch_size=self.plan.batch_size)

    def _warm_up(self, arms: dict[str, Callable[[int, int], Burst]], order: str) -> None:
        """The first bursts of a process are slow; the first ones of all show how many images a burst takes."""
        few = LEAST_REQUESTS * self.plan.callers * self.plan.batch_size
        bursts = [arms[name](0, self.images or few) for name in order + order]
        if not self.images:
            slowest = max(burst.seconds / burst.images for burst in bursts[-len(order):])
            self.images = burst_images(slowest, self.plan.callers, self.plan.batch_size)

    def _accuracy(self, dataset: Dataset, processes: dict[str, Process]) -> list[Row]:
        with tempfile.TemporaryDirectory() as folder:
            found = {name: processes[name].detections(
                self.plan.startup, Path(folder, f"{name}.npz"), callers=self.plan.callers,
                batch_size=self.plan.batch_size) for name in NAMES}
        return accuracy.compared(dataset, found["A"], found["B"], self.plan.within_ap)


def _with_load(plan: Plan, facts: dict[str, Any]) -> Plan:
    """The plan with the load of the table where none was given."""
    pattern = pattern_for("throughput", PLATFORMS.get(facts["metadata"].get("backend"), "cpu"))
    return plan._replace(callers=plan.callers or pattern.callers, batch_size=plan.batch_size or pattern.batch_size)


def _common_dataset(facts: dict[str, dict[str, Any]]) -> Dataset:
    """The dataset of both arms. Raises NotComparable where it is not the same."""
    datasets = {}
    for name in NAMES:
        own = facts[name]["dataset"]
        try:
            loaded = read_again(own["annotations"], own["images"], own.get("split", "")).with_classes(own["names"])
            datasets[name] = loaded.only(own["image_ids"])
        except (DatasetError, TypeError, ValueError) as error:
            raise ArmError(f"{name}: its dataset cannot be read here ({error})") from error
    a, b = (datasets[name] for name in NAMES)
    if a.sha256 != b.sha256 or (a.images != b.images and a.identity() != b.identity()):
        raise NotComparable(f"A has the dataset {a.annotations} and B has {b.annotations}, which differ: give both the "
                            "same one, for example by --both '--coco DIR'")
    return a
