"""A detector's architecture: a list of layer records, in the vocabulary of darknet's cfg files.

Records come from the built-in YOLOv4 table (`model.yolov4`) or from a `.cfg` file (`model.formats.cfg`). Both define
exactly what the network computes, so two equal architectures are the same network.
"""
from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple


@dataclass(frozen=True)
class Convolutional:
    """A convolution, then batch norm (or a bias), then the activation. `padding` is in pixels on every side."""

    filters: int
    size: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1
    batch_normalize: bool = True
    activation: str = "leaky"


@dataclass(frozen=True)
class DilatedConvolutional(Convolutional):
    """A convolution whose kernel samples every `dilation`-th pixel. `padding` is still in pixels."""

    dilation: int = 2


@dataclass(frozen=True)
class Route:
    """Concatenation of earlier layers (absolute indexes), or part `group_id` of `groups` of each."""

    layers: tuple[int, ...]
    groups: int = 1
    group_id: int = 0


@dataclass(frozen=True)
class _Joined:
    """The previous layer combined with an earlier one (absolute index)."""

    source: int
    activation: str = "linear"


@dataclass(frozen=True)
class Shortcut(_Joined):
    """Their sum.

    The output has as many channels as the previous layer: missing channels of the earlier layer count as 0, further
    ones are ignored.
    """


@dataclass(frozen=True)
class MultiShortcut:
    """The previous layer plus several earlier ones (absolute indexes), channel by channel as in `Shortcut`."""

    sources: tuple[int, ...]
    activation: str = "linear"


@dataclass(frozen=True)
class ScaleChannels(_Joined):
    """The earlier layer, each channel multiplied by its one value in the previous layer."""


@dataclass(frozen=True)
class Sam(_Joined):
    """Spatial attention: their element-wise product."""


@dataclass(frozen=True)
class Activation:
    """An activation as a layer of its own."""

    activation: str = "linear"


@dataclass(frozen=True)
class MaxPool:
    """Maximum over size × size. `padding` is the sum of both sides, the smaller half first."""

    size: int
    stride: int
    padding: int


@dataclass(frozen=True)
class LocalAvgPool(MaxPool):
    """Mean over size × size, without the padding, which is as in `MaxPool`."""


@dataclass(frozen=True)
class AvgPool:
    """The mean of each channel, as one pixel."""


@dataclass(frozen=True)
class Reorg:
    """Blocks of stride × stride pixels stacked as channels, block row by block row (darknet's reorg3d)."""

    stride: int = 2


@dataclass(frozen=True)
class Upsample:
    """Nearest-neighbour enlargement by `stride`."""

    stride: int = 2


@dataclass(frozen=True)
class Dropout:
    """Does nothing at inference. It is a record because darknet counts it as a layer."""


@dataclass(frozen=True)
class Loss:
    """A layer for training only, a record because darknet counts it as a layer. No head may read it."""


@dataclass(frozen=True)
class Yolo:
    """A detection head: anchors (width, height) in pixels of the network's input, one per predicted box.

    `scale_x_y` widens the sigmoid of the box centre; `new_coords` selects the encoding of scaled-YOLOv4.
    """

    anchors: tuple[tuple[float, float], ...]
    classes: int
    scale_x_y: float = 1.0
    new_coords: bool = False


class Shape(NamedTuple):
    """Height, width and channels of a layer's output."""

    height: int
    width: int
    channels: int


# darknet counts the elements of a layer in 32 bits.
LARGEST_OUTPUT = 2**31 - 1
# Above every known detector (yolov4-p7 has 1536 pixels and 287 million parameters), and small enough for a machine.
LARGEST_SIDE = 16_384
MOST_PARAMETERS = 1_000_000_000


class ArchitectureError(ValueError):
    """The records do not form a network. `layer` is the index of the layer at fault, or None."""

    def __init__(self, message, layer=None):
        super().__init__(message)
        self.layer = layer


@dataclass(frozen=True)
class Architecture:
    """Input size in pixels, the layer records, and the pre- and post-processing that the weights were trained for.

    `letterbox`: images keep their aspect ratio. `diou_beta`: the exponent of DIoU-NMS, None for greedy NMS by IoU.
    """

    width: int
    height: int
    layers: tuple
    letterbox: bool = False
    diou_beta: float | None = None

    def __post_init__(self):
        heads = self.heads
        if not heads:
            raise ArchitectureError("the architecture has no yolo layer, so it detects nothing; add a head")
        if len({(head.classes, head.new_coords) for head in heads}) > 1:
            raise ArchitectureError("the yolo layers must have the same classes and new_coords")
        self._check_references()
        if not (0 < self.width <= LARGEST_SIDE and 0 < self.height <= LARGEST_SIDE):
            raise ArchitectureError(
                f"the input size {self.width}x{self.height}: must be between 1 and {LARGEST_SIDE:,} pixels a side"
            )
        self.shapes()
        if self.parameters() > MOST_PARAMETERS:
            raise ArchitectureError(f"has {self.parameters():,} parameters, must have at most {MOST_PARAMETERS:,}")
        self._check_inputs_of_heads()

    def with_centre_scale(self, scale: float) -> Architecture:
        """The same network with this scale_x_y in all heads."""
        layers = (replace(layer, scale_x_y=scale) if isinstance(layer, Yolo) else layer for layer in self.layers)
        return replace(self, layers=tuple(layers))

    def _indexed(self, kind):
        return [(i, layer) for i, layer in enumerate(self.layers) if isinstance(layer, kind)]

    @property
    def heads(self) -> list[Yolo]:
        return [layer for _, layer in self._indexed(Yolo)]

    @property
    def classes(self) -> int:
        return self.heads[0].classes

    def inputs(self, index: int) -> tuple[int, ...]:
        """The indexes of the layers that a layer reads, in order; -1 is the image."""
        layer = self.layers[index]
        return layer.layers if isinstance(layer, Route) else (*_sources(layer), index - 1)

    def needed(self) -> set[int]:
        """The layers that a head depends on, and the heads. Others may have weights, but are not computed."""
        needed = {index for index, _ in self._indexed(Yolo)}
        for index in reversed(range(len(self.layers))):
            if index in needed:
                needed.update(source for source in self.inputs(index) if source >= 0)
        return needed

    def _check_references(self) -> None:
        for index, layer in enumerate(self.layers):
            wrong = [source for source in _sources(layer) if not 0 <= source < index]
            if wrong:
                raise _named(index, layer, f"refers to layer {wrong[0]}, must refer to an earlier one")

    def _check_inputs_of_heads(self) -> None:
        for index in sorted(self.needed()):
            for source in self.inputs(index):
                if source >= 0 and isinstance(self.layers[source], (Yolo, Loss)):
                    kind = _kind(self.layers[source])
                    raise _named(index, self.layers[index], f"reads layer {source} ({kind}), which has no output map; "
                                                            "put a [route] to another layer before it")

    def _largest_stride(self) -> int:
        """Input pixels per cell of the coarsest layer that a head depends on."""
        strides: list[Fraction] = []
        for index, layer in enumerate(self.layers):
            source = self.inputs(index)[0] if isinstance(layer, (Route, ScaleChannels)) else index - 1
            stride = strides[source] if source >= 0 else Fraction(1)
            factor = Fraction(1, layer.stride) if isinstance(layer, Upsample) else getattr(layer, "stride", 1)
            strides.append(stride * factor)
        return math.ceil(max(strides[i] for i in self.needed()))

    def shapes(self) -> list[Shape]:
        """The output shape of every layer: sizes that do not divide are rounded down at each, as in darknet.

        Raises ArchitectureError if the records do not fit together.
        """
        shapes: list[Shape] = []
        previous = Shape(self.height, self.width, 3)
        for index, layer in enumerate(self.layers):
            try:
                previous = _output_shape(layer, previous, shapes)
            except ArchitectureError as error:
                hint = self._size_hint() if isinstance(error, _SizesDiffer) else ""
                raise _named(index, layer, f"{error}{hint}") from None
            shapes.append(previous)
        return shapes

    def _size_hint(self) -> str:
        """What to do about maps of different sizes, if the input size may be the reason; else ''."""
        stride = self._largest_stride()
        if self.width % stride == self.height % stride == 0:
            return ""
        return f"; try an input size that is a multiple of {stride}, unlike {self.width}x{self.height}"

    def convolutions(self) -> list[tuple[int, Convolutional, int]]:
        """(layer index, record, input channels) of every convolution, in the order of a weights file."""
        shapes = self.shapes()
        return [(i, layer, shapes[i - 1].channels if i else 3) for i, layer in self._indexed(Convolutional)]

    def parameters(self) -> int:
        """How many numbers a darknet weights file has: kernels, and per filter a bias or batch norm's four values."""
        return sum(parameter_count(conv, channels) for _, conv, channels in self.convolutions())

    def flops(self) -> int:
        """Floating-point operations of the needed convolutions for one image, 2 per multiply-add as in darknet."""
        shapes, needed = self.shapes(), self.needed()
        return sum(
            2 * shapes[i].height * shapes[i].width * kernel_count(conv, channels)
            for i, conv, channels in self.convolutions() if i in needed
        )


def _kind(layer) -> str:
    return type(layer).__name__.lower()


def _named(index: int, layer, problem) -> ArchitectureError:
    return ArchitectureError(f"layer {index} ({_kind(layer)}): {problem}", index)


def _sources(layer) -> tuple:
    """The earlier layers that a record refers to; the invalid index -1 if it should name one and does not."""
    if isinstance(layer, Route):
        return layer.layers or (-1,)
    if isinstance(layer, MultiShortcut):
        return layer.sources or (-1,)
    return (layer.source,) if isinstance(layer, _Joined) else ()


def kernel_count(conv: Convolutional, channels: int) -> int:
    """How many numbers the kernel of a convolution has."""
    return conv.filters * (channels // conv.groups) * conv.size * conv.size


def parameter_count(conv: Convolutional, channels: int) -> int:
    """How many numbers a darknet weights file has for a convolution."""
    return kernel_count(conv, channels) + conv.filters * (4 if conv.batch_normalize else 1)


def _output_shape(layer, previous: Shape, shapes: list[Shape]) -> Shape:
    shape = _unchecked_shape(layer, previous, shapes)
    if min(shape) < 1:
        raise ArchitectureError(f"is larger than its input of {previous.height}x{previous.width} pixels")
    if math.prod(shape) > LARGEST_OUTPUT:
        raise ArchitectureError(f"has more than {LARGEST_OUTPUT:,} output numbers per image")
    return shape


class _SizesDiffer(ArchitectureError):
    """Maps that are combined differ in height or width."""


def _unchecked_shape(layer, previous: Shape, shapes: list[Shape]) -> Shape:
    sources = [shapes[i] for i in _sources(layer)]
    if isinstance(layer, Convolutional):
        return _convolved(layer, previous)
    if isinstance(layer, MaxPool):
        return _pooled(layer, previous)
    if isinstance(layer, AvgPool):
        return Shape(1, 1, previous.channels)
    if isinstance(layer, Reorg):
        return _reorganised(layer, previous)
    if isinstance(layer, Upsample):
        return Shape(previous.height * layer.stride, previous.width * layer.stride, previous.channels)
    if isinstance(layer, Route):
        return _routed(layer, sources)
    if isinstance(layer, (Shortcut, MultiShortcut)):
        return _added(layer, previous, sources)
    if isinstance(layer, (ScaleChannels, Sam)):
        return _multiplied(layer, previous, sources[0])
    if isinstance(layer, Yolo):
        _check_filters(layer, previous)
    return previous


def _convolved(layer: Convolutional, previous: Shape) -> Shape:
    if previous.channels % layer.groups or layer.filters % layer.groups:
        raise ArchitectureError(
            f"{layer.groups} groups do not divide both {previous.channels} channels and {layer.filters} filters"
        )
    extent = (layer.size - 1) * getattr(layer, "dilation", 1) + 1
    sides = ((side + 2 * layer.padding - extent) // layer.stride + 1 for side in previous[:2])
    return Shape(*sides, layer.filters)


def _pooled(layer: MaxPool, previous: Shape) -> Shape:
    if layer.padding > 2 * (layer.size - 1):
        raise ArchitectureError(f"has {layer.padding} pixels of padding, must have at most {2 * (layer.size - 1)}")
    sides = ((side + layer.padding - layer.size) // layer.stride + 1 for side in previous[:2])
    return Shape(*sides, previous.channels)


def _reorganised(layer: Reorg, previous: Shape) -> Shape:
    height, width, channels = previous
    if height % layer.stride or width % layer.stride:
        raise _SizesDiffer(f"cannot cut {height}x{width} pixels into blocks of {layer.stride}")
    return Shape(height // layer.stride, width // layer.stride, channels * layer.stride ** 2)


def _added(layer, previous: Shape, sources: list[Shape]) -> Shape:
    for index, source in zip(_sources(layer), sources):
        if source[:2] != previous[:2]:
            raise _SizesDiffer(f"adds {tuple(source)} (layer {index}) to {tuple(previous)}, must be of the same size")
    return previous


def _multiplied(layer, previous: Shape, source: Shape) -> Shape:
    expected = Shape(1, 1, source.channels) if isinstance(layer, ScaleChannels) else source
    if previous != expected:
        raise ArchitectureError(f"multiplies {tuple(source)} (layer {layer.source}) with {tuple(previous)}, "
                                f"must be {tuple(expected)}")
    return source


def _check_filters(layer: Yolo, previous: Shape) -> None:
    expected = len(layer.anchors) * (5 + layer.classes)
    if previous.channels != expected:
        raise ArchitectureError(
            f"{len(layer.anchors)} anchors and {layer.classes} classes need {expected} filters "
            f"in the layer before, which has {previous.channels}"
        )


def _routed(layer: Route, sources: list[Shape]) -> Shape:
    sizes = list(dict.fromkeys(f"{source.height}x{source.width}" for source in sources))
    if len(sizes) > 1:
        raise _SizesDiffer(f"concatenates layers of different sizes, {' and '.join(sizes[:4])}")
    different = [source for source in sources if source.channels % layer.groups]
    if different or layer.group_id >= layer.groups:
        channels = (different or sources)[0].channels
        raise ArchitectureError(f"cannot take group {layer.group_id} of {layer.groups} of {channels} channels")
    return Shape(*sources[0][:2], sum(source.channels // layer.groups for source in sources))
