"""Draws detections onto their image."""
from __future__ import annotations

import colorsys
import io
from contextlib import suppress

from PIL import ExifTags, Image, ImageDraw, ImageFont

# EXIF orientation → the operation that turns the image upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def draw(encoded: bytes, detections, names=(), score_threshold=0.25) -> Image.Image:
    """The decoded image (RGB, upright) with a box and `name score` for every detection at or above the threshold.

    Each class has its own colour; lines and letters grow with the image.
    """
    image = upright(encoded)
    canvas = ImageDraw.Draw(image)
    line = max(2, round(min(image.size) / 200))
    font = ImageFont.load_default(max(11, round(min(image.size) / 36)))
    shown = [row for row in zip(detections.boxes, detections.scores, detections.classes) if row[1] >= score_threshold]
    for box, _, label in reversed(shown):
        canvas.rectangle(box.tolist(), outline=_colour(int(label)), width=line)
    plates: list[tuple] = []
    for box, score, label in shown:
        text = f"{class_name(names, label)} {score:.2f}"
        plates.append(_free_plate(canvas, box, text, font, plates))
        _label(canvas, plates[-1], text, _colour(int(label)), font)
    return image


def upright(encoded: bytes) -> Image.Image:
    """The image as the detector sees it, in RGB."""
    image = Image.open(io.BytesIO(encoded))
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip to 8
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    image = image.convert("RGB")
    turn = _turn(image.info.get("exif", b""))
    return image if turn is None else image.transpose(turn)


def _turn(exif: bytes) -> Image.Transpose | None:
    """What turns the image upright, by its EXIF block. Not by getexif(), which reads XMP too, unlike decoders."""
    tags = Image.Exif()
    with suppress(Exception):  # broken blocks raise errors of every kind
        tags.load(exif)
        return TURNS.get(tags.get(ExifTags.Base.Orientation))
    return None


def class_name(names, label) -> str:
    """The name of a class, or `class` and its index if the detector has no names."""
    return names[label] if label < len(names) else f"class {label}"


def _free_plate(canvas, box, text, font, taken) -> tuple:
    """The rectangle for a text, inside the image and clear of earlier texts if possible.

    It is above the box, else at its top, at its bottom or below.
    """
    left, top, right, bottom = canvas.textbbox((0, 0), text, font=font)
    width, height = right - left + 6, bottom - top + 6
    x1, y1, _, y2 = box.tolist()
    x = max(0, min(x1, canvas.im.size[0] - width))
    spots = [y for y in (y1 - height, y1, y2 - height, y2) if 0 <= y <= canvas.im.size[1] - height] or [0]
    plates = [(x, y, x + width, y + height) for y in spots]
    return next((plate for plate in plates if not any(_overlap(plate, other) for other in taken)), plates[0])


def _overlap(one, two) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]


def _label(canvas, plate, text, colour, font) -> None:
    """Draws the text on a plate of the box's colour."""
    canvas.rectangle(plate, fill=colour)
    left, top, *_ = canvas.textbbox((0, 0), text, font=font)
    brightness = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    fill = "black" if brightness > 140 else "white"
    canvas.text((plate[0] + 3 - left, plate[1] + 3 - top), text, fill=fill, font=font)


def _colour(label: int) -> tuple:
    """A colour far from those of neighbouring classes: the golden ratio steps round the circle of hues."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618 % 1, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)
