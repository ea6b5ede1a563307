"""Compares images of single objects with the artwork itself: python quality/artwork.py --data DATA --prompts quality/prompts.json FOLDER ... . The object that a prompt
asks for is moved, scaled and turned until it lies best on what is in the image, on a plain background of the image's own colour; the table tells the mean PSNR between
the two, over the images on plain backgrounds that all folders hold, and in how many a folder is nearer to the artwork than the first folder is."""
import argparse
import json
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import captions as cap
import scenes
import segment

SIDE, STEPS = 256, 90


def place(sprites, colour, pose, side):
    """sprites (n, 4, 128, 128), premultiplied; colour (n, 3); pose (n, 4): x and y of the middle and the size in image sides, turn in radians. Returns (n, 3, side, side)."""
    x, y, size, turn = pose.unbind(1)
    cos, sin = torch.cos(turn) / size, torch.sin(turn) / size
    dx, dy = 1 - 2 * x, 1 - 2 * y
    theta = torch.stack([torch.stack([cos, sin, cos * dx + sin * dy], -1), torch.stack([-sin, cos, -sin * dx + cos * dy], -1)], 1)
    layer = F.grid_sample(sprites, F.affine_grid(theta, (len(sprites), 4, side, side), align_corners=False), mode="bilinear", align_corners=False)
    return colour[:, :, None, None] * (1 - layer[:, 3:]) + layer[:, :3]


def start(rgb, sprite):
    """The pose at which the sprite's opaque box lies on the largest thing of the image."""
    found = segment.parts(rgb)
    top, bottom, left, right = found[0][1] if found else (64, 192, 64, 192)
    rows, columns = (np.flatnonzero(sprite[3].numpy().max(a) > 0.2) for a in (1, 0))
    high, wide = (rows[-1] + 1 - rows[0]) / sprite.shape[1], (columns[-1] + 1 - columns[0]) / sprite.shape[2]
    size = max((bottom - top) / high, (right - left) / wide) / SIDE
    off = lambda line, length: ((line[-1] + 1 + line[0]) / 2 / length - 0.5) * size
    return [(left + right) / 2 / SIDE - off(columns, sprite.shape[2]), (top + bottom) / 2 / SIDE - off(rows, sprite.shape[1]), size, 0.0]


def fitted(images, sprites):
    """PSNR in dB of each image, uint8 (n, 256, 256, 3), to the sprite (n, 4, 128, 128) at its best pose."""
    target = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    colour = torch.from_numpy(np.stack([segment.border_colour(p.astype(np.float64)) for p in images])).float() / 255
    best = torch.full((len(images),), float("inf"))
    small = F.interpolate(target, scale_factor=0.5, mode="area")
    pose = torch.tensor([start(p, s) for p, s in zip(images, sprites)], dtype=torch.float32, requires_grad=True)
    optimizer = torch.optim.Adam([pose], lr=0.006)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 0.006 * (1 - step / STEPS) + 0.0003
        full = step >= STEPS - 10
        error = ((place(sprites, colour, pose, SIDE if full else SIDE // 2) - (target if full else small)) ** 2).mean((1, 2, 3))
        optimizer.zero_grad()
        error.sum().backward()
        optimizer.step()
        if full:
            best = torch.minimum(best, error.detach())
    return -10 * torch.log10(best).numpy()


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", required=True)
    p.add_argument("--prompts", required=True)
    p.add_argument("folders", nargs="+")
    a = p.parse_args()
    rgba, _ = scenes.load_objects(os.path.join(a.data, "atlas.npz"))
    bank = torch.from_numpy(rgba).permute(0, 3, 1, 2).float() / 255
    bank[:, :3] *= bank[:, 3:]
    path = lambda folder, i: os.path.join(folder, f"{i:03d}.png")
    chosen = [(i, c) for i, c in enumerate(json.load(open(a.prompts)), 1)
              if len(c["objects"]) == 1 and c["background"] in cap.PLAIN and all(os.path.exists(path(f, i)) for f in a.folders)]
    sprites = bank[[c["objects"][0] for _, c in chosen]]
    first = None
    print("| | PSNR to the artwork | nearer to it than the first |\n|---|---|---|")
    for folder in a.folders:
        images = np.stack([np.asarray(Image.open(path(folder, i)).convert("RGB").resize((SIDE, SIDE))) for i, _ in chosen])
        values = np.concatenate([fitted(images[k : k + 25], sprites[k : k + 25]) for k in range(0, len(chosen), 25)])
        first = values if first is None else first
        print(f"| {os.path.basename(folder.rstrip('/'))} | {values.mean():.2f} dB | {(values > first).sum()} of {len(values)} |", flush=True)


if __name__ == "__main__":
    main()
