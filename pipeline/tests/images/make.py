"""Makes the files beside it for the tests of the image decoder; needs Pillow 12 and NumPy.

`resize.txt` has a line for each case of resizing: rule, size, EXIF orientation, size of the input, and the CRC-32 of the
pixels that Pillow 12 makes. The image is noise from a linear congruential generator, so that no pixel may be wrong.
Pillow up to 12 takes the pass along the rows first, and so does this project; Pillow 13 takes the other first where the
height shrinks much more than the width, so its results differ by 1 here and there.

The other files hold one smooth picture in the encodings of the formats. Where Pillow cannot write one, it is
written here; what it can read is compared with what it reads.

    pip install 'pillow<13' numpy && python3 pipeline/tests/images/make.py
"""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

HERE = Path(__file__).parent
FILTERS = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def noise(width, height):
    """Bytes of a linear congruential generator."""
    state, data = 1, bytearray(width * height * 3)
    for i in range(len(data)):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        # Every few hundred bytes the brightest and darkest, so that filters overshoot.
        data[i] = (0, 255, state >> 24)[min(state >> 22 & 3, 2)]
    return Image.frombytes("RGB", (width, height), bytes(data))


def crop(image, size, shorter, resample):
    """torchvision's Resize(shorter) and CenterCrop(size)."""
    width, height = image.size
    short, long = min(width, height), max(width, height)
    scaled = int(shorter * long / short)
    image = image.resize((shorter, scaled) if width <= height else (scaled, shorter), resample)
    # What lies outside of the image is black.
    if image.width < size[0] or image.height < size[1]:
        left, top = max(size[0] - image.width, 0), max(size[1] - image.height, 0)
        corner = (-(left // 2), -(top // 2))
        right, bottom = image.width + (left + 1) // 2, image.height + (top + 1) // 2
        image = image.crop((*corner, right, bottom))
    left, top = round((image.width - size[0]) / 2.0), round((image.height - size[1]) / 2.0)
    return image.crop((left, top, left + size[0], top + size[1]))


def resized(image, rule, size):
    name, fit, *shorter = rule.split()
    if fit == "stretch":
        return image.resize(size, FILTERS[name])
    return crop(image, size, int(shorter[0]) if shorter else min(size), FILTERS[name])


def resizing():
    sizes = [
        # To one size from all kinds: equal, up, down, both, thin, and more columns than a vector takes.
        ((32, 32), (32, 32)),
        ((1, 1), (32, 32)),
        ((2, 3), (32, 24)),
        ((31, 33), (32, 32)),
        ((500, 375), (32, 32)),
        ((375, 500), (224, 224)),
        ((640, 480), (224, 224)),
        ((300, 7), (64, 48)),
        ((7, 300), (48, 64)),
        ((97, 101), (100, 90)),
        ((33, 200), (1, 1)),
        ((64, 64), (225, 223)),
    ]
    for size, to in sizes:
        for name in FILTERS:
            fits = ["stretch", "crop", f"crop {max(to) * 8 // 7}", f"crop {max(min(to) - 3, 1)}"]
            for fit in fits:
                yield f"{name} {fit}", size, 1, to
    for orientation in UPRIGHT:
        for name in FILTERS:
            for size, to in [((90, 61), (32, 32)), ((20, 35), (48, 40))]:
                yield f"{name} stretch", size, orientation, to
                yield f"{name} crop 51", size, orientation, to


def table():
    images, lines = {}, []
    for rule, size, orientation, to in resizing():
        image = images.setdefault(size, noise(*size))
        if orientation != 1:
            image = image.transpose(UPRIGHT[orientation])
        pixels = resized(image, rule, to).tobytes()
        assert len(pixels) == to[0] * to[1] * 3
        lines.append(f"{rule}; {size[0]} {size[1]} {orientation} {to[0]} {to[1]}; {zlib.crc32(pixels):08x}\n")
    (HERE / "resize.txt").write_text("".join(lines))


# The picture: red from left to right, green from top to bottom, blue along the diagonal.
SIZE = (40, 24)


def picture():
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    red, green = x * 255 // (SIZE[0] - 1), y * 255 // (SIZE[1] - 1)
    return np.stack([red, green, (x + y) * 255 // (SIZE[0] + SIZE[1] - 2)], axis=2).astype(np.uint8)


def grey():
    return picture()[:, :, 2]


def save(name, image, format, **options):
    data = io.BytesIO()
    image.save(data, format, **options)
    (HERE / name).write_bytes(data.getvalue())
    return data.getvalue()


def expect(name, data, expected, most=12):
    """What Pillow reads is about the picture."""
    read = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    off = np.abs(read - expected).max()
    assert off <= most, f"{name}: off by {off}"


def segments(data):
    """Marker and position of each segment before the scan."""
    at = 2
    while data[at + 1] != 0xDA:
        yield data[at + 1], at
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def jpegs():
    rgb = Image.fromarray(picture())
    spread = np.repeat(grey()[:, :, None], 3, axis=2).astype(int)
    best = {"quality": 95}
    files = {
        "baseline.jpg": save("baseline.jpg", rgb, "JPEG", **best),
        "progressive.jpg": save("progressive.jpg", rgb, "JPEG", progressive=True, **best),
        "restarts.jpg": save("restarts.jpg", rgb, "JPEG", subsampling=0, restart_marker_blocks=2, **best),
        "rgb.jpg": save("rgb.jpg", rgb, "JPEG", keep_rgb=True, **best),
    }
    expect("grey.jpg", save("grey.jpg", Image.fromarray(grey()), "JPEG", **best), spread)
    # Files of four inks hold what is left of the light. Without Adobe's segment that is not said, and Pillow reads the same.
    ink = Image.fromarray(255 - picture())
    cmyk = Image.merge("CMYK", (*ink.split(), Image.new("L", SIZE, 0)))
    adobe = save("cmyk-adobe.jpg", cmyk, "JPEG", subsampling=0, **best)
    [at] = [at for marker, at in segments(adobe) if marker == 0xEE]
    plain = adobe[:at] + adobe[at + 16 :]
    (HERE / "cmyk.jpg").write_bytes(plain)
    files |= {"cmyk-adobe.jpg": adobe, "cmyk.jpg": plain}
    # YCCK is the ink as luma and chroma. Pillow writes no such file, so the channels of a CMYK are given that meaning.
    ycc = Image.fromarray(255 - np.asarray(ink.convert("YCbCr")))
    ycck = bytearray(save("ycck.jpg", Image.merge("CMYK", (*ycc.split(), Image.new("L", SIZE, 0))), "JPEG", **best))
    ycck[at + 15] = 2
    (HERE / "ycck.jpg").write_bytes(ycck)
    files["ycck.jpg"] = bytes(ycck)
    for name, data in files.items():
        expect(name, data, picture().astype(int))
    # A whole file as the thumbnail, with its own end marker, in the EXIF segment of a turned one.
    thumbnail = files["baseline.jpg"]
    tiff = struct.pack("<2sHLHHHLHHL", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0, 26) + struct.pack("<H", 2)
    tiff += struct.pack("<HHLL", 0x0201, 4, 1, 56) + struct.pack("<HHLL", 0x0202, 4, 1, len(thumbnail))
    tiff += struct.pack("<L", 0)
    tiff += b"\0" * (56 - len(tiff)) + thumbnail
    exif = b"Exif\0\0" + tiff
    turned = save("turned.jpg", rgb, "JPEG", exif=exif, **best)
    assert Image.open(io.BytesIO(turned)).getexif()[0x0112] == 6


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png(name, samples, depth, colour, interlaced, extra=()):
    """A PNG of samples [rows, columns, channels] of so many bits."""

    def chunk(kind, data):
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    def rows(part):
        for row in part:
            bits = "".join(f"{int(value):0{depth}b}" for value in row.reshape(-1))
            bits += "0" * (-len(bits) % 8)
            yield b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")

    passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [samples]
    data = b"".join(row for part in passes if part.size for row in rows(part))
    height, width = samples.shape[:2]
    header = struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    body = [chunk(b"IHDR", header), *(chunk(*of) for of in extra)]
    body += [chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    file = b"\x89PNG\r\n\x1a\n" + b"".join(body)
    (HERE / name).write_bytes(file)
    return file


def pngs():
    rgb, mono = picture(), grey()[:, :, None]
    opaque = (np.indices(rgb.shape[:2]).sum(axis=0) % 256).astype(np.uint8)[:, :, None]
    wide = rgb.astype(np.uint32) * 257 + 100
    wide = np.minimum(wide, 65535)
    for interlaced, tail in [(False, ""), (True, "-interlaced")]:
        expect("rgb8", png(f"rgb8{tail}.png", rgb, 8, 2, interlaced), rgb, 0)
        png(f"rgba16{tail}.png", np.concatenate([wide, opaque.astype(np.uint32) * 257], axis=2), 16, 6, interlaced)
        for depth in (1, 2, 4, 8):
            png(f"grey{depth}{tail}.png", mono >> (8 - depth), depth, 0, interlaced)
        # Colours by number: red in sixteen steps, green and blue of none.
        palette = bytes(value for step in range(16) for value in (step * 17, 255 - step * 17, 7))
        extra = [(b"PLTE", palette), (b"tRNS", bytes(range(16)))]
        png(f"palette4{tail}.png", rgb[:, :, :1] >> 4, 4, 3, interlaced, extra)
    png("grey-alpha8.png", np.concatenate([mono, opaque], axis=2), 8, 4, False)


def webps():
    rgb = Image.fromarray(picture())
    exif = struct.pack("<2sHLHHHLHHL", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    expect("lossy.webp", save("lossy.webp", rgb, "WEBP", quality=95), picture().astype(int), 24)
    expect("lossless.webp", save("lossless.webp", rgb, "WEBP", lossless=True), picture(), 0)
    save("turned.webp", rgb, "WEBP", lossless=True, exif=exif)
    alpha = rgb.copy()
    alpha.putalpha(Image.fromarray(np.full(picture().shape[:2], 100, np.uint8)))
    save("alpha-lossless.webp", alpha, "WEBP", lossless=True, exact=True)
    save("alpha-lossy.webp", alpha, "WEBP", quality=95, exact=True)
    other = Image.new("RGB", SIZE, (9, 9, 9))
    save("animated.webp", rgb, "WEBP", lossless=True, save_all=True, append_images=[other], duration=50)


def stripe():
    """One row of blocks as a photograph has them, in one interval between restarts: benches/benches/jpeg.rs repeats it."""
    width, height = 400, 16
    soft = noise(width // 16, 2).resize((width, height), FILTERS["bicubic"])
    grain = noise(width, height).filter(ImageFilter.GaussianBlur(1))
    save("stripe.jpg", Image.blend(soft, grain, 0.25), "JPEG", quality=90, restart_marker_blocks=width // 16)


table()
stripe()
jpegs()
pngs()
webps()
