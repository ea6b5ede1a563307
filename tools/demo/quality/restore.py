"""Measures what the refiner brings back: python quality/restore.py --data DATA --goxl ./goxl --base MODEL/base --prompts quality/prompts.json --out FOLDER [--every 8] [-- flags
of goxl refine]. Scenes that prompts ask for are composed, degraded, and refined by goxl with the embedded refiner; a Markdown table
tells PSNR to the composed scene. "draft": the base runs image-to-image at strength 0.6 itself, which leaves its own mistakes."""
import argparse
import json
import os
import sys

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import scenes
from draw import draw
from encode_latents import degrade
from score import clean_scene

SPOILT = ["blur", "noise", "washed out", "JPEG"]  # in the order of degrade's kinds
STRENGTH = 0.4


def write(path, x):
    """x (1, 3, 256, 256) in [-1, 1]."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.fromarray(((x[0].permute(1, 2, 0).numpy() + 1) * 127.5).round().clip(0, 255).astype(np.uint8)).save(path)


def psnr(a, b):
    """Of two PNG files, in dB."""
    x, y = (np.asarray(Image.open(f).convert("RGB"), np.float64) for f in (a, b))
    return 10 * np.log10(255**2 / ((x - y) ** 2).mean())


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", required=True)
    p.add_argument("--goxl", default="goxl")
    p.add_argument("--base", required=True, help="the base model's folder, which redraws for draft")
    p.add_argument("--prompts", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--every", type=int, default=8)
    p.add_argument("--tag", default="refined", help="folder of the refined images: one for each set of flags")
    p.add_argument("flags", nargs="*")
    a = p.parse_args()
    rgba, _ = scenes.load_objects(os.path.join(a.data, "atlas.npz"))
    composer = scenes.Composer(rgba, "cpu")
    torch.manual_seed(3)
    prompts = list(enumerate(json.load(open(a.prompts)), 1))[:: a.every]
    before, after = {}, {}
    for i, c in prompts:
        at = lambda *folders: os.path.join(a.out, *(f.replace(" ", "-") for f in folders), f"{i:03d}.png")
        x = clean_scene(c, composer)
        write(at("clean"), x)
        for k, name in enumerate(SPOILT):
            write(at(name), degrade(x, k, torch.tensor([STRENGTH])))
        draw(a.goxl, ["refine", "-model", a.base, "-image", at("clean"), "-strength", "0.6"], c["text"], c["seed"], at("draft"))
        for name in ["clean", "draft", *SPOILT]:
            draw(a.goxl, ["refine", "-model", "demo", "-image", at(name)], c["text"], c["seed"], at(a.tag, name), a.flags)
            if name != "clean":
                before.setdefault(name, []).append(psnr(at("clean"), at(name)))
            after.setdefault(name, []).append(psnr(at("clean"), at(a.tag, name)))
    print(f"| {len(prompts)} scenes | PSNR to the composed scene | refined | better in |\n|---|---|---|---|")
    for name, values in after.items():
        old = before.get(name)
        better = f"{sum(x > y for x, y in zip(values, old))} of {len(old)}" if old else ""
        print(f"| {name} | {f'{np.mean(old):.1f} dB' if old else ''} | {np.mean(values):.1f} dB | {better} |")


if __name__ == "__main__":
    main()
