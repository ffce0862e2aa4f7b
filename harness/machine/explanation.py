"""How much of the differences between windows of load the machine explains; the rest is the detector's.

It is a regression of log(images a second) of the windows on log(share of the cores left for the detector) and log(time
of the reference workload). Exponents are kept within plausible bounds, windows that are unlike the others count less,
and a steady trend is left to the detector.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from harness.machine.noise import LEAST_LEFT, MOST_LEFT_EXPONENT, MOST_REFERENCE_EXPONENT, UNDISTURBED, Conditions

LEAST_WINDOWS = 8  # four values are fitted
ROUNDS = 20  # of reweighting
TUKEY = 4.685  # robust standard deviations beyond which a window does not count (95 % efficiency)
MAD_TO_SIGMA = 1.4826  # of a normal distribution
REACH = 2.0  # standard errors on either side
SMALLEST = 1e-3  # of the median rate, as the rate of a window without an image


class Exponents(NamedTuple):
    """Images a second are proportional to left ** `left` * reference ** -`reference`; both exponents from 0 on."""

    left: float
    reference: float


NOTHING = Exponents(0.0, 0.0)
# A grid over all plausible exponents; the last ones explain most.
SENSIBLE = tuple(Exponents(*pair) for pair in product(np.linspace(0, MOST_LEFT_EXPONENT, 4).tolist(),
                                                      np.linspace(0, MOST_REFERENCE_EXPONENT, 3).tolist()))


@dataclass(frozen=True)
class Explanation:
    """The exponents that fit best, and `likely`: these and those at the edge of what the windows allow, at 95 %.

    `left` is the share of the cores' time that was left for the detector in each window. `reference` is the reference
    workload's time by its median, 1 where unknown.
    """

    left: np.ndarray
    reference: np.ndarray
    exponents: Exponents
    likely: tuple[Exponents, ...]

    def without_noise(self, rates: Sequence[float], exponents: Exponents | None = None) -> np.ndarray:
        """The windows' images a second if the machine had been in each as it was on average."""
        factors = self._factors(self.exponents if exponents is None else exponents)
        return np.asarray(rates, np.float64) / factors * np.exp(np.log(factors).sum() / max(len(factors), 1))

    def slowdowns(self, exponents: Exponents) -> np.ndarray:
        """How many times slower the machine made each window than an undisturbed one, from 1 on."""
        undisturbed = np.percentile(self.reference, UNDISTURBED) ** -exponents.reference
        return np.maximum(undisturbed / self._factors(exponents), 1.0)

    def as_record(self) -> dict[str, Any]:
        """A dictionary for strict JSON."""
        return {"exponents": self.exponents._asdict(), "left": self.left.tolist(), "reference": self.reference.tolist()}

    def _factors(self, exponents: Exponents) -> np.ndarray:
        return self.left ** exponents.left * self.reference ** -exponents.reference


def explain(rates: Sequence[float], conditions: Sequence[Conditions]) -> Explanation:
    """How far the conditions of each window explain its images a second: not at all for fewer than eight windows."""
    left, reference = left_for_us(conditions), _by_median([one.reference for one in conditions])
    if len(rates) < LEAST_WINDOWS or not max(rates):
        return Explanation(left, reference, NOTHING, (NOTHING, *SENSIBLE))
    y = np.log(np.maximum(rates, SMALLEST * np.median(rates) or SMALLEST))
    columns = np.column_stack([np.arange(len(y)), np.log(left), -np.log(reference)])
    columns = np.column_stack([np.ones(len(y)), columns - columns.mean(0)])
    fit, covariance = _robust_fit(columns, y)
    return Explanation(left, reference, Exponents(*fit), tuple(_likely(fit, covariance)))


def left_for_us(conditions: Sequence[Conditions]) -> np.ndarray:
    """The share of the cores' time that was left for the detector in each window.

    Others take what a detector that sleeps does not use. So their share counts only as far as the detector's threads
    waited for a core more than usual at that share, which is how long they wait for one another.
    """
    not_others = np.array([1.0 - (one.others or 0.0) for one in conditions])
    not_waiting = np.array([1.0 if one.waited is None else 1.0 - one.waited for one in conditions])
    usual = np.median(not_waiting / np.maximum(not_others, LEAST_LEFT)) if len(conditions) else 1.0
    known = np.array([one.waited is not None for one in conditions])
    left = np.where(known, np.maximum(not_others, np.minimum(not_waiting / max(usual, LEAST_LEFT), 1.0)), not_others)
    return np.maximum(left - [one.steal or 0.0 for one in conditions], LEAST_LEFT)


def _by_median(values: Sequence[float | None]) -> np.ndarray:
    known = [value for value in values if value]
    return np.array([value / np.median(known) if value else 1.0 for value in values])


def _robust_fit(columns: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The exponents and their covariance, with Tukey's weights."""
    weights = np.ones(len(y))
    for _ in range(ROUNDS):
        fit = _bounded_fit(columns, y, weights)
        errors = y - columns @ fit
        sigma = max(MAD_TO_SIGMA * float(np.median(np.abs(errors - np.median(errors)))), 1e-9)
        weights = np.clip(1 - (errors / (TUKEY * sigma)) ** 2, 0, 1) ** 2
    variance = float(weights @ errors**2) / max(weights.sum() - columns.shape[1], 1.0)
    covariance = variance * np.linalg.pinv(columns.T * weights @ columns)
    return fit[2:], covariance[2:, 2:]


def _bounded_fit(columns: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Least squares; an exponent beyond its bound is fixed there, and the others are fitted again."""
    low = np.array([-np.inf, -np.inf, 0, 0])
    high = np.array([np.inf, np.inf, MOST_LEFT_EXPONENT, MOST_REFERENCE_EXPONENT])
    roots = np.sqrt(weights)
    fit = np.zeros(4)
    held = np.zeros(4, bool)
    for _ in range(3):
        rest = y - columns[:, held] @ fit[held]
        fit[~held] = np.linalg.lstsq(columns[:, ~held] * roots[:, None], rest * roots, rcond=None)[0]
        beyond = (fit < low) | (fit > high)
        if not beyond.any():
            break
        fit, held = np.clip(fit, low, high), held | beyond
    return fit


def _likely(fit: np.ndarray, covariance: np.ndarray) -> list[Exponents]:
    """The best exponents, and those at the ends of the axes of the ellipse round them."""
    sizes, axes = np.linalg.eigh(covariance)
    steps = [sign * REACH * np.sqrt(max(size, 0.0)) * axis for size, axis in zip(sizes, axes.T) for sign in (-1, 1)]
    most = (MOST_LEFT_EXPONENT, MOST_REFERENCE_EXPONENT)
    return [Exponents(*np.clip(fit + step, 0, most).tolist()) for step in (np.zeros(2), *steps)]
