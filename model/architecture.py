"""The detector's architecture as a list of layer records, in the vocabulary of darknet's cfg files.

Records come from the built-in YOLOv4 table below or from a `.cfg` file (`model.formats.darknet.read_cfg`); both say
exactly what the network computes, so two equal architectures are the same network.
Source: Bochkovskiy, Wang, Liao, "YOLOv4: Optimal Speed and Accuracy of Object Detection", 2020, and yolov4.cfg.
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
    """A convolution whose kernel's numbers lie `dilation` pixels apart; `padding` counts pixels all the same."""

    dilation: int = 2


@dataclass(frozen=True)
class Route:
    """Concatenation of earlier layers (absolute indexes), or part `group_id` of `groups` of each."""

    layers: tuple[int, ...]
    groups: int = 1
    group_id: int = 0


@dataclass(frozen=True)
class Shortcut:
    """The previous layer plus an earlier one (absolute index): as many channels as the previous, its first ones summed.

    Where the earlier layer has fewer channels, the others stay; where it has more, they are left out.
    """

    source: int
    activation: str = "linear"


@dataclass(frozen=True)
class MultiShortcut:
    """The previous layer plus several earlier ones (absolute indexes), channel by channel as in `Shortcut`."""

    sources: tuple[int, ...]
    activation: str = "linear"


@dataclass(frozen=True)
class ScaleChannels:
    """An earlier layer (absolute index), each channel multiplied by the previous layer's one number for it."""

    source: int
    activation: str = "linear"


@dataclass(frozen=True)
class Sam:
    """Spatial attention: the product of the previous layer and an earlier one (absolute index), number by number."""

    source: int
    activation: str = "linear"


@dataclass(frozen=True)
class Activation:
    """An activation on its own."""

    activation: str = "linear"


@dataclass(frozen=True)
class MaxPool:
    """Maximum over size × size; darknet pads by `padding` pixels in all, the smaller half before."""

    size: int
    stride: int
    padding: int


@dataclass(frozen=True)
class LocalAvgPool(MaxPool):
    """Mean over size × size, of the pixels of the image alone; padded as a `MaxPool` is."""


@dataclass(frozen=True)
class AvgPool:
    """The mean of each channel: one pixel."""


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
    """Nothing at inference; a record because darknet counts it as a layer."""


@dataclass(frozen=True)
class Loss:
    """What only training computes; a record because darknet counts it as a layer. No head may read it."""


@dataclass(frozen=True)
class Yolo:
    """A detection head: anchors (width, height) in pixels of the network's input, one per predicted box.

    `scale_x_y` widens the sigmoid of the box centre; `new_coords` is the encoding of scaled-YOLOv4.
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


# darknet counts the numbers of a layer in 32 bits.
LARGEST_OUTPUT = 2**31 - 1
# Beyond any detector that is known (yolov4-p7, 1536 pixels and 287 million numbers), and below what harms a machine.
LARGEST_SIDE = 16_384
MOST_PARAMETERS = 1_000_000_000


class ArchitectureError(ValueError):
    """The records do not make a network; the message names the layer, and `layer` is its index where it is one's."""

    def __init__(self, message, layer=None):
        super().__init__(message)
        self.layer = layer


@dataclass(frozen=True)
class Architecture:
    """Input size in pixels, the layer records, and how the weights' own framework looks at pictures.

    `letterbox`: it keeps their aspect ratio; `diou_beta`: the exponent of its DIoU-NMS, None where suppression is
    greedy by IoU alone.
    """

    width: int
    height: int
    layers: tuple
    letterbox: bool = False
    diou_beta: float | None = None

    def __post_init__(self):
        heads = self.heads
        if not heads:
            raise ArchitectureError("the architecture has no yolo layer, so it detects nothing")
        if len({(head.classes, head.new_coords) for head in heads}) > 1:
            raise ArchitectureError("the yolo layers disagree on classes or new_coords")
        self._check_references()
        if not (0 < self.width <= LARGEST_SIDE and 0 < self.height <= LARGEST_SIDE):
            raise ArchitectureError(
                f"the input size {self.width}x{self.height} is not between 1 and {LARGEST_SIDE:,} pixels a side"
            )
        self.shapes()
        if self.parameters() > MOST_PARAMETERS:
            raise ArchitectureError(f"has {self.parameters():,} parameters, more than {MOST_PARAMETERS:,}")
        self._check_what_heads_read()

    def with_centre_scale(self, scale: float) -> Architecture:
        """The same network, its heads read with that scale_x_y."""
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
        """The layers whose outputs the layer reads, in order; -1 is the image."""
        layer = self.layers[index]
        return layer.layers if isinstance(layer, Route) else (*_sources(layer), index - 1)

    def needed(self) -> set[int]:
        """The layers that a head depends on, heads included. What the others hold is in the weights file, unread."""
        needed = {index for index, _ in self._indexed(Yolo)}
        for index in reversed(range(len(self.layers))):
            if index in needed:
                needed.update(source for source in self.inputs(index) if source >= 0)
        return needed

    def _check_references(self) -> None:
        for index, layer in enumerate(self.layers):
            wrong = [source for source in _sources(layer) if not 0 <= source < index]
            if wrong:
                raise _named(index, layer, f"refers to layer {wrong[0]}, which is not before it")

    def _check_what_heads_read(self) -> None:
        for index in sorted(self.needed()):
            for source in self.inputs(index):
                if source >= 0 and isinstance(self.layers[source], (Yolo, Loss)):
                    kind = _kind(self.layers[source])
                    raise _named(index, self.layers[index], f"reads layer {source} ({kind}), which gives no map to "
                                                            "compute with; a [route] before it names the layer to read")

    def _largest_stride(self) -> int:
        """Pixels of the input to one cell of the coarsest layer that a head depends on."""
        strides: list[Fraction] = []
        for index, layer in enumerate(self.layers):
            source = self.inputs(index)[0] if isinstance(layer, (Route, ScaleChannels)) else index - 1
            stride = strides[source] if source >= 0 else Fraction(1)
            if isinstance(layer, Upsample):
                strides.append(stride / layer.stride)
            else:
                strides.append(stride * getattr(layer, "stride", 1))
        return math.ceil(max(strides[i] for i in self.needed()))

    def shapes(self) -> list[Shape]:
        """The output shape of every layer: sizes that do not divide are rounded down at each, as darknet does.

        Raises ArchitectureError where the records do not fit together.
        """
        shapes: list[Shape] = []
        previous = Shape(self.height, self.width, 3)
        for index, layer in enumerate(self.layers):
            try:
                previous = _output_shape(layer, previous, shapes)
            except _SizesDiffer as error:
                raise _named(index, layer, f"{error}{self._size_hint()}") from None
            except ArchitectureError as error:
                raise _named(index, layer, error) from None
            shapes.append(previous)
        return shapes

    def _size_hint(self) -> str:
        """What to do where maps of one image differ in size, if the input size may be why."""
        stride = self._largest_stride()
        if self.width % stride == self.height % stride == 0:
            return ""
        return f" (the input size {self.width}x{self.height} is not a multiple of {stride}; one that is may fit)"

    def convolutions(self) -> list[tuple[int, Convolutional, int]]:
        """(layer index, record, input channels) of every convolution, in the order of a weights file."""
        shapes = self.shapes()
        return [(i, layer, shapes[i - 1].channels if i else 3) for i, layer in self._indexed(Convolutional)]

    def parameters(self) -> int:
        """Numbers in a darknet weights file: kernels, and per filter a bias or the four rows of batch norm."""
        return sum(parameter_count(conv, channels) for _, conv, channels in self.convolutions())

    def flops(self) -> int:
        """Floating-point operations of the needed convolutions for one image: 2 per multiply-add, as darknet counts."""
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
    """The earlier layers that the record refers to; -1, which is none, for a route that names no layer."""
    if isinstance(layer, Route):
        return layer.layers or (-1,)
    if isinstance(layer, MultiShortcut):
        return layer.sources or (-1,)
    return (layer.source,) if isinstance(layer, (Shortcut, ScaleChannels, Sam)) else ()


def kernel_count(conv: Convolutional, channels: int) -> int:
    """Numbers in the convolution's kernel."""
    return conv.filters * (channels // conv.groups) * conv.size * conv.size


def parameter_count(conv: Convolutional, channels: int) -> int:
    """Numbers that a darknet weights file holds for the convolution."""
    return kernel_count(conv, channels) + conv.filters * (4 if conv.batch_normalize else 1)


def _output_shape(layer, previous: Shape, shapes: list[Shape]) -> Shape:
    shape = _unchecked_shape(layer, previous, shapes)
    if min(shape) < 1:
        raise ArchitectureError(f"is larger than what it gets, {previous.height}x{previous.width} pixels")
    if math.prod(shape) > LARGEST_OUTPUT:
        raise ArchitectureError(f"gives more than {LARGEST_OUTPUT:,} numbers an image")
    return shape


class _SizesDiffer(ArchitectureError):
    """Maps that belong together differ in height or width."""


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
        raise ArchitectureError(f"{layer.padding} pixels of padding are more than a window of {layer.size} covers")
    sides = ((side + layer.padding - layer.size) // layer.stride + 1 for side in previous[:2])
    return Shape(*sides, previous.channels)


def _reorganised(layer: Reorg, previous: Shape) -> Shape:
    height, width, channels = previous
    if height % layer.stride or width % layer.stride:
        raise _SizesDiffer(f"cuts {height}x{width} pixels into blocks of {layer.stride}, which do not fill them")
    return Shape(height // layer.stride, width // layer.stride, channels * layer.stride ** 2)


def _added(layer, previous: Shape, sources: list[Shape]) -> Shape:
    for index, source in zip(_sources(layer), sources):
        if source[:2] != previous[:2]:
            raise _SizesDiffer(f"adds {tuple(source)} (layer {index}) to {tuple(previous)}, a map of another size")
    return previous


def _multiplied(layer, previous: Shape, source: Shape) -> Shape:
    expected = Shape(1, 1, source.channels) if isinstance(layer, ScaleChannels) else source
    if previous != expected:
        raise ArchitectureError(f"multiplies {tuple(source)} (layer {layer.source}) with {tuple(previous)}, "
                                f"expected {tuple(expected)}")
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


# The YOLOv4 table: CSPDarknet53's stages (filters, residual blocks), anchors and centre scale of the three heads.
STAGES = (64, 128, 256, 512, 1024)
DEPTH = (1, 2, 8, 8, 4)
ANCHORS = ((12, 16), (19, 36), (40, 28), (36, 75), (76, 55), (72, 146), (142, 110), (192, 243), (459, 401))
SCALES_X_Y = (1.2, 1.1, 1.05)


def yolov4(classes=80, size=608, width=1.0, depth=DEPTH, anchors=ANCHORS) -> Architecture:
    """YOLOv4 with `classes`, square input `size`, channels scaled by `width`, `depth` residual blocks per stage.

    Scaled channels are rounded to multiples of 8 and never fewer than 8. Nine anchors, smallest first.
    """
    if len(depth) != len(STAGES) or len(anchors) != 9:
        raise ArchitectureError(f"YOLOv4 needs 5 stage depths and 9 anchors, not {len(depth)} and {len(anchors)}")
    return Architecture(size, size, tuple(_Yolov4(classes, width, depth, anchors).layers))


class _Yolov4:
    """Writes the layer records one after the other and remembers where the branches leave."""

    def __init__(self, classes, width, depth, anchors):
        self.classes, self.width, self.anchors = classes, width, anchors
        self.layers: list = []
        self._conv(32, 3, activation="mish")
        stages = [self._stage(filters, blocks) for filters, blocks in zip(STAGES, depth)]
        deep = self._spatial_pyramid_pooling()
        middle = self._upward(512, stages[3])
        fine = self._upward(256, stages[2])
        self._head(0, 256, fine)
        middle = self._downward(512, fine, middle)
        self._head(1, 512, middle)
        deep = self._downward(1024, middle, deep)
        self._head(2, 1024, deep)

    def _add(self, layer) -> int:
        self.layers.append(layer)
        return len(self.layers) - 1

    def _conv(self, filters, size=1, stride=1, activation="leaky") -> int:
        filters = max(8, round(filters * self.width / 8) * 8)
        return self._add(Convolutional(filters, size, stride, size // 2, activation=activation))

    def _route(self, *layers) -> int:
        return self._add(Route(layers))

    def _stage(self, filters, blocks) -> int:
        """A cross-stage-partial stage: halve the size, split, `blocks` residual blocks on one part, join."""
        part = filters if filters == STAGES[0] else filters // 2
        down = self._conv(filters, 3, 2, "mish")
        skip = self._conv(part, activation="mish")
        self._route(down)
        last = self._conv(part, activation="mish")
        for _ in range(blocks):
            self._conv(filters // 2, activation="mish")
            self._conv(part, 3, activation="mish")
            last = self._add(Shortcut(last))
        self._route(self._conv(part, activation="mish"), skip)
        return self._conv(filters, activation="mish")

    def _spatial_pyramid_pooling(self) -> int:
        self._conv(512)
        self._conv(1024, 3)
        source = self._conv(512)
        pools = []
        for size in (5, 9, 13):
            if pools:
                self._route(source)
            pools.append(self._add(MaxPool(size, 1, size - 1)))
        self._route(*reversed(pools), source)
        self._conv(512)
        self._conv(1024, 3)
        return self._conv(512)

    def _upward(self, filters, lateral) -> int:
        """Joins the enlarged deeper map with a backbone stage; five convolutions on the result."""
        self._conv(filters // 2)
        enlarged = self._add(Upsample(2))
        self._route(lateral)
        self._route(self._conv(filters // 2), enlarged)
        return self._five(filters)

    def _downward(self, filters, finer, deeper) -> int:
        """Joins the halved finer map with the deeper one of the way up; five convolutions on the result."""
        self._route(finer)
        self._route(self._conv(filters // 2, 3, 2), deeper)
        return self._five(filters)

    def _five(self, filters) -> int:
        for _ in range(2):
            self._conv(filters // 2)
            self._conv(filters, 3)
        return self._conv(filters // 2)

    def _head(self, index, filters, source) -> None:
        self._conv(filters, 3)
        boxes = 3 * (5 + self.classes)
        self._add(Convolutional(boxes, batch_normalize=False, activation="linear"))
        anchors = tuple(tuple(map(float, pair)) for pair in self.anchors[3 * index:3 * index + 3])
        self._add(Yolo(anchors, self.classes, SCALES_X_Y[index]))
