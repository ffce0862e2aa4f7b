"""YOLOv4 as layer records: the built-in architecture.

Source: Bochkovskiy, Wang, Liao, "YOLOv4: Optimal Speed and Accuracy of Object Detection", 2020, and yolov4.cfg.
"""
from __future__ import annotations

from model.architecture import Architecture, ArchitectureError, Convolutional, MaxPool, Route, Shortcut, Upsample, Yolo

# CSPDarknet53's stages (filters, residual blocks), anchors and centre scale of the three heads.
STAGES = (64, 128, 256, 512, 1024)
DEPTH = (1, 2, 8, 8, 4)
ANCHORS = ((12, 16), (19, 36), (40, 28), (36, 75), (76, 55), (72, 146), (142, 110), (192, 243), (459, 401))
SCALES_X_Y = (1.2, 1.1, 1.05)


def yolov4(classes=80, size=608, width=1.0, depth=DEPTH, anchors=ANCHORS) -> Architecture:
    """YOLOv4 with `classes`, a square input of `size` pixels, channels scaled by `width`, `depth` blocks per stage.

    Scaled channels are rounded to multiples of 8, at least 8. `anchors` are nine, smallest first. Raises
    ArchitectureError.
    """
    if len(depth) != len(STAGES) or len(anchors) != 9:
        raise ArchitectureError(f"YOLOv4 has {len(depth)} stage depths and {len(anchors)} anchors, must have 5 and 9")
    return Architecture(size, size, tuple(_Yolov4(classes, width, depth, anchors).layers))


class _Yolov4:
    """Appends the layer records one by one; methods return the index of their last layer, for later branches."""

    def __init__(self, classes, width, depth, anchors):
        self.classes, self.width, self.anchors = classes, width, anchors
        self.layers: list = []
        self._conv(32, 3, activation="mish")
        stages = [self._stage(filters, blocks) for filters, blocks in zip(STAGES, depth)]
        deep = self._spatial_pyramid_pooling()
        middle = self._upward(512, stages[3])
        fine = self._upward(256, stages[2])
        self._head(0, 256)
        middle = self._downward(512, fine, middle)
        self._head(1, 512)
        self._downward(1024, middle, deep)
        self._head(2, 1024)

    def _add(self, layer) -> int:
        self.layers.append(layer)
        return len(self.layers) - 1

    def _conv(self, filters, size=1, stride=1, activation="leaky") -> int:
        filters = max(8, round(filters * self.width / 8) * 8)
        return self._add(Convolutional(filters, size, stride, size // 2, activation=activation))

    def _route(self, *layers) -> int:
        return self._add(Route(layers))

    def _stage(self, filters, blocks) -> int:
        """A cross-stage-partial stage: halves the size, splits, puts `blocks` residual blocks on one part, joins."""
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
        """Joins the enlarged deeper map with a backbone stage, then five convolutions."""
        self._conv(filters // 2)
        enlarged = self._add(Upsample(2))
        self._route(lateral)
        self._route(self._conv(filters // 2), enlarged)
        return self._five(filters)

    def _downward(self, filters, finer, deeper) -> int:
        """Joins the halved finer map with the deeper one of the way up, then five convolutions."""
        self._route(finer)
        self._route(self._conv(filters // 2, 3, 2), deeper)
        return self._five(filters)

    def _five(self, filters) -> int:
        for _ in range(2):
            self._conv(filters // 2)
            self._conv(filters, 3)
        return self._conv(filters // 2)

    def _head(self, index, filters) -> None:
        self._conv(filters, 3)
        boxes = 3 * (5 + self.classes)
        self._add(Convolutional(boxes, batch_normalize=False, activation="linear"))
        anchors = tuple(tuple(map(float, pair)) for pair in self.anchors[3 * index:3 * index + 3])
        self._add(Yolo(anchors, self.classes, SCALES_X_Y[index]))
