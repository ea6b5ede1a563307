"""Prints the SHA-256 of what Pillow's Image.resize makes of a small image, for the tests of internal/resample, and of
what A1111's resize modes make of it, for those of server."""

import hashlib

from PIL import Image


def source(width, height):
    """An image whose bytes are a hash of their place, as the test makes it."""
    data = bytearray()
    for i in range(width * height * 3):
        data.append((i * 2654435761 >> 13) & 0xFF)
    return Image.frombytes("RGB", (width, height), bytes(data))


def resize_mode(mode, im, width, height):
    """resize_image of A1111's modules/images.py without an upscaler: 0 stretches, 1 crops, 2 fills."""
    lanczos = Image.Resampling.LANCZOS
    if mode == 0:
        return im.resize((width, height), resample=lanczos)
    ratio, own = width / height, im.width / im.height
    by_width = ratio > own if mode == 1 else ratio < own
    w, h = (width, im.height * width // im.width) if by_width else (im.width * height // im.height, height)
    resized = im.resize((w, h), resample=lanczos)
    out = Image.new("RGB", (width, height))
    left, top = width // 2 - w // 2, height // 2 - h // 2
    out.paste(resized, box=(left, top))
    if mode == 2 and ratio < own and top > 0:
        out.paste(resized.resize((width, top), box=(0, 0, width, 0)), box=(0, 0))
        out.paste(resized.resize((width, top), box=(0, h, width, h)), box=(0, top + h))
    if mode == 2 and ratio > own and left > 0:
        out.paste(resized.resize((left, height), box=(0, 0, 0, height)), box=(0, 0))
        out.paste(resized.resize((left, height), box=(w, 0, w, height)), box=(left + w, 0))
    return out


def main():
    lanczos, bicubic, nearest = Image.Resampling.LANCZOS, Image.Resampling.BICUBIC, Image.Resampling.NEAREST
    for name, kind, (w, h), size, box in [
        ("lanczos", lanczos, (37, 23), (64, 48), None),
        ("lanczos", lanczos, (37, 23), (9, 11), None),
        ("lanczos", lanczos, (37, 23), (37, 50), None),
        ("lanczos", lanczos, (37, 23), (37, 23), None),
        ("nearest", nearest, (37, 23), (64, 48), None),
        ("nearest", nearest, (37, 23), (10, 7), None),
        ("bicubic", bicubic, (37, 23), (64, 48), (0, 0, 37, 23)),
        ("bicubic", bicubic, (37, 23), (20, 9), (3, 2.5, 30, 20)),
        ("bicubic", bicubic, (37, 23), (37, 6), (0, 0, 37, 0)),
        ("bicubic", bicubic, (37, 23), (37, 6), (0, 23, 37, 23)),
        ("bicubic", bicubic, (37, 23), (5, 23), (0, 0, 0, 23)),
        ("bicubic", bicubic, (37, 23), (5, 23), (37, 0, 37, 23)),
    ]:
        out = source(w, h).resize(size, resample=kind, box=box)
        print(name, (w, h), size, box, hashlib.sha256(out.tobytes()).hexdigest()[:16])
    for mode in (0, 1, 2):
        for size in ((64, 64), (64, 32), (96, 24), (24, 96), (37, 23), (74, 46)):
            out = resize_mode(mode, source(37, 23), *size)
            print("mode", mode, size, hashlib.sha256(out.tobytes()).hexdigest()[:16])


if __name__ == "__main__":
    main()
