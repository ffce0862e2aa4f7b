"""The numbers of convolutions, whichever file they come from, folded and scaled for export."""
from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from model.architecture import Architecture, Dropout, Shortcut

# darknet's batch norm divides by sqrt(variance + 1e-5).
BATCH_NORM_EPSILON = 1e-5


class WeightsError(ValueError):
    """The weights file does not fit the architecture; the message gives the value found and the one expected."""


@dataclass(frozen=True)
class ConvolutionWeights:
    """float32 arrays: kernel [height, width, channels / groups, filters], the others [filters].

    With batch norm `bias` is its beta; without, `scale`, `mean` and `variance` are None.
    """

    kernel: np.ndarray
    bias: np.ndarray
    scale: np.ndarray | None = None
    mean: np.ndarray | None = None
    variance: np.ndarray | None = None

    def folded(self) -> ConvolutionWeights:
        """The same convolution with batch norm folded into kernel and bias (computed in float64)."""
        if self.scale is None:
            return self
        factor = self.scale / np.sqrt(self.variance.astype(np.float64) + BATCH_NORM_EPSILON)
        kernel = (self.kernel * factor).astype(np.float32)
        return ConvolutionWeights(kernel, (self.bias - self.mean * factor).astype(np.float32))

    def for_pixels(self) -> ConvolutionWeights:
        """The same convolution, folded, for an input in [0, 255] instead of [0, 1]."""
        folded = self.folded()
        return ConvolutionWeights(folded.kernel / np.float32(255), folded.bias)

    def arrays(self) -> list[np.ndarray]:
        """The arrays that are not None, in the order of the fields."""
        return [a for a in (self.kernel, self.bias, self.scale, self.mean, self.variance) if a is not None]


def check_variance(name, variance, epsilon: float) -> None:
    """Raises WeightsError unless variance + epsilon is positive, as batch norm needs it.

    Trained networks have variances slightly below 0, such as -7e-44 for a channel that is always 0; these are fine.
    """
    least = float(variance.min())
    if least + epsilon <= 0:
        raise WeightsError(f"{name} is {least:.2g}, must be greater than {-epsilon:g} for batch norm; "
                           "give the weights of this cfg")


def random_weights(architecture: Architecture, seed: int) -> list[ConvolutionWeights]:
    """Random weights with the scale of trained ones, so that activations stay in range and few objects are seen."""
    rng = np.random.default_rng(seed)
    return [
        _random_convolution(rng, conv, channels, 0.1 if _is_added(architecture, index) else 1.0)
        for index, conv, channels in architecture.convolutions()
    ]


def _is_added(architecture, index) -> bool:
    """Whether the layer's output goes straight into a sum."""
    following = (layer for layer in architecture.layers[index + 1:] if not isinstance(layer, Dropout))
    return isinstance(next(following, None), Shortcut)


def _random_convolution(rng, conv, channels, gain) -> ConvolutionWeights:
    """Random numbers of one convolution. `gain` is small before a sum, because chains of sums grow."""
    fan_in = channels // conv.groups * conv.size * conv.size
    shape = (conv.size, conv.size, channels // conv.groups, conv.filters)
    kernel = rng.standard_normal(shape, np.float32) * np.float32(gain * (2 / fan_in) ** 0.5)

    def row(low, high):
        return rng.uniform(low, high, conv.filters).astype(np.float32)

    if not conv.batch_normalize:
        return ConvolutionWeights(kernel, row(-3, -1))
    return ConvolutionWeights(kernel, row(-0.2, 0.2), row(0.8, 1.2), row(-0.2, 0.2), row(0.8, 1.2))


def digest(weights: list[ConvolutionWeights]) -> str:
    """SHA-256 of all numbers in order. It identifies the trained detector, whichever file it came from."""
    sha = hashlib.sha256()
    for convolution in weights:
        for array in convolution.arrays():
            sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()

