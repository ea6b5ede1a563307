"""Small images of every kind that goxl reads, and the pixels that diffusers' load_image makes of them:
ImageOps.exif_transpose, then convert("RGB").

    python tools/reference/images.py    writes internal/imagefile/testdata/{*.png,*.jpg,*.webp} and pixels.safetensors

It needs Pillow and numpy alone of requirements.txt, and safetensors. JPEG and WebP files depend on the codecs that
Pillow was built with; the pixels are always those of the files beside them.
"""

import io
import os
import re
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, features
from PIL import __version__ as pillow_version
from safetensors.numpy import save_file

FOLDER = os.path.join(os.path.dirname(__file__), "..", "..", "internal", "imagefile", "testdata")
WIDTH, HEIGHT = 23, 17  # odd, and no multiple of a JPEG's or WebP's blocks
files = {}


def scene(width=WIDTH, height=HEIGHT, channels=3, dtype=np.uint8):
    """Slopes with sharp coloured edges, which show how chroma is filtered; alpha falls to 0."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    red = 255 * x / width
    green = 255 * y / height
    blue = 255 * (((x // 5 + y // 4) % 2) > 0)
    alpha = np.clip(400 * (x + y) / (width + height) - 100, 0, 255)
    top = np.iinfo(dtype).max
    return (np.stack([red, green, blue, alpha], -1)[..., :channels] / 255 * top).round().astype(dtype)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(rows, width, height, bits, colour, *before, after=b"", interlaced=False):
    """A PNG of raw rows, with chunks before and after its pixels."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    body = chunk(b"IDAT", zlib.compress(b"".join(rows), 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(before) + body + after + chunk(b"IEND", b"")


def unfiltered(samples, bits):
    """Rows [height, width, channels] as PNG stores them, without filters."""
    rows = []
    for row in samples:
        flat = row.reshape(-1)
        if bits == 16:
            data = flat.astype(">u2").tobytes()
        elif bits == 8:
            data = flat.astype(np.uint8).tobytes()
        else:
            each = np.unpackbits(flat.astype(np.uint8)[:, None], axis=1)[:, 8 - bits:]
            data = np.packbits(each.reshape(-1)).tobytes()
        rows.append(b"\0" + data)
    return rows


def adam7(samples, bits):
    rows = []
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        part = samples[y0::dy, x0::dx]
        if part.size:
            rows += unfiltered(part, bits)
    return rows


def stored(samples, bits, colour, *before, **options):
    height, width = samples.shape[:2]
    rows = adam7(samples, bits) if options.get("interlaced") else unfiltered(samples, bits)
    return png(rows, width, height, bits, colour, *before, **options)


def tiff(orientation, order="<", comment=None, kind=3):
    """EXIF with an orientation of a TIFF type (3 short, 4 long) and, in its sub-directory, a UserComment."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(order + ("HH" if kind == 3 else "I"), *((orientation, 0) if kind == 3 else (orientation,)))
    entries = [struct.pack(order + "HHI", 0x0112, kind, 1) + value]
    if comment is not None:
        entries.append(struct.pack(order + "HHII", 0x8769, 4, 1, 8 + 2 + 12 * 2 + 4))
    out = mark + struct.pack(order + "IH", 8, len(entries)) + b"".join(entries) + struct.pack(order + "I", 0)
    if comment is not None:
        at = len(out) + 2 + 12 + 4
        out += struct.pack(order + "HHHII", 1, 0x9286, 7, len(comment), at) + struct.pack(order + "I", 0) + comment
    return out


def xmp(orientation):
    return (f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>').encode()


def itxt(key, value, compressed=False):
    data = zlib.compress(value) if compressed else value
    return chunk(b"iTXt", key + b"\0" + bytes([compressed, 0]) + b"\0\0" + data)


def pngs():
    rgba, rgba16 = scene(channels=4), scene(channels=4, dtype=np.uint16)
    # Low bytes other than the high ones, so that cutting and rounding differ.
    rgba16 = (rgba16 ^ 0x00a5).astype(np.uint16)
    grey = rgba[..., 0] // 2 + rgba[..., 2] // 3
    for bits in (1, 2, 4, 8):
        files[f"grey{bits}.png"] = stored((grey >> (8 - bits))[..., None], bits, 0)
    files["grey1_trns.png"] = stored((grey >> 7)[..., None], 1, 0, chunk(b"tRNS", b"\0\1"))
    files["grey8_trns.png"] = stored(grey[..., None], 8, 0, chunk(b"tRNS", struct.pack(">H", int(grey[3, 4]))))
    # Pillow clips 16-bit grey at 255 where it becomes RGB; the ramp crosses that.
    ramp = (np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH, 1) ** 2 % 700).astype(np.uint16)
    files["grey16.png"] = stored(ramp, 16, 0)
    files["grey16_trns.png"] = stored(ramp, 16, 0, chunk(b"tRNS", struct.pack(">H", int(ramp[2, 5, 0]))))
    files["la8.png"] = stored(np.stack([grey, rgba[..., 3]], -1), 8, 4)
    files["la16.png"] = stored(rgba16[..., [0, 3]], 16, 4)
    files["rgb8.png"] = stored(rgba[..., :3], 8, 2)
    files["rgb8_trns.png"] = stored(rgba[..., :3], 8, 2, chunk(b"tRNS", struct.pack(">HHH", *map(int, rgba[6, 7, :3]))))
    files["rgb16.png"] = stored(rgba16[..., :3], 16, 2)
    files["rgb16_trns.png"] = stored(rgba16[..., :3], 16, 2, chunk(b"tRNS", struct.pack(">HHH", *map(int, rgba16[6, 7, :3]))))
    files["rgba8.png"] = stored(rgba, 8, 6)
    files["rgba16.png"] = stored(rgba16, 16, 6)
    palette = chunk(b"PLTE", bytes(int(v) for i in range(13) for v in (20 * i, 255 - 19 * i, 37 * i % 256)))
    index = (np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH, 1) * 7 % 13).astype(np.uint8)
    for bits in (1, 2, 4, 8):
        files[f"palette{bits}.png"] = stored(index % min(1 << bits, 13), bits, 3, palette if bits > 2 else
                                             chunk(b"PLTE", bytes([250, 3, 7, 0, 99, 200, 5, 6, 90, 91, 92, 93][: 3 << bits])))
    files["palette_trns.png"] = stored(index, 8, 3, palette, chunk(b"tRNS", bytes([255, 0, 128, 7])))
    files["palette_short.png"] = stored(index, 8, 3, chunk(b"PLTE", bytes(range(60, 60 + 3 * 9))))  # indices 9 to 12 have no colour
    files["interlaced_rgb.png"] = stored(rgba[..., :3], 8, 2, interlaced=True)
    files["interlaced_palette.png"] = stored(index, 4, 3, palette, chunk(b"tRNS", bytes([255, 0, 128, 7])), interlaced=True)

    rgb = rgba[..., :3]
    files["text_odd.png"] = stored(
        rgb, 8, 2, itxt(b"parameters", "猫, ünïcode".encode(), compressed=True), chunk(b"zTXt", b"comment\0\0" + zlib.compress(b"caf\xe9 \n deflated")),
        chunk(b"tEXt", b"nokey"), chunk(b"iTXt", b"short\0\0"), chunk(b"iTXt", b"shorter\0\0\0en"), chunk(b"zTXt", b"broken\0\0xyz"),
        chunk(b"iTXt", b"badzip\0\1\0\0\0xyz"), chunk(b"iTXt", b"badutf\0\0\0\0\0\xff\xfe"), chunk(b"tEXt", b"\0no keyword"),
        chunk(b"tEXt", b"plain\0as it is"), after=chunk(b"tEXt", b"late\0behind the pixels"))
    for k in range(1, 9):
        files[f"exif{k}.png"] = stored(rgb, 8, 2, chunk(b"eXIf", tiff(k, "<" if k % 2 else ">")))
    files["exif_late.png"] = stored(rgb, 8, 2, after=chunk(b"eXIf", tiff(8)))
    files["exif_long.png"] = stored(rgb, 8, 2, chunk(b"eXIf", tiff(6, ">", kind=4)))
    files["exif_invalid.png"] = stored(rgb, 8, 2, chunk(b"eXIf", tiff(9)))
    files["exif_palette.png"] = stored(index, 8, 3, palette, chunk(b"tRNS", bytes([255, 0])), chunk(b"eXIf", tiff(5)))
    files["exif_xmp.png"] = stored(rgb, 8, 2, itxt(b"XML:com.adobe.xmp", xmp(7)))
    files["exif_over_xmp.png"] = stored(rgb, 8, 2, itxt(b"XML:com.adobe.xmp", xmp(7)), chunk(b"eXIf", tiff(2)))
    profile = b"Exif\0\0" + tiff(3)
    raw = b"\nexif\n%8d\n" % len(profile) + re.sub(rb"(.{72})", rb"\1\n", profile.hex().encode()) + b"\n"
    files["exif_raw_profile.png"] = stored(rgb, 8, 2, chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw)))

    frames = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:], duration=50)
    files["animated.png"] = buffer.getvalue()


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def without(data, marker):
    """A JPEG without the segments of a marker."""
    out, at = data[:2], 2
    while data[at + 1] != 0xDA:
        n = 2 + int.from_bytes(data[at + 2:at + 4], "big")
        if data[at + 1] != marker:
            out += data[at:at + n]
        at += n
    return out + data[at:]


def with_segment(data, marker, body):
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + data[2:]


def jpegs():
    rgb = Image.fromarray(scene())
    wide, small = Image.fromarray(scene(40, 33)), Image.fromarray(scene(4, 3))
    for name, sampling in (("444", 0), ("422", 1), ("420", 2)):
        files[f"jpeg{name}.jpg"] = encoded(rgb, "JPEG", quality=85, subsampling=sampling)
    files["jpeg420_even.jpg"] = encoded(Image.fromarray(scene(32, 18)), "JPEG", quality=85, subsampling=2)
    files["jpeg420_small.jpg"] = encoded(small, "JPEG", quality=85, subsampling=2)
    files["jpeg422_small.jpg"] = encoded(small, "JPEG", quality=85, subsampling=1)
    files["jpeg440.jpg"] = turned(rgb)
    files["jpeg411.jpg"] = encoded(wide, "JPEG", quality=85, subsampling="4:1:1")
    files["progressive.jpg"] = encoded(rgb, "JPEG", quality=85, progressive=True)
    files["restart.jpg"] = encoded(wide, "JPEG", quality=85, restart_marker_blocks=1)
    files["grey.jpg"] = encoded(rgb.convert("L"), "JPEG", quality=85)
    files["rgb.jpg"] = encoded(rgb, "JPEG", quality=85, keep_rgb=True)
    cmyk = Image.merge("CMYK", [Image.fromarray(p) for p in np.moveaxis(scene(channels=4), -1, 0)])
    files["cmyk.jpg"] = encoded(cmyk, "JPEG", quality=85)
    files["cmyk_plain.jpg"] = without(files["cmyk.jpg"], 0xEE)  # without Adobe's segment
    # The same three planes read as YCbCr: the transform in Adobe's segment says which they are.
    at = files["cmyk.jpg"].index(b"Adobe") + 11
    files["ycck.jpg"] = files["cmyk.jpg"][:at] + b"\2" + files["cmyk.jpg"][at + 1:]
    for k in range(1, 9):
        files[f"exif{k}.jpg"] = with_segment(encoded(rgb, "JPEG", quality=85, subsampling=2), 0xE1, b"Exif\0\0" + tiff(k, "><"[k % 2]))
    files["exif_xmp.jpg"] = with_segment(encoded(rgb, "JPEG", quality=85), 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(6))
    comment = b"UNICODE\0" + "a cat, 猫\nSteps: 5, Sampler: Euler, Seed: 1".encode("utf-16-be")
    files["parameters.jpg"] = with_segment(encoded(rgb, "JPEG", quality=60), 0xE1, b"Exif\0\0" + tiff(1, ">", comment))


def turned(image):
    """4:4:0, which Pillow does not write: a 4:2:2 file whose sampling factors are swapped decodes to other pixels, which do as well."""
    data = encoded(image.transpose(Image.Transpose.TRANSPOSE), "JPEG", quality=85, subsampling=1)
    at = data.index(b"\xff\xc0") + 4 + 6 + 1
    assert data[at] == 0x21
    return data[:at] + b"\x12" + data[at + 1:]


def riff(*chunks):
    body = b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def webps():
    rgb, rgba = Image.fromarray(scene()), Image.fromarray(scene(channels=4))
    files["lossy.webp"] = encoded(rgb, "WEBP", quality=70)
    files["lossy_even.webp"] = encoded(Image.fromarray(scene(32, 18)), "WEBP", quality=70)
    files["lossy_one.webp"] = encoded(Image.fromarray(scene(1, 1)), "WEBP", quality=70)
    files["lossy_row.webp"] = encoded(Image.fromarray(scene(9, 1)), "WEBP", quality=70)
    files["lossy_column.webp"] = encoded(Image.fromarray(scene(1, 8)), "WEBP", quality=70)
    files["lossy_alpha.webp"] = encoded(rgba, "WEBP", quality=70)
    files["lossless.webp"] = encoded(rgb, "WEBP", lossless=True)
    files["lossless_alpha.webp"] = encoded(rgba, "WEBP", lossless=True, exact=True)
    files["exif.webp"] = encoded(rgb, "WEBP", quality=70, exif=tiff(6))
    files["exif_prefix.webp"] = encoded(rgb, "WEBP", lossless=True, exif=b"Exif\0\0" + tiff(5, ">"))
    files["exif_xmp.webp"] = encoded(rgb, "WEBP", lossless=True, xmp=xmp(8))
    comment = b"UNICODE\0" + "a dog\nSteps: 5, Sampler: Euler, Seed: 2".encode("utf-16-be")
    files["parameters.webp"] = encoded(rgb, "WEBP", lossless=True, exif=tiff(1, ">", comment))
    frames = [rgba, Image.fromarray(255 - scene(channels=4))]
    files["animated.webp"] = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True, exact=True, duration=50)
    # A first frame that covers a part of the canvas.
    def chunks(data):
        at = 12
        while at < len(data):
            n = struct.unpack("<I", data[at + 4:at + 8])[0]
            yield data[at:at + 4], data[at + 8:at + 8 + n]
            at += 8 + n + (n & 1)
    def u24(v):
        return struct.pack("<I", v)[:3]
    part = encoded(Image.fromarray(scene(10, 8)), "WEBP", quality=70)
    name, body = next((n, b) for n, b in chunks(part) if n == b"VP8 ")
    frame = u24(3) + u24(2) + u24(9) + u24(7) + u24(50) + b"\0" + name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)
    files["animated_part.webp"] = riff((b"VP8X", bytes([0x02, 0, 0, 0]) + u24(WIDTH - 1) + u24(HEIGHT - 1)),
                                       (b"ANIM", bytes([9, 8, 7, 255, 0, 0])), (b"ANMF", frame))


def main():
    pngs()
    jpegs()
    webps()
    os.makedirs(FOLDER, exist_ok=True)
    pixels = {}
    for name, data in sorted(files.items()):
        with open(os.path.join(FOLDER, name), "wb") as f:
            f.write(data)
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        pixels[name] = np.ascontiguousarray(np.asarray(image))
    versions = f"Pillow {pillow_version}, libjpeg-turbo {features.version('libjpeg_turbo')}, libwebp {features.version('webp')}"
    path = os.path.join(FOLDER, "pixels.safetensors")
    save_file(pixels, path, metadata={"script": "tools/reference/images.py", "versions": versions})
    os.chmod(path, 0o644)
    size = sum(map(len, files.values()))
    print(f"{len(files)} images, {size} bytes, largest {max(map(len, files.values()))}; pixels {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    main()
