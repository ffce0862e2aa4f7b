"""What the figures of several nodes say together: the worst of them, and which node is unlike the others.

A bound of the target table is one machine's. So each node is judged by it, and the row has the verdict of the worst: it
is met where every node is proven to meet it, and missed where one is proven to miss it.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import NamedTuple

from harness.stats.estimate import Estimate
from harness.verdict.metrics import percent

SLOW = 0.05  # share of the other nodes' median by which a node must be slower to be named
HOT = 10.0  # degrees Celsius above the other nodes' median
THROTTLED = 0.05  # share of the other nodes' median by which a clock rate must be lower to be named


def worst(values: Mapping[str, Estimate | float | None], sense: str) -> Estimate | float | None:
    """The worst of a metric's values by node, where the metric's bounds have this sense ('>=' or '<=').

    Estimates become one whose bounds prove a limit where those of every node do, and refute it where those of one node
    do. It says which node would have to be measured longer. None where a node has no value: then nothing is known of
    the worst. ValueError for no node.
    """
    if not values:
        raise ValueError("there is no worst of no nodes; give the figures of at least one")
    if any(value is None for value in values.values()):
        return None
    if len(values) == 1:
        return next(iter(values.values()))
    if not any(isinstance(value, Estimate) for value in values.values()):
        return (min if sense == ">=" else max)(values.values())
    known = {name: value if isinstance(value, Estimate) else Estimate.exactly(value) for name, value in values.items()}
    unknown = next((one for one in known.values() if one.value is None), None)
    return unknown or _worst_estimate(known, sense)


def _worst_estimate(known: Mapping[str, Estimate], sense: str) -> Estimate:
    """Of two or more estimates with values."""
    is_least = sense == ">="
    near = {name: one.low if is_least else one.high for name, one in known.items()}
    far = [one.high if is_least else one.low for one in known.values()]
    chosen = min if is_least else max
    name = next((name for name, bound in near.items() if bound is None), None) or chosen(near, key=near.get)
    proves = near[name]
    refutes = chosen((bound for bound in far if bound is not None), default=None)
    own = known[name]
    return replace(
        own, value=chosen(one.value for one in known.values()), low=proves if is_least else refutes,
        high=refutes if is_least else proves, more=lambda limit, sense: f"{name}: {own.more(limit, sense)}",
    )


class Unlike(NamedTuple):
    """A node that is unlike the others: how, in words."""

    node: str
    how: str

    def __str__(self) -> str:
        return f"{self.node} is {self.how}"


def slow(rates: Mapping[str, Estimate]) -> list[Unlike]:
    """The nodes whose images a second are at least 5 % below the median of the others, as far as bounds can say.

    A node without bounds is judged by its value.
    """
    found = []
    for name, own in rates.items():
        usual = _others({node: one.value for node, one in rates.items()}, name)
        fastest = own.value if own.high is None else own.high
        if usual is not None and fastest < usual * (1 - SLOW):
            found.append(Unlike(name, f"slow: {own.value:.4g} images/s, {percent(1 - own.value / usual, 0)} "
                                      f"below the {usual:.4g} of the others"))
    return found


def hot(celsius: Mapping[str, float | None], mhz: Mapping[str, float | None]) -> list[Unlike]:
    """The nodes that are hotter, or whose cores run at a lower rate, than the others, where machines report it."""
    found = []
    for name, own in celsius.items():
        usual = _others(celsius, name)
        if own is not None and usual is not None and own > usual + HOT:
            found.append(Unlike(name, f"hot: {own:.0f} °C, the others {usual:.0f} °C"))
    for name, own in mhz.items():
        usual = _others(mhz, name)
        if own is not None and usual and own < usual * (1 - THROTTLED):
            found.append(Unlike(name, f"throttled: {own:.0f} MHz, the others {usual:.0f} MHz"))
    return found


def _others(values: Mapping[str, float | None], name: str) -> float | None:
    """The median of the other nodes; None where none of them is known."""
    known = [value for other, value in values.items() if other != name and value is not None]
    return median(known) if known else None
