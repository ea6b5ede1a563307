"""Encodes every scene of WORK/specs.npz: python encode_latents.py --data DATA --work WORK. Writes WORK/latents.pt: for each aspect bucket its latents (float16), tokens
and time ids; and for the first bucket degraded copies with their scores, for the refiner."""
import argparse
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

import models
import paint
import scenes
from common import compiled, device, load, log

CLEAN_SCORE, WORST_SCORE = 6.5, 1.5


def dct_matrix(d):
    k = torch.arange(8, device=d, dtype=torch.float32)
    m = torch.cos((2 * k[None] + 1) * k[:, None] * torch.pi / 16) * 0.5
    m[0] *= 0.5**0.5
    return m


def degrade(x, kind, strength):
    """x (n, 3, h, w) in [-1, 1]; kind 0 blur, 1 noise, 2 washed out, 3 JPEG's blocks; strength (n) in 0..1."""
    n, _, h, w = x.shape
    s = strength[:, None, None, None]
    if kind == 0:
        # A blend with a strong blur: strengths differ inside the batch.
        small = F.interpolate(x, scale_factor=1 / 8, mode="bilinear", antialias=True)
        weak = F.interpolate(F.interpolate(x, scale_factor=1 / 3, mode="bilinear", antialias=True), size=(h, w), mode="bilinear")
        strong = F.interpolate(small, size=(h, w), mode="bilinear")
        return torch.where(s < 0.5, x + (weak - x) * (2 * s).clamp(0, 1), weak + (strong - weak) * (2 * s - 1).clamp(0, 1))
    if kind == 1:
        return (x + torch.randn_like(x) * 0.35 * s).clamp(-1, 1)
    if kind == 2:
        return x * (1 - 0.7 * s) + 0.25 * s
    m = dct_matrix(x.device)
    blocks = x.view(n, 3, h // 8, 8, w // 8, 8)
    c = torch.einsum("ab,nchbwd,ed->nchawe", m, blocks, m)
    q = (0.05 + 0.9 * s[..., None, None]) * (1 + (torch.arange(8, device=x.device)[:, None, None] + torch.arange(8, device=x.device)) / 4)
    c = (c / q).round() * q
    return torch.einsum("ab,nchawe,ed->nchbwd", m, c, m).reshape(n, 3, h, w).clamp(-1, 1)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--degraded", type=int, default=60000)
    a = p.parse_args()
    d = device()
    torch.manual_seed(2)
    packed = dict(np.load(os.path.join(a.work, "specs.npz")))
    composer = scenes.Composer(paint.needed(os.path.join(a.data, "atlas.npz"), packed["obj"])[0], d)
    specs = scenes.to_device(packed, d)
    vae = models.vae()
    vae.load_state_dict(load(a.work, "vae_final"))
    vae = vae.to(d).eval().to(memory_format=torch.channels_last)
    kind = torch.bfloat16
    mean_of = lambda x: vae.quant_conv(vae.encoder(x))[:, :4]
    fast = compiled(mean_of, d)  # the first bucket has most scenes; the others run as they are

    def encode(x, bucket):
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(d, kind, enabled=d == "cuda"):
            return (fast if bucket == 0 else mean_of)(x).half()

    out, start = {}, time.time()
    with torch.no_grad():
        for b, (h, w) in enumerate(scenes.BUCKETS):
            starts = [i for i in range(0, len(packed["n"]), scenes.CHUNK) if packed["bucket"][i] == b]
            if not starts:
                continue
            z = torch.cat([encode(composer(packed, specs, i, i + scenes.CHUNK, h, w), b) for i in starts])
            rows = np.concatenate([np.arange(i, i + scenes.CHUNK) for i in starts])
            out[b] = dict(latents=z.cpu(), tokens=torch.from_numpy(packed["tokens"][rows]), ids=torch.from_numpy(packed["ids"][rows]))
            log(a.work, f"latents {h}x{w}: {len(z)}, std {z[: 4096].float().std().item():.3f}, {time.time() - start:.0f} s")
        rng = np.random.default_rng(3)
        starts = [i for i in range(0, len(packed["n"]), scenes.CHUNK) if packed["bucket"][i] == 0]
        rng.shuffle(starts)
        z, tokens, ids, scores = [], [], [], []
        for j, i in enumerate(starts[: max(4, a.degraded // scenes.CHUNK)]):
            strength = torch.rand(scenes.CHUNK, device=d) ** 0.8
            x = degrade(composer(packed, specs, i, i + scenes.CHUNK, 256, 256), j % 4, strength)
            z.append(encode(x, 0).cpu())
            tokens.append(packed["tokens"][i : i + scenes.CHUNK])
            ids.append(packed["ids"][i : i + scenes.CHUNK])
            scores.append(CLEAN_SCORE - (CLEAN_SCORE - WORST_SCORE) * strength.cpu())
        out["degraded"] = dict(latents=torch.cat(z), tokens=torch.from_numpy(np.concatenate(tokens)), ids=torch.from_numpy(np.concatenate(ids)), scores=torch.cat(scores))
        log(a.work, f"degraded: {len(out['degraded']['latents'])}, {time.time() - start:.0f} s")
    torch.save(out, os.path.join(a.work, "latents.pt"))
    log(a.work, f"latents written, {time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
