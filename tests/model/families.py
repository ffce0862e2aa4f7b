"""The cfgs of published detectors, written section by section: what their families are made of, for any input size.

Layers lie where the published cfgs have them, which the absolute indexes that these name confirm, and their weights
files have as many numbers. Training keys are left out. Source: the cfg folders of github.com/AlexeyAB/darknet (also
pjreddie/darknet) and github.com/WongKinYiu/yolov7.
"""
from __future__ import annotations

YOLOV3_ANCHORS = "10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326"
YOLOV4_ANCHORS = "12,16, 19,36, 40,28, 36,75, 76,55, 72,146, 142,110, 192,243, 459,401"
TINY_ANCHORS = "10,14, 23,27, 37,58, 81,82, 135,169, 344,319"
P5_ANCHORS = "13,17, 31,25, 24,51, 61,45, 48,102, 119,96, 97,189, 217,184, 171,384, 324,451, 616,618, 800,800"
P6_ANCHORS = ("13,17, 31,25, 24,51, 61,45, 61,45, 48,102, 119,96, 97,189, 97,189, 217,184, 171,384, 324,451, "
              "324,451, 545,357, 616,618, 1024,1024")


class Cfg:
    """A cfg that is written; every method adds sections and gives the index of the last layer."""

    def __init__(self, size, activation):
        self.activation = activation
        self.sections = [f"[net]\nwidth={size}\nheight={size}\nchannels=3"]

    def add(self, name, **values) -> int:
        self.sections.append("\n".join([f"[{name}]", *(f"{key}={value}" for key, value in values.items())]))
        return len(self.sections) - 2

    def conv(self, filters, size=1, stride=1) -> int:
        return self.add("convolutional", batch_normalize=1, filters=filters, size=size, stride=stride, pad=1,
                        activation=self.activation)

    def convs(self, *rows) -> int:
        return [self.conv(*row) for row in rows][-1]

    def route(self, *layers) -> int:
        return self.add("route", layers=", ".join(map(str, layers)))

    def shortcut(self) -> int:
        return self.add("shortcut", **{"from": -3}, activation="linear")

    def maxpool(self, size, stride) -> int:
        return self.add("maxpool", size=size, stride=stride)

    def pyramid(self, order) -> int:
        """Spatial pyramid pooling of the last layer."""
        for back, size in ((None, 5), (-2, 9), (-4, 13)):
            if back:
                self.route(back)
            self.maxpool(size, 1)
        return self.route(*order)

    def head(self, mask, anchors, boxes=3, **values) -> int:
        activation = "logistic" if values.get("new_coords") else "linear"
        self.add("convolutional", size=1, stride=1, pad=1, filters=85 * boxes, activation=activation)
        pairs = len(anchors.split(",")) // 2
        return self.add("yolo", mask=mask, anchors=anchors, classes=80, num=pairs, **values)

    def __str__(self):
        return "\n\n".join(self.sections) + "\n"


def yolov3(size, spp=False) -> str:
    cfg = Cfg(size, "leaky")
    cfg.conv(32, 3)
    for filters, blocks in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        cfg.conv(filters, 3, 2)
        for _ in range(blocks):
            cfg.convs((filters // 2,), (filters, 3))
            last = cfg.shortcut()
    assert last == 74
    for step, (filters, lateral) in enumerate(((512, None), (256, 61), (128, 36))):
        if lateral:
            cfg.route(-4)
            cfg.conv(filters)
            cfg.add("upsample", stride=2)
            cfg.route(-1, lateral)
        cfg.convs((filters,), (2 * filters, 3), (filters,))
        if spp and not lateral:
            cfg.pyramid((-1, -3, -5, -6))
            cfg.conv(filters)
        cfg.convs((2 * filters, 3), (filters,))
        cfg.conv(2 * filters, 3)
        first = 6 - 3 * step
        cfg.head(f"{first},{first + 1},{first + 2}", YOLOV3_ANCHORS)
    return str(cfg)


def yolov3_tiny(size) -> str:
    cfg = Cfg(size, "leaky")
    for filters in (16, 32, 64, 128, 256):
        cfg.conv(filters, 3)
        cfg.maxpool(2, 2)
    cfg.conv(512, 3)
    cfg.maxpool(2, 1)
    cfg.convs((1024, 3), (256,), (512, 3))
    cfg.head("3,4,5", TINY_ANCHORS)
    cfg.route(-4)
    cfg.conv(128)
    cfg.add("upsample", stride=2)
    cfg.route(-1, 8)
    cfg.conv(256, 3)
    cfg.head("0,1,2", TINY_ANCHORS)
    return str(cfg)


def yolov4_large(size, deep=False) -> str:
    """yolov4-p5, or -p6 if `deep`."""
    cfg = Cfg(size, "mish")
    cfg.conv(32, 3)
    stages = [(64, 1), (128, 3), (256, 15), (512, 15), (1024, 7)] + [(1024, 7)] * deep
    outputs = [_large_stage(cfg, filters, blocks) for filters, blocks in stages]
    assert outputs == [10, 26, 78, 130, 158] + [186] * deep
    anchors, widths = (P6_ANCHORS, (512, 256, 128)) if deep else (P5_ANCHORS, (256, 128))
    ways_up = [_pyramid_block(cfg, 512, (-1, -3, -5, -6))]
    for width, lateral in zip(widths, reversed(outputs[2:-1])):
        cfg.conv(width)
        cfg.add("upsample", stride=2)
        cfg.route(lateral)
        cfg.conv(width)
        cfg.route(-1, -3)
        ways_up.append(_plain_block(cfg, width))
    ways_down = [ways_up.pop()]
    for width in (256, 512, 512)[:len(ways_up)]:
        cfg.conv(width, 3, 2)
        cfg.route(-1, ways_up.pop())
        ways_down.append(_plain_block(cfg, width))
    assert ways_down == ([249, 262, 275, 288] if deep else [205, 218, 231])
    for step, (layer, width) in enumerate(zip(ways_down, (256, 512, 1024, 1024))):
        cfg.route(layer)
        cfg.conv(width, 3)
        cfg.head(",".join(str(4 * step + i) for i in range(4)), anchors, 4, scale_x_y=2.0, new_coords=1)
    return str(cfg)


def _large_stage(cfg, filters, blocks) -> int:
    part = 32 if filters == 64 else 512 if filters == 1024 else filters // 2
    cfg.convs((filters, 3, 2), (part,))
    cfg.route(-2)
    cfg.conv(part)
    for _ in range(blocks):
        cfg.convs((part,), (part, 3))
        cfg.shortcut()
    cfg.conv(part)
    cfg.route(-1, -(3 * blocks + 4))
    return cfg.conv(filters)


def _pyramid_block(cfg, width, order) -> int:
    cfg.conv(width)
    cfg.route(-2)
    cfg.convs((width,), (width, 3), (width,))
    cfg.pyramid(order)
    cfg.convs((width,), (width, 3))
    cfg.route(-1, -13)
    return cfg.conv(width)


def _plain_block(cfg, width) -> int:
    cfg.convs((width,), (width,))
    cfg.route(-2)
    for _ in range(3):
        cfg.convs((width,), (width, 3))
    cfg.route(-1, -8)
    return cfg.conv(width)


def yolov7(size) -> str:
    return _yolov7(size, 32, (64, 128, 256, 256), 4, (-1, -3, -5, -7), (256, 128), (-1, -2, -3, -4, -5, -7), 512,
                   [12, 27, 42, 57, 72, 86, 100, 115, 130])


def yolov7x(size) -> str:
    return _yolov7(size, 40, (64, 128, 256, 256), 6, (-1, -3, -5, -7, -9), (256, 128), (-1, -3, -5, -7, -9), 640,
                   [14, 31, 48, 65, 80, 96, 112, 129, 146])


def _yolov7(size, stem, parts, depth, joined, neck_parts, neck_joined, deep, published) -> str:
    """`parts`: channels of the backbone's blocks; `deep`: those of the coarsest map of the neck."""
    cfg, is_x = Cfg(size, "swish"), depth == 6
    cfg.convs((stem, 3), (2 * stem, 3, 2), (2 * stem, 3), (4 * stem, 3, 2))
    outputs, width = [], 8 * stem
    for part in parts:
        if outputs:
            _halve(cfg, width // 2)
            cfg.route(-1, -4)
            width = min(2 * width, 32 * stem)
        outputs.append(_block(cfg, part, part, depth, joined, width))
    outputs.append(_pyramid_block(cfg, deep, (-6, -5, -3, -1)))
    for part, lateral, width in zip(neck_parts, (2, 1), (deep // 2, deep // 4)):
        cfg.conv(width)
        cfg.add("upsample", stride=2)
        cfg.route(outputs[lateral])
        cfg.conv(width)
        cfg.route(-1, -3)
        outputs.append(_block(cfg, part, part if is_x else part // 2, depth, neck_joined, width))
    for part, lateral, width in zip((256, 512), (5, 4), (deep // 4, deep // 2)):
        _halve(cfg, width)
        cfg.route(-1, -4, outputs[lateral])
        outputs.append(_block(cfg, part, part if is_x else part // 2, depth, neck_joined, 2 * width))
    assert outputs == published, outputs
    for step, layer in enumerate(outputs[-3:]):
        cfg.route(layer)
        cfg.conv(deep // 2 << step, 3)
        cfg.head(",".join(str(3 * step + i) for i in range(3)), YOLOV4_ANCHORS, scale_x_y=2.0, new_coords=1)
    return str(cfg)


def _halve(cfg, width) -> None:
    cfg.maxpool(2, 2)
    cfg.conv(width)
    cfg.route(-3)
    cfg.convs((width,), (width, 3, 2))


def _block(cfg, split, part, depth, joined, width) -> int:
    """ELAN: two branches, a chain of 3 × 3 convolutions on one, some of them joined."""
    cfg.conv(split)
    cfg.route(-2)
    cfg.conv(split)
    cfg.convs(*[(part, 3)] * depth)
    cfg.route(*joined)
    return cfg.conv(width)


def yolov7_tiny(size) -> str:
    cfg = Cfg(size, "leaky")
    cfg.convs((32, 3, 2), (64, 3, 2))
    outputs = []
    for part in (32, 64, 128, 256):
        if outputs:
            cfg.maxpool(2, 2)
        outputs.append(_tiny_block(cfg, part))
    cfg.conv(256)
    cfg.route(-2)
    cfg.conv(256)
    cfg.pyramid((-1, -3, -5, -6))
    cfg.conv(256)
    cfg.route(-10, -1)
    outputs.append(cfg.conv(256))
    for width, lateral in ((128, 2), (64, 1)):
        cfg.conv(width)
        cfg.add("upsample", stride=2)
        cfg.route(outputs[lateral])
        cfg.conv(width)
        cfg.route(-1, -3)
        outputs.append(_tiny_block(cfg, width // 2))
    for width, lateral in ((128, 5), (256, 4)):
        cfg.conv(width, 3, 2)
        cfg.route(-1, outputs[lateral])
        outputs.append(_tiny_block(cfg, width // 2))
    assert outputs == [8, 16, 24, 32, 44, 56, 68, 77, 86], outputs
    for step, layer in enumerate(outputs[-3:]):
        cfg.route(layer)
        cfg.conv(128 << step, 3)
        cfg.head(",".join(str(3 * step + i) for i in range(3)), YOLOV3_ANCHORS, scale_x_y=2.0, new_coords=1)
    return str(cfg)


def _tiny_block(cfg, part) -> int:
    cfg.conv(part)
    cfg.route(-2)
    cfg.convs((part,), (part, 3), (part, 3))
    cfg.route(-5, -3, -2, -1)
    return cfg.conv(2 * part)
