"""Measures negative prompts by colour alone, without a judge: python quality/negative.py --data DATA --goxl ./goxl --out FOLDER. Prints a Markdown table.

A hundred prompts name a thing and no background, which the model then makes white; the negative prompt is "white background". Thirty seeds each draw a word for things of
several colours; the negative prompt is the one that the model prefers. With guidance 1 a negative prompt must not count at all."""
import argparse
import os
import random
import sys

import numpy as np
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import captions as cap
import scenes
import segment
from draw import draw

WHITE = "white background"
WORDS = [("a square on a white background", "red square"), ("a circle on a white background", "red circle"), ("a heart on a white background", "red heart"),
         ("a book on a white background", "red book")]
THINGS, SEEDS = 100, 30


def read(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((256, 256)))


def white(path):
    """Whether the border's colour is nearer to white than to the other plain backgrounds."""
    colours = segment.lab(np.array([list(cap.PLAIN.values())], np.float64))[0]
    border = segment.lab(segment.border_colour(read(path).astype(np.float64))[None, None])[0, 0]
    return list(cap.PLAIN)[int(((colours - border) ** 2).sum(-1).argmin())] == "white"


def red(path):
    """Whether the largest thing's colour is red; False where there is no thing."""
    rgb = read(path)
    parts = segment.parts(rgb)
    if not parts:
        return False
    _, a, b = segment.lab(np.median(rgb[parts[0][0]].astype(np.float64), 0)[None, None])[0, 0]
    return bool(np.hypot(a, b) > 25 and abs(np.degrees(np.arctan2(b, a)) - 25) < 35)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", required=True)
    p.add_argument("--goxl", default="goxl")
    p.add_argument("--out", required=True)
    a = p.parse_args()
    _, objects = scenes.load_objects(os.path.join(a.data, "atlas.npz"))
    things = [cap.article(o["name"]) for o in random.Random(60).sample(objects, THINGS)]

    def images(folder, texts, *flags):
        """One for each text, seeds from 1."""
        paths = [os.path.join(a.out, folder, f"{i:03d}.png") for i in range(1, len(texts) + 1)]
        for i, (text, path) in enumerate(zip(texts, paths), 1):
            draw(a.goxl, ["generate", "-model", "demo"], text, i, path, flags)
        return paths

    share = lambda kind, paths: f"{sum(map(kind, paths))} of {len(paths)}"
    print("| prompt | negative prompt | counted | without it | with it |\n|---|---|---|---|---|")
    print(f"| \"a cat\" and {THINGS - 1} other things | {WHITE} | white backgrounds | {share(white, images('plain', things))} | {share(white, images('not-white', things, '-negative', WHITE))} |")
    for text, negative in WORDS:
        folder = negative.replace(" ", "-")
        with_it = images("not-" + folder, [text] * SEEDS, "-negative", negative)
        print(f"| {text} | {negative} | red things | {share(red, images(folder, [text] * SEEDS))} | {share(red, with_it)} |")
    alone = images("unguided", things[:10], "-guidance", "1")
    both = images("unguided-not-white", things[:10], "-guidance", "1", "-negative", WHITE)
    equal = sum(np.array_equal(read(x), read(y)) for x, y in zip(alone, both))
    print(f"| guidance 1: 10 of the things | {WHITE} | images that are equal | | {equal} of 10 |")


if __name__ == "__main__":
    main()
