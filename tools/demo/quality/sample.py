"""Draws the evaluation's prompts with PyTorch, in batches: a quick look before goxl draws them one by one. python quality/sample.py --data DATA --work WORK --prompts
quality/prompts.json --out FOLDER [--guidance 1] [--negative TEXT] [--refine] [--limit N]. FOLDER/sheet.png has the first 48. The noise is not
goxl's, so neither are the images."""
import argparse
import json
import os
import sys

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import diffuse
import models
import train_base
from make_specs import encode
from common import device, load, put


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--prompts", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--guidance", type=float, default=diffuse.GUIDANCE)
    p.add_argument("--steps", type=int, default=diffuse.STEPS)
    p.add_argument("--negative")
    p.add_argument("--refine", action="store_true")
    p.add_argument("--limit", type=int, default=400)
    p.add_argument("--batch", type=int, default=100)
    a = p.parse_args()
    d = device()
    os.makedirs(a.out, exist_ok=True)
    texts = [c["text"] for c in json.load(open(a.prompts))][: a.limit]
    folder = os.path.join(a.data, "tokenizer")
    net = train_base.build(a.data, d)
    put(net, load(a.work, "base", d)["ema"])
    vae = models.vae()
    vae.load_state_dict(load(a.work, "vae_final"))
    vae.register_to_config(scaling_factor=1.0)
    vae = vae.to(d).eval()
    refiner = None
    if a.refine:
        refiner = diffuse.Conditioned(None, net.encoder2, models.refiner_unet().to(d))
        put(refiner.unet, load(a.work, "refiner", d)["ema"])
    empty = torch.from_numpy(encode(folder, [""])).to(d)
    drawn = []
    for i in range(0, len(texts), a.batch):
        tokens = torch.from_numpy(encode(folder, texts[i : i + a.batch])).to(d)
        negative = torch.from_numpy(encode(folder, [a.negative] * len(tokens))).to(d) if a.negative is not None else None
        z = diffuse.sample(net, tokens, 1 + i, steps=a.steps, guidance=a.guidance, negative=negative)
        if refiner is not None:
            z = diffuse.refine(refiner, z, tokens, empty, 1 + i)
        with torch.no_grad():
            images = ((diffuse.decode(vae, z).float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        for k, px in enumerate(images):
            Image.fromarray(px).save(os.path.join(a.out, f"{i + k + 1:03d}.png"))
        drawn.extend(images[: 48 - len(drawn)])
    sheet = np.full((-(-len(drawn) // 8) * 256, 8 * 256, 3), 255, np.uint8)
    for k, px in enumerate(drawn):
        sheet[k // 8 * 256 :, k % 8 * 256 :][:256, :256] = px
    Image.fromarray(sheet).save(os.path.join(a.out, "sheet.png"))


if __name__ == "__main__":
    main()
