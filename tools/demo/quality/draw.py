"""Draws the evaluation's prompts with goxl: python quality/draw.py --goxl ./goxl --model demo --prompts quality/prompts.json --out FOLDER [--every N] [-- more flags of goxl generate].
--refiner demo, or a DIR, refines every image of --out into FOLDER-refined with goxl refine. Images that are there are kept, so that the command can go on where it stopped."""
import argparse
import json
import os
import subprocess
import time


def draw(goxl, command, text, seed, path, flags=()):
    """One image, unless it is there; command is generate or refine with its flags of models."""
    if os.path.exists(path):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    subprocess.run([goxl, *command, "-quiet", "-prompt", text, "-seed", str(seed), "-o", path + ".part.png", *flags], check=True, stdout=subprocess.DEVNULL)
    os.replace(path + ".part.png", path)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--goxl", default="goxl")
    p.add_argument("--model", default="demo")
    p.add_argument("--refiner", help="redraw with this model instead of drawing")
    p.add_argument("--prompts", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--every", type=int, default=1, help="draw one prompt in so many")
    p.add_argument("flags", nargs="*")
    a = p.parse_args()
    target = a.out + "-refined" if a.refiner else a.out
    start = time.time()
    numbered = list(enumerate(json.load(open(a.prompts)), 1))[:: a.every]
    for i, c in numbered:
        name = f"{i:03d}.png"
        command = ["generate", "-model", a.model]
        if a.refiner:
            command = ["refine", "-model", a.refiner, "-base", a.model, "-image", os.path.join(a.out, name)]
        draw(a.goxl, command, c["text"], c["seed"], os.path.join(target, name), a.flags)
    print(f"{len(numbered)} images in {target}, {time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
