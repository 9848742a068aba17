"""Image files out of the ordinary, each of PIXELS, and what is to come of them."""

import io
import zlib

import numpy as np
from PIL import Image, ImageOps

HEIGHT, WIDTH = 8, 10
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
COLOR = Image.fromarray(PIXELS)
GRAY = Image.fromarray(PIXELS[..., 0])
WIDE = PIXELS.astype(np.uint16) * 256 + 77  # 16 bits whose upper half is PIXELS


def saved(image, kind="PNG", **how):
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def chunk(kind, content):
    body = kind + content
    return len(content).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


def png(bits, color, rows, *, before=b"", after=b""):
    """A PNG of HEIGHT x WIDTH by hand, with other chunks before and after its pixels."""
    head = WIDTH.to_bytes(4, "big") + HEIGHT.to_bytes(4, "big") + bytes([bits, color, 0, 0, 0])
    body = b"".join(b"\0" + np.ascontiguousarray(row).tobytes() for row in rows)
    parts = (chunk(b"IHDR", head), before, chunk(b"IDAT", zlib.compress(body)), after, chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def turned(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif.tobytes()


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


BIG = WIDE.astype(">u2")
EXIF = turned(6).removeprefix(b"Exif\0\0")
ONE_MORE = {"save_all": True, "append_images": [ImageOps.invert(COLOR)]}
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
UPRIGHT = np.rot90(PIXELS, -1)  # what orientation 6 says

# name -> content; the pixels that Pillow reads of it, None where that is no color image or not to the bit
SAME = {  # training reads them, and a copy leaves them alone
    "plain.png": (saved(COLOR), PIXELS),
    "upright.png": (saved(COLOR, exif=turned(1)), PIXELS),
    "upright.jpg": (saved(COLOR, "JPEG", exif=turned(1)), None),
    "no_number.jpg": (saved(COLOR, "JPEG", exif=turned(9)), None),
    "damaged_exif.jpg": (saved(COLOR, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), None),
    "alpha.png": (saved(Image.fromarray(np.dstack([PIXELS, PIXELS[..., 0]]))), PIXELS),
    "jpeg.png": (saved(COLOR, "JPEG"), None),
}
FRAMES = {  # training reads the first, and a copy has no other
    "frames.png": (saved(COLOR, **ONE_MORE), PIXELS),
    "frames.jpg": (saved(COLOR, "MPO", **ONE_MORE), None),
}
INKS = {"inks.jpg": (saved(COLOR.convert("CMYK"), "JPEG"), None)}
REFUSED = {  # training refuses them, and a copy has what Pillow reads
    "turned.jpg": ("is to be turned by its EXIF tag", saved(COLOR, "JPEG", exif=turned(6)), None),
    "turned.png": ("is to be turned", saved(COLOR, exif=turned(6)), UPRIGHT),
    "turned_at_its_end.png": ("is to be turned", png(8, 2, PIXELS, after=chunk(b"eXIf", EXIF)), UPRIGHT),
    "turned_by_xmp.jpg": ("is to be turned", saved(COLOR, "JPEG", xmp=XMP), None),
    "gray16.png": ("has 16 bits", png(16, 0, BIG[..., 0]), PIXELS[..., :1]),
    "gray_alpha16.png": ("has 16 bits", png(16, 4, BIG[..., :2]), PIXELS[..., :1]),
    "color16.png": ("has 16 bits", png(16, 2, BIG), PIXELS),
    "alpha16.png": ("has 16 bits", png(16, 6, BIG[..., [0, 1, 2, 0]]), PIXELS),
    "gif.png": ("is not a readable image of PNG or JPEG", saved(GRAY, "GIF"), PIXELS[..., :1]),
    "x.bmp": ("is not a readable image of PNG or JPEG", saved(COLOR, "BMP"), PIXELS),
    "x.tif": ("is not a readable image of PNG or JPEG", saved(COLOR, "TIFF"), PIXELS),
    "turned.tif": ("is not a readable image of PNG or JPEG", saved(COLOR, "TIFF", exif=turned(6)), UPRIGHT),
    "gray16.tif": ("is not a readable image", saved(Image.fromarray(WIDE[..., 0]), "TIFF"), PIXELS[..., :1]),
    "gray16.pgm": ("is not a readable image", saved(Image.fromarray(WIDE[..., 0]), "PPM"), PIXELS[..., :1]),
    "frames.gif": ("is not a readable image", saved(GRAY, "GIF", save_all=True, append_images=[COLOR]), None),
    "x.webp": ("is not a readable image", saved(COLOR, "WEBP", lossless=True), PIXELS),
}
DAMAGED = {  # refused by training and by a copy
    "empty.png": b"",
    "text.jpg": b"no image",
    "half.png": saved(COLOR)[:150],
    "half.jpg": saved(COLOR, "JPEG", quality=95)[:-200],
    "checksum.png": flipped(saved(COLOR), -14),
    "no_end.png": saved(COLOR)[:-12],
}
FLOAT = {"float.tif": saved(Image.fromarray(PIXELS[..., 0].astype(np.float32)), "TIFF")}
