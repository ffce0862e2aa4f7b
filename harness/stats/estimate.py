"""A measured value with its bounds, and what they decide about a limit."""
from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Callable

# The reasons for which a value may leave a limit undecided, for programs.
TOO_FEW, NOISY = "too few samples", "noisy machine"
PROVEN, REFUTED, UNDECIDED = "proven", "refuted", "undecided"
HOPELESS = 100  # times as much, from which on nobody waits for a decision


@dataclass(frozen=True)
class Estimate:
    """A measured value and bounds of the true one, in the value's unit; None where the measurement cannot give one.

    `low` and `high` each hold with the confidence that whoever computed them states. `count` is how many values were
    measured, and from `needed` of them on both bounds exist. `more(limit, sense)` says in words what would decide about
    a limit between the bounds; `reason` is why it is then undecided.
    """

    value: float
    low: float | None = None
    high: float | None = None
    count: int | None = None
    needed: int | None = None
    more: Callable[[float, str], str] = lambda limit, sense: "measure more"
    reason: str = TOO_FEW

    @classmethod
    def exactly(cls, value: float) -> Estimate:
        """A value without doubt: both bounds are the value."""
        return cls(value, value, value)

    @property
    def is_exact(self) -> bool:
        return len({self.value, self.low, self.high}) == 1

    def times(self, factor: float) -> Estimate:
        """The estimate in another unit; the factor must be above 0."""
        value, low, high = (one if one is None else one * factor for one in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high)

    def as_record(self) -> dict[str, Any]:
        """A dictionary for strict JSON: value, low and high, and count and needed where they are known."""
        record = {name: getattr(self, name) for name in ("value", "low", "high", "count", "needed")}
        return {name: one for name, one in record.items() if one is not None or name in ("low", "high")}


def decide(estimate: Estimate, limit: float, sense: str) -> str:
    """PROVEN when the bounds show that the true value is `sense` ('<=' or '>=') limit, REFUTED when that it is not.

    A one-sided test at the confidence of the bounds; UNDECIDED when the limit lies between them or one is missing.
    ValueError for a limit of NaN and an unknown sense.
    """
    if math.isnan(limit):
        raise ValueError("the limit is NaN, which decides nothing; give a number")
    if sense not in ("<=", ">="):
        raise ValueError(f"sense {sense!r} is unknown; it must be '<=' or '>='")
    low = -math.inf if estimate.low is None else estimate.low
    high = math.inf if estimate.high is None else estimate.high
    is_met, is_missed = (high <= limit, low > limit) if sense == "<=" else (low >= limit, high < limit)
    if is_met:
        return PROVEN
    return REFUTED if is_missed else UNDECIDED


def narrowing(estimate: Estimate, amount: float, unit: str) -> Estimate:
    """The estimate, which says how much more would decide, after `amount` of `unit`.

    Its bounds narrow with the root of how much was measured, as those of means do.
    """
    value, low, high = estimate.value, estimate.low, estimate.high

    def more(limit: float, sense: str) -> str:
        if low is None or high is None:
            return f"more {unit} are needed to bound it"
        reach = high - value if value < limit else value - low
        if limit == value:
            return "it is the bound itself"
        if reach > math.sqrt(1 + HOPELESS) * abs(limit - value):
            return f"more than {HOPELESS} times the {amount:,.0f} {unit} would be needed to decide"
        wanted = amount * ((reach / (limit - value)) ** 2 - 1)
        return f"about {math.ceil(wanted):,} more {unit} would decide"

    return replace(estimate, more=more)


def excused(estimate: Estimate, slowdown: float, sense: str) -> Estimate:
    """The estimate with the bound widened by which the machine may have slowed the detector (a factor, from 1 on).

    `sense` is that of the metric's target. Noise makes nothing look better: a bound met in noise is met, and one that
    is missed by no more than the noise explains is undecided.
    """
    if slowdown <= 1 or estimate.low is None or estimate.high is None:
        return estimate
    noise = slowdown - 1
    noisy = f"the machine may have slowed it by up to {noise:.1%}: stop other work and repeat"
    error = (estimate.high - estimate.low) / 2 / estimate.value
    return replace(
        estimate,
        low=estimate.low if sense == ">=" else estimate.low / slowdown,
        high=estimate.high * slowdown if sense == ">=" else estimate.high,
        more=lambda limit, sense: f"{estimate.more(limit, sense)}; {noisy}",
        reason=NOISY if noise > error else estimate.reason,
    )
