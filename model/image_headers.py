"""Reads the headers of encoded images: kind, size, orientation, and whether the image can be decoded.

A few hundred bytes may declare an image of gigabytes, so the declared size is checked before a decoder sees it.
Runs on Python 3.7 and needs only the standard library.
"""
from __future__ import annotations

import struct
from typing import NamedTuple

READ = "JPEG, PNG, BMP or GIF"
MAX_PIXELS = 100_000_000  # 1.5 GB while it is decoded and resized; most cameras and phones stay below

# JPEG markers: start of scan, end of image, APP1; markers without a length.
SCAN, END, APP1 = 0xDA, b"\xff\xd9", 0xE1
ALONE = {0x00, 0x01, *range(0xD0, 0xDA)}
FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
ARITHMETIC = set(range(0xC9, 0xD0))
ORIENTATION, TIFF_WIDTH, TIFF_HEIGHT = 0x0112, 256, 257
SHORT = 3  # TIFF's type of 16-bit numbers


class Header(NamedTuple):
    """What an image declares: `kind` in words, width and height in pixels as stored (0 if unknown).

    `fault` is why it cannot be decoded and what to do, or ''.
    """

    kind: str
    width: int = 0
    height: int = 0
    fault: str = ""


def fault(encoded: bytes, max_pixels: int = MAX_PIXELS) -> str:
    """Why the detector rejects this image, and what to do; '' if it decodes it."""
    if not encoded:
        return "is empty (0 bytes)"
    header = read_header(encoded)
    why = _too_large(header, max_pixels) or header.fault
    return f"({len(encoded):,} bytes) cannot be decoded: it is {_described(header)}{why}" if why else ""


def read_header(encoded: bytes) -> Header:
    """The header of an image; `kind` is '' if it is not known."""
    for start, kind, read in READERS:
        if encoded.startswith(start):
            try:
                return read(encoded)
            except (struct.error, IndexError):
                return Header(kind, fault=f" and is cut short within its header; {RESTORE}")
    return _other(encoded)


def orientation(encoded: bytes) -> int:
    """The EXIF orientation of a JPEG or PNG, 1 to 8; 1 if it has none. Source: Exif 2.32, 4.6.4."""
    value = _tags(_exif(encoded)).get(ORIENTATION, 1)
    return value if 1 <= value <= 8 else 1


RESTORE = "restore the file"
CONVERT = "; convert it to JPEG or PNG"


def _described(header: Header) -> str:
    if not header.kind:
        return f"not an image in a supported format ({READ})"
    if not (header.width or header.height):
        return header.kind
    return f"{header.kind} and declares {header.width:,} x {header.height:,} pixels"


def _too_large(header: Header, max_pixels: int) -> str:
    if header.fault == CONVERT or header.width * header.height <= max_pixels:
        return ""
    return f", more than the limit of {max_pixels:,} (max_pixels); make it smaller or raise the limit"


def _jpeg(encoded: bytes) -> Header:
    width = height = scan = 0
    needs_data = True
    for marker, start, end in _segments(encoded):
        if marker in FRAMES and not width:
            height, width = struct.unpack_from(">HH", encoded, start + 1)
            needs_data = marker not in ARITHMETIC
        if marker == SCAN:
            scan = end
    header = Header("a JPEG", width, height)
    last = encoded.rfind(END, scan) if scan else -1
    if last < 0:
        return header._replace(fault=f" and is cut short: its end is missing; {RESTORE}")
    if not (width and height):
        return header._replace(fault=f", which is not a size; {RESTORE}")
    # Huffman codes spend at least one bit on each block of 8 x 8 pixels.
    if needs_data and (last - scan) * 8 < -(-width // 8) * -(-height // 8):
        return header._replace(fault=f" and is cut short: {last - scan:,} bytes of data cannot hold them; {RESTORE}")
    return header


def _segments(encoded: bytes):
    """(marker, start and end of its data) of each segment of a JPEG up to the first scan."""
    position = encoded.find(b"\xff", 2)
    while 0 <= position < len(encoded) - 3:
        marker = encoded[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        length = 0 if marker in ALONE else struct.unpack_from(">H", encoded, position + 2)[0]
        if length:
            yield marker, position + 4, position + 2 + length
        if marker == SCAN:
            return
        position = encoded.find(b"\xff", position + 2 + length)


def _png(encoded: bytes) -> Header:
    width, height = struct.unpack_from(">II", encoded, 16)
    header = Header("a PNG", width, height)
    for name, _, end in _chunks(encoded):
        if name == b"IEND" and end + 4 <= len(encoded):
            return header if width and height else header._replace(fault=f", which is not a size; {RESTORE}")
    return header._replace(fault=f" and is cut short: its end is missing; {RESTORE}")


def _chunks(encoded: bytes):
    """(name, start and end of its data) of each chunk of a PNG."""
    position = 8
    while position <= len(encoded) - 8:
        length, name = struct.unpack_from(">I4s", encoded, position)
        yield name, position + 8, position + 8 + length
        position += 12 + length


def _gif(encoded: bytes) -> Header:
    width, height = struct.unpack_from("<HH", encoded, 6)
    sizes = list(_gif_frames(encoded))
    # A frame may be larger than the screen that it is shown on, and is what the decoder makes room for.
    frame = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
    width, height = max((width, height), frame, key=lambda size: size[0] * size[1])
    header = Header("a GIF", width, height)
    if not sizes:
        return header._replace(fault=f" and is cut short: it has no whole frame; {RESTORE}")
    if len(sizes) > 1:
        return header._replace(fault=f" in {len(sizes):,} frames; save one frame as JPEG or PNG")
    return header


def _gif_frames(encoded: bytes):
    """Width and height of each whole frame of a GIF."""
    position = 13 + _palette(encoded[10])
    while position < len(encoded):
        block = encoded[position]
        if block == 0x2C:
            size = struct.unpack_from("<HH", encoded, position + 5)
            position += 11 + _palette(encoded[position + 9])
        elif block == 0x21:
            size, position = None, position + 2
        else:
            return
        while position < len(encoded) and encoded[position]:
            position += 1 + encoded[position]
        if size and position < len(encoded):
            yield size
        position += 1


def _palette(flags: int) -> int:
    """Bytes of the colour table that these flags announce."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _bmp(encoded: bytes) -> Header:
    start, information = struct.unpack_from("<II", encoded, 10)
    if information < 40:
        return Header("a BMP of OS/2", fault=CONVERT)
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", encoded, 18)
    header = Header("a BMP", abs(width), abs(height))
    if bits not in (8, 24, 32) or compression not in (0, 3) or (compression and not _is_plain(encoded)):
        return Header(f"a BMP of {bits} bits, packed or masked", *header[1:3], fault=CONVERT)
    if bits == 8 and not _is_grey(encoded[14 + information:start]):
        return Header("a BMP with a palette", *header[1:3], fault=CONVERT)
    if len(encoded) < start + -(-abs(width) * bits // 32) * 4 * abs(height):
        return header._replace(fault=f" and is cut short; {RESTORE}")
    return header


def _is_plain(encoded: bytes) -> bool:
    """Whether the masks of a BMP are those of blue, green and red in a byte each."""
    return struct.unpack_from("<III", encoded, 54) == (0xFF0000, 0xFF00, 0xFF)


def _is_grey(palette: bytes) -> bool:
    """Whether a palette of 256 colours is the greys, so that indexes are brightness."""
    return len(palette) == 1024 and all(palette[4 * i:4 * i + 3] == bytes([i] * 3) for i in range(256))


def _other(encoded: bytes) -> Header:
    """The header of what is not read."""
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return Header("WebP", *_declared(_webp_size, encoded), fault=CONVERT)
    if encoded.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return Header("JPEG XL", *_declared(_jxl_size, encoded), fault=CONVERT)
    if encoded[4:8] == b"ftyp":
        kind = "AVIF" if encoded[8:12] in (b"avif", b"avis") else "HEIC"
        return Header(kind, *_declared(_heif_size, encoded), fault=CONVERT)
    if encoded.startswith(TIFF):
        tags = _tags(encoded)
        return Header("TIFF", tags.get(TIFF_WIDTH, 0), tags.get(TIFF_HEIGHT, 0), fault=CONVERT)
    for start, kind, remedy in NOT_IMAGES:
        if encoded[:200].lstrip().lower().startswith(start):
            return Header(kind, fault=remedy)
    return Header("", fault=CONVERT)


def _declared(read, encoded: bytes) -> tuple:
    try:
        return read(encoded)
    except (struct.error, IndexError):
        return 0, 0


def _webp_size(encoded: bytes) -> tuple:
    form = encoded[12:16]
    if form == b"VP8X":
        return tuple(1 + int.from_bytes(encoded[at:at + 3], "little") for at in (24, 27))
    if form == b"VP8L":
        bits = struct.unpack_from("<I", encoded, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return tuple(side & 0x3FFF for side in struct.unpack_from("<HH", encoded, 26))


# JPEG XL (ISO 18181-1, SizeHeader): bits of a side's length, and width by height for each ratio.
JXL_BITS = (9, 13, 18, 30)
JXL_RATIOS = ((1, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def _jxl_size(encoded: bytes) -> tuple:
    stream = encoded.find(b"\xff\x0a", 0 if encoded[0] else 12)
    bits = _Bits(encoded[stream + 2:stream + 14])
    is_small = bits.take(1)
    height = _jxl_side(bits, is_small)
    ratio = bits.take(3)
    across, down = JXL_RATIOS[ratio]
    return (height * across // down if ratio else _jxl_side(bits, is_small)), height


def _jxl_side(bits, is_small: int) -> int:
    return 8 * (1 + bits.take(5)) if is_small else 1 + bits.take(JXL_BITS[bits.take(2)])


class _Bits:
    """Bytes read from their lowest bit up."""

    def __init__(self, content: bytes):
        self._rest = int.from_bytes(content, "little")

    def take(self, count: int) -> int:
        """The next bits as a number."""
        taken = self._rest & ((1 << count) - 1)
        self._rest >>= count
        return taken


def _heif_size(encoded: bytes) -> tuple:
    """The largest extent that is declared: that of the whole, where the image is stored in tiles."""
    sizes, at = [(0, 0)], encoded.find(b"ispe")
    while at >= 0:
        sizes.append(struct.unpack_from(">II", encoded, at + 8))
        at = encoded.find(b"ispe", at + 4)
    return max(sizes, key=lambda size: size[0] * size[1])


def _exif(encoded: bytes) -> bytes:
    """The first EXIF block of a JPEG or PNG, from TIFF's header on."""
    if encoded.startswith(b"\xff\xd8"):
        found = (encoded[start + 6:end] for marker, start, end in _segments(encoded)
                 if marker == APP1 and encoded[start:start + 6] == b"Exif\0\0")
    else:
        chunks = _chunks(encoded) if encoded.startswith(b"\x89PNG") else ()
        found = (encoded[start:end] for name, start, end in chunks if name == b"eXIf")
    return next(found, b"")


TIFF = (b"II*\0", b"MM\0*")


def _tags(tiff: bytes) -> dict:
    """Tag → value of the first directory of a TIFF, for values that are a single number."""
    if not tiff.startswith(TIFF):
        return {}
    order, found = "<" if tiff[:1] == b"I" else ">", {}
    try:
        start, = struct.unpack_from(order + "I", tiff, 4)
        count, = struct.unpack_from(order + "H", tiff, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, form, _ = struct.unpack_from(order + "HHI", tiff, at)
            is_short = form == SHORT or tag == ORIENTATION  # as OpenCV, whatever form the orientation claims
            value, = struct.unpack_from(order + ("H" if is_short else "I"), tiff, at + 8)
            found.setdefault(tag, value)
    except struct.error:  # what is cut off is not there
        pass
    return found


# How it starts, what it is, and what reads its header.
READERS = (
    (b"\xff\xd8\xff", "a JPEG", _jpeg), (b"\x89PNG\r\n\x1a\n", "a PNG", _png), (b"GIF8", "a GIF", _gif),
    (b"BM", "a BMP", _bmp),
)
# How it starts, in lower case and without leading space; what it is; what to do.
NOT_IMAGES = (
    (b"\0\0\0\x0cjp  ", "JPEG 2000", CONVERT),
    (b"\xff\x4f\xff\x51", "JPEG 2000", CONVERT),
    (b"8bps", "a Photoshop file", CONVERT),
    (b"version https://git-lfs", "a pointer of Git LFS, not the image", "; fetch it by `git lfs pull`"),
    (b"<svg", "SVG", CONVERT),
    (b"<", "HTML or XML, as a failed download leaves it", f"; {RESTORE}"),
    (b"%pdf", "PDF", CONVERT),
)
