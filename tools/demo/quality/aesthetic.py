"""Measures whether the refiner's aesthetic score tells clean from degraded images: python quality/aesthetic.py --data DATA --base MODEL/base --refiner MODEL/refiner
--prompts quality/prompts.json. Scenes that prompts ask for are composed, and degraded as for training; all get the same noise, and the refiner predicts v under a high and a
low score: training's for a clean scene and for this degradation, and the pipelines' defaults. The score counts where clean scenes have the smaller error under the high one and
degraded ones under the low one. The first Markdown table tells the mean square errors, the second how images differ that are refined under either default, as goxl refines."""
import argparse
import json
import os
import sys

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModelWithProjection

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import diffuse
import models
import scenes
from encode_latents import CLEAN_SCORE, WORST_SCORE, degrade
from make_specs import encode
from restore import SPOILT
from score import clean_scene

TIMES = [25, 75, 150, 250, 349]
HIGH, LOW = 6.0, 2.5  # the pipelines' aesthetic_score and negative_aesthetic_score
STEPS, STRENGTH, GUIDANCE = 20, 0.15, 1.0  # the refiner's defaults


def errors(net, z, tokens, score, noise):
    """Mean square error of v, (times, scenes); noise (times, scenes, 4, h, w)."""
    ac, n, out = models.alphas_cumprod(), len(z), []
    ids = torch.tensor([[256.0, 256, 0, 0, score]]).expand(n, 5)  # original size, crop, score
    for t, e in zip(TIMES, noise):
        root, sigma = ac[t].sqrt(), (1 - ac[t]).sqrt()
        v = net(root * z + sigma * e, torch.full((n,), t), tokens, ids, torch.ones(n))
        out.append(((v - (root * e - sigma * z)) ** 2).mean((1, 2, 3)))
    return torch.stack(out)


def sharpness(x):
    """Mean square difference of neighbouring pixels of each image."""
    return x.diff(dim=2).square().mean((1, 2, 3)) + x.diff(dim=3).square().mean((1, 2, 3))


def psnr(x, y):
    """Of each image in [-1, 1], in dB."""
    return 10 * torch.log10(4 / ((x - y) ** 2).mean((1, 2, 3)))


@torch.no_grad()
def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", required=True)
    p.add_argument("--base", required=True)
    p.add_argument("--refiner", required=True)
    p.add_argument("--prompts", required=True)
    p.add_argument("--every", type=int, default=10)
    p.add_argument("--strength", type=float, nargs="*", default=[0.4, 1.0], help="of the degradation, 0 to 1")
    a = p.parse_args()
    load = lambda cls, *path: cls.from_pretrained(os.path.join(*path)).float().eval()
    vae = load(AutoencoderKL, a.base, "vae")
    net = diffuse.Conditioned(None, load(CLIPTextModelWithProjection, a.base, "text_encoder_2"), load(UNet2DConditionModel, a.refiner, "unet"))
    composer = scenes.Composer(scenes.load_objects(os.path.join(a.data, "atlas.npz"))[0], "cpu")
    torch.manual_seed(3)
    prompts = json.load(open(a.prompts))[:: a.every]
    n = len(prompts)
    clean = torch.cat([clean_scene(c, composer) for c in prompts])
    tokens, empty = (torch.from_numpy(encode(os.path.join(a.base, "tokenizer_2"), texts)) for texts in ([c["text"] for c in prompts], [""]))
    noise = torch.randn(len(TIMES), n, 4, 32, 32)
    share = lambda better: f"{better.sum()} of {len(better)}"
    print(f"| {n} scenes | strength | error under {CLEAN_SCORE} | under the degraded one's score | low to high | right in | error under {HIGH} | under {LOW} | low to high | right in "
          f"| lower than for its clean scene in | low to high at t = {', '.join(map(str, TIMES))} |\n{'|---' * 12}|", flush=True)
    latents = {}
    for strength in a.strength:
        own = CLEAN_SCORE - (CLEAN_SCORE - WORST_SCORE) * strength
        for k, name in enumerate(["clean", *SPOILT], -1):
            x = clean if k < 0 else degrade(clean, k, torch.full((n,), strength))
            z = latents[name, strength] = torch.cat([vae.encode(b).latent_dist.mean for b in x.split(20)])
            cells, right = [], torch.lt if k < 0 else torch.gt
            for high, low in ((CLEAN_SCORE, own), (HIGH, LOW)):
                e, f = (errors(net, z, tokens, s, noise) for s in (high, low))
                cells += [f"{e.mean():.4f}", f"{f.mean():.4f}", f"{f.mean() / e.mean():.3f}", share(right(e.mean(0), f.mean(0)))]
            ratio = f.mean(0) / e.mean(0)
            if k < 0:
                of_clean = ratio
            cells += ["" if k < 0 else share(ratio < of_clean), ", ".join(f"{q:.3f}" for q in f.mean(1) / e.mean(1))]
            print(f"| {name} | {strength} | " + " | ".join(cells) + " |", flush=True)
    few = slice(0, n, 2)
    print(f"\n| {len(clean[few])} scenes | strength | PSNR to the composed scene, refined under {HIGH} | under {LOW} | nearer under {HIGH} in | PSNR between the two "
          f"| sharpness, high to low | sharper under {HIGH} in |\n{'|---' * 8}|", flush=True)
    for (name, strength), z in latents.items():
        if name == "clean" and strength != a.strength[0]:
            continue
        x, y = (diffuse.decode(vae, diffuse.refine(net, z[few], tokens[few], empty, 1, STRENGTH, STEPS, GUIDANCE, s)).clamp(-1, 1) for s in (HIGH, LOW))
        near, far, ratio = psnr(x, clean[few]), psnr(y, clean[few]), sharpness(x) / sharpness(y)
        print(f"| {name} | {strength if name != 'clean' else ''} | {near.mean():.2f} dB | {far.mean():.2f} dB | {share(near > far)} | {psnr(x, y).mean():.1f} dB "
              f"| {ratio.mean():.3f} | {share(ratio > 1)} |", flush=True)


if __name__ == "__main__":
    main()
