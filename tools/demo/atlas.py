"""Renders every object of the dataset once and writes atlas.npz: python atlas.py OUT/atlas.npz

rgba: (objects, 128, 128, 4) uint8, colours not premultiplied; objects: the JSON of dataset.objects(). The font holds bitmaps of 136 x 128 pixels; they are cropped
to what is drawn, fitted into 124 pixels and centred, so that an object's size in a scene is the size that one sees.
"""
import argparse
import json

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import dataset

FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
SIDE, FIT = 128, 124


def render(font, char):
    im = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(im).text((8, 8), char, font=font, embedded_color=True)
    box = im.getchannel("A").point(lambda a: 255 if a > 8 else 0).getbbox()
    if box is None:
        raise SystemExit(f"{char!r} ({ord(char):#x}): the font draws nothing")
    im = im.crop(box)
    w, h = im.size
    if max(w, h) > FIT:
        k = FIT / max(w, h)
        im = premultiplied_resize(im, (max(1, round(w * k)), max(1, round(h * k))))
    out = Image.new("RGBA", (SIDE, SIDE))
    out.paste(im, ((SIDE - im.width) // 2, (SIDE - im.height) // 2))
    return np.asarray(out)


def premultiplied_resize(im, size):
    """Lanczos on premultiplied colours: transparent pixels must not bleed their colour into the edge."""
    a = np.asarray(im).astype(np.float32) / 255
    a[..., :3] *= a[..., 3:]
    planes = [np.asarray(Image.fromarray(a[..., k]).resize(size, Image.Resampling.LANCZOS)) for k in range(4)]
    b = np.clip(np.stack(planes, -1), 0, 1)
    b[..., :3] = np.where(b[..., 3:] > 0, b[..., :3] / np.maximum(b[..., 3:], 1e-6), 0)
    return Image.fromarray((np.clip(b, 0, 1) * 255 + 0.5).astype(np.uint8), "RGBA")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("out")
    p.add_argument("--font", default=FONT)
    p.add_argument("--annotations", default=dataset.ANNOTATIONS)
    p.add_argument("--sheet", help="also write a contact sheet PNG here")
    a = p.parse_args()
    font = ImageFont.truetype(a.font, 109)
    objects = dataset.objects(a.annotations)
    rgba = np.stack([render(font, o["char"]) for o in objects])
    np.savez_compressed(a.out, rgba=rgba, objects=np.frombuffer(json.dumps(objects, ensure_ascii=False).encode(), np.uint8))
    print(f"{len(objects)} objects, {rgba.nbytes >> 20} MiB of pixels")
    if a.sheet:
        cols = 28
        rows = -(-len(objects) // cols)
        sheet = Image.new("RGB", (cols * 48, rows * 48), (255, 255, 255))
        for i, px in enumerate(rgba):
            im = Image.fromarray(px, "RGBA").resize((44, 44))
            sheet.paste(im, (i % cols * 48 + 2, i // cols * 48 + 2), im)
        sheet.save(a.sheet)


if __name__ == "__main__":
    main()
