"""Draws the gate's prompts with goxl: python quality/draw.py --goxl ./goxl --model demo --prompts quality/prompts.json --out FOLDER [--limit N] [-- more flags of goxl generate].
--refiner DIR redraws every picture of --out into FOLDER-refined with goxl refine. Pictures that are there are kept, so that the command can go on where it stopped."""
import argparse
import json
import os
import subprocess
import time


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--goxl", default="goxl")
    p.add_argument("--model", default="demo")
    p.add_argument("--refiner", help="redraw with this model instead of drawing")
    p.add_argument("--strength", default="0.25")
    p.add_argument("--prompts", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--limit", type=int, default=400)
    p.add_argument("flags", nargs="*")
    a = p.parse_args()
    target = a.out + "-refined" if a.refiner else a.out
    os.makedirs(target, exist_ok=True)
    start = time.time()
    prompts = json.load(open(a.prompts))[: a.limit]
    for i, c in enumerate(prompts):
        name = f"{i + 1:03d}.png"
        path = os.path.join(target, name)
        if os.path.exists(path):
            continue
        if a.refiner:
            command = [a.goxl, "refine", "-model", a.refiner, "-base", a.model, "-image", os.path.join(a.out, name), "-strength", a.strength]
        else:
            command = [a.goxl, "generate", "-model", a.model]
        subprocess.run(command + ["-quiet", "-prompt", c["text"], "-seed", str(c["seed"]), "-o", path + ".part.png", *a.flags], check=True)
        os.replace(path + ".part.png", path)
    print(f"{len(prompts)} pictures in {target}, {time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
