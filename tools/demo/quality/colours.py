"""Measures whether things come in the colour that is asked for: python quality/colours.py --data DATA --goxl ./goxl --out FOLDER [--model demo] [--count 66] [--check] [--composed]. Judged by
colour alone: of the pixels of a thing, those that are nearest to the colour asked for must be more than those that are nearest to any other. Prints a Markdown table. --composed judges
scenes composed from the painted artwork too, the ceiling. --check ends with status 1 where less than ASKED are right."""
import argparse
import os
import random
import sys

import numpy as np
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import captions as cap
import paint
import scenes
import segment
from draw import draw

ASKED = 0.7
SHADES = segment.lab(np.stack([paint.rgb_of(np.float64(h), np.float64(s), np.float64(v)) for h, s, v in paint.PAINTS.values()])[None] * 255)[0]
BACKGROUNDS = ["white", "black", "gray", "teal", "beige"]
ALIKE = {"white": {"white"}, "black": {"black"}, "gray": {"gray"}, "teal": {"green", "blue"}, "beige": {"white", "yellow"}}


def prompts(objects, count):
    """[(text, [(colour, object)], background)]: one thing, and every third time one to the left of another."""
    rng, colours = random.Random(70), list(paint.PAINTS)
    able = [i for i, o in enumerate(objects) if len(o.get("paints", {})) >= 10]
    out = []
    for k in range(count):
        background = rng.choice(BACKGROUNDS)
        asked = []
        for i in rng.sample(able, 2 if k % 3 == 2 else 1):
            asked.append((rng.choice([c for c in colours if c in objects[i]["paints"] and c not in ALIKE[background]]), i))
        words = [cap.article(f"{c} {objects[i]['name']}") for c, i in asked]
        out.append((" to the left of ".join(words) + f" on a {background} background", asked, background))
    return out


def colour_of(rgb, mask):
    """The paint that most pixels of the mask are nearest to."""
    inner = segment.lab(rgb[mask][None].astype(np.float64))[0]
    nearest = ((inner[:, None] - SHADES) ** 2).sum(-1).argmin(1)
    return list(paint.PAINTS)[int(np.bincount(nearest, minlength=len(SHADES)).argmax())]


def judge(rgb, asked):
    """For each thing asked for, from the left, whether it has its colour; a thing that is not found has none."""
    found = segment.parts(rgb)[: len(asked)]
    found.sort(key=lambda part: part[1][2] + part[1][3])
    return [k < len(found) and len(found) == len(asked) and colour_of(rgb, found[k][0]) == c for k, (c, _) in enumerate(asked)]


def composed(composer, objects, asked, background):
    n = len(asked)
    pad = [0] * (4 - n)
    numbers = [objects[i]["paints"][c] for c, i in asked]
    spec = dict(bucket=0, n=n, blur=0, obj=numbers + pad, x=([128] if n == 1 else [70, 186]) + pad, y=[128] * n + pad, size=[168 if n == 1 else 108] * 4, turn=[0.0] * 4,
                bg=cap.BACKGROUNDS.index(background), tone=[0.5] * 4, canvas=[256, 0])
    packed = {k: np.array([v], np.float32 if k in ("x", "y", "size", "turn", "tone") else np.int16) for k, v in spec.items()}
    x = composer(packed, scenes.to_device(packed, composer.device), 0, 1, 256, 256)
    return ((x[0].permute(1, 2, 0).numpy() + 1) * 127.5).round().clip(0, 255).astype(np.uint8)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", required=True)
    p.add_argument("--goxl", default="goxl")
    p.add_argument("--model", default="demo")
    p.add_argument("--out", required=True)
    p.add_argument("--count", type=int, default=66)
    p.add_argument("--check", action="store_true")
    p.add_argument("--composed", action="store_true")
    a = p.parse_args()
    rgba, objects = paint.load(os.path.join(a.data, "atlas.npz"))
    columns = {"drawn": {}}
    for seed, (text, asked, background) in enumerate(made := prompts(objects, a.count), 1):
        path = os.path.join(a.out, f"{seed:03d}.png")
        draw(a.goxl, ["generate", "-model", a.model], text, seed, path)
        with Image.open(path) as image:
            judged = judge(np.asarray(image.convert("RGB").resize((256, 256))), asked)
        for (c, _), right in zip(asked, judged):
            columns["drawn"].setdefault(c, []).append(right)
    if a.composed:
        columns["composed"] = {}
        used = sorted({objects[i]["paints"][c] for _, asked, _ in made for c, i in asked})
        few = {number: k for k, number in enumerate(used)}
        for o in objects:
            o["paints"] = {c: few[n] for c, n in o.get("paints", {}).items() if n in few}
        composer = scenes.Composer(rgba[used], "cpu")
        for _, asked, background in made:
            for (c, _), right in zip(asked, judge(composed(composer, objects, asked, background), asked)):
                columns["composed"].setdefault(c, []).append(right)
    print("| colour | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for c in paint.PAINTS:
        print(f"| {c} | " + " | ".join(f"{sum(v.get(c, []))} of {len(v.get(c, []))}" for v in columns.values()) + " |")
    shares = {name: np.mean(sum(v.values(), [])) for name, v in columns.items()}
    print("| all | " + " | ".join(f"{100 * s:.1f} %" for s in shares.values()) + " |")
    if a.check and shares["drawn"] < ASKED:
        sys.exit(f"{100 * shares['drawn']:.1f} % of the things have the colour asked for, {100 * ASKED:.0f} % are asked")


if __name__ == "__main__":
    main()
