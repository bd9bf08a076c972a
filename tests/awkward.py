"""Real files are awkward: one class folder set with a file for each way that images in the wild go wrong."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

OK = "ok"
Put = Callable[..., None]


def make_awkward(root: Path, *, huge: bool = False) -> Mapping[str, str]:
    """Write every awkward file into class folders below `root`.

    Returns id -> "ok", or a part of the reason that the recorded failure must give. `huge` adds a PNG of
    12,000 x 12,000 pixels (a second to write, over a gigabyte to decode).
    """
    expected: dict[str, str] = {}

    def put(name: str, payload: bytes, outcome: str = OK) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payload)
        expected[name] = outcome

    photo = photograph(96, 64)
    _put_modes(put, photo)
    _put_names(put, photo)
    _put_broken(put, photo)
    if huge:
        flat = Image.new("L", (12_000, 12_000), 90)
        put("0_real/huge_12k.png", encoded(flat, "PNG", compress_level=1))
    (root / "0_real" / "x.png").mkdir()
    expected["0_real/x.png"] = "directory"
    os.symlink("nowhere/at_all.png", root / "1_fake" / "dangling.png")
    expected["1_fake/dangling.png"] = "dangling link"
    # What keeps an image folder company and is no image.
    for name in ("manifest.csv", "README.md", ".DS_Store", "Thumbs.db", "captions.json"):
        (root / "0_real" / name).write_bytes(b"not an image")
    return expected


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return a smooth, colourful RGB picture with some noise, so that codecs have something to do."""
    noise = np.random.default_rng(seed)
    row, column = np.mgrid[0:height, 0:width]
    waves = [np.sin((row * a + column * b) / 9.0 + seed) * 90 + 128 for a, b in ((1.0, 0.3), (0.2, 1.1), (0.7, -0.8))]
    pixels = np.stack(waves, axis=-1) + noise.normal(0, 6, (height, width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGB")


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    """Return an image's file as bytes."""
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


def _png(header: bytes, rows: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def claiming_png(width: int, height: int) -> bytes:
    """Return a small PNG whose header claims any size: a decompression bomb's outside."""
    return _png(struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), bytes(64))


def _put_modes(put: Put, photo: Image.Image) -> None:
    put("0_real/greyscale.png", encoded(photo.convert("L"), "PNG"))
    put("0_real/grey_alpha.png", encoded(photo.convert("LA"), "PNG"))
    put("0_real/bilevel.png", encoded(photo.convert("1"), "PNG"))
    palette = photo.quantize(32)
    put("0_real/palette.png", encoded(palette, "PNG"))
    # A transparency byte for every entry is what Pillow warns about when such an image becomes RGB.
    put("0_real/palette_transparent.png", encoded(palette, "PNG", transparency=bytes(range(0, 256, 8))))
    put("0_real/cmyk.jpg", encoded(photo.convert("CMYK"), "JPEG", quality=90))
    translucent = photo.convert("RGBA")
    translucent.putalpha(photo.convert("L"))
    put("0_real/alpha.png", encoded(translucent, "PNG"))
    put("0_real/alpha.webp", encoded(translucent, "WEBP", lossless=True))
    deep = np.linspace(0, 65535, 64 * 96).astype(np.uint16).reshape(64, 96)
    put("0_real/sixteen_bit_grey.png", encoded(Image.fromarray(deep), "PNG"), "more than 8 bits")
    put("0_real/sixteen_bit_grey.tif", encoded(Image.fromarray(deep), "TIFF"), "more than 8 bits")
    put("0_real/float.tif", encoded(Image.fromarray(deep.astype(np.float32)), "TIFF"), "more than 8 bits")
    put("0_real/sixteen_bit_rgb.png", _sixteen_bit_rgb(photo))
    frames = [photograph(96, 64, seed) for seed in (1, 2, 3)]
    put("0_real/animated.gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    put("0_real/animated.webp", encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True))
    put("0_real/animated.png", encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees when shown
    exif[0x010F] = "A camera"
    put("0_real/exif_rotated.jpg", encoded(photo, "JPEG", exif=exif))
    put("0_real/one_pixel.png", encoded(Image.new("RGB", (1, 1), (9, 99, 199)), "PNG"))


def _sixteen_bit_rgb(photo: Image.Image) -> bytes:
    """Return a PNG with 16 bits a channel, which Pillow cannot write but reads by the upper bytes."""
    pixels = np.asarray(photo).astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return _png(struct.pack(">IIBBBBB", photo.width, photo.height, 16, 2, 0, 0, 0), rows)


def _put_names(put: Put, photo: Image.Image) -> None:
    put("1_fake/webp_named.png", encoded(photo, "WEBP"))
    png = encoded(photo, "PNG")
    for name in ("no_extension", ".leading_dot.png", "a.b.c.d.png", "1001 (6) [x] {y}.png", "UPPER.PNG", "photo.v2.0"):
        put(f"1_fake/{name}", png)
    for name in ("été_日本語_🙂.png", "with 'quotes' & %20#?.png", "two\nlines.png"):
        put(f"1_fake/{name}", png)
    put("0_real/same.png", png)
    put("1_fake/same.png", encoded(photograph(96, 64, 9), "PNG"))


def _put_broken(put: Put, photo: Image.Image) -> None:
    png, jpeg = encoded(photo, "PNG"), encoded(photo, "JPEG")
    put("1_fake/zero_bytes.png", b"", "empty (0 bytes)")
    put("1_fake/truncated.jpg", jpeg[: len(jpeg) // 2], "truncated")
    put("1_fake/truncated.png", png[: len(png) // 2], "truncated")
    put("1_fake/header_only.png", png[:20], "cannot be decoded")
    damaged = bytearray(png)
    damaged[len(png) // 2] ^= 0xFF
    put("1_fake/damaged.png", bytes(damaged), "cannot be decoded")
    put("1_fake/bomb.png", claiming_png(60_000, 60_000), "60000")
    put("1_fake/web_page.jpg", b"<!DOCTYPE html><title>403</title>", "web page")
    put("1_fake/lfs.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull")
    put("1_fake/noise.jpg", np.random.default_rng(1).bytes(500), "not an image")
