"""Trains the judge, a network of its own that never sees a VAE or a UNet: python quality/judge.py --data DATA --work WORK --minutes 1. Writes WORK/judge.pt.

It looks at 256 x 256 images and says for each cell of 16 x 16 which object has its middle there, or none; and which background the whole has. Its images are scenes with
other changes than the models' training makes: blur, noise, gain and offset of the colours, mirror images."""
import argparse
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import captions as cap
import paint
import scenes
from common import compiled, device, log, save, schedule

CELLS = 16


class Judge(nn.Module):
    def __init__(self, objects):
        super().__init__()

        def block(i, o, stride):
            return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.SiLU())

        self.body = nn.Sequential(block(3, 32, 2), block(32, 64, 2), block(64, 64, 1), block(64, 128, 2), block(128, 128, 1), block(128, 256, 2), block(256, 256, 1), block(256, 256, 1),
                                  block(256, 320, 1))
        self.objects = nn.Conv2d(320, objects + 1, 1)  # the last class is none
        self.background = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 128), nn.SiLU(), nn.Linear(128, len(cap.BACKGROUNDS)))

    def forward(self, x):
        return self.objects(self.body(x)), self.background(F.adaptive_avg_pool2d(x, 8))


def labels(s, start, stop, count, n, d):
    """(cells' classes; -100 where no answer is asked), of specs start..stop with n objects."""
    at = (torch.arange(CELLS, device=d) + 0.5) * 256 / CELLS
    y, x = at[:, None], at[None, :]
    out = torch.full((stop - start, CELLS, CELLS), count, device=d)
    for k in range(n):
        cx, cy, size = (s[key][start:stop, k, None, None] for key in ("x", "y", "size"))
        r = ((x - cx) ** 2 + (y - cy) ** 2).sqrt()
        inside = r < (0.2 * size).clamp(min=11)
        near = ((x - cx).abs() < 0.62 * size) & ((y - cy).abs() < 0.62 * size)
        out = torch.where(near & (out == count), -100, out)
        out = torch.where(inside, s["obj"][start:stop, k, None, None].long(), out)
    return out


def disturb(x):
    n = len(x)
    r = lambda *shape: torch.rand(shape, device=x.device)
    soft = F.interpolate(F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True), scale_factor=2, mode="bilinear")
    x = torch.lerp(x, soft, r(n, 1, 1, 1) * 1.2)
    x = x * (0.88 + 0.24 * r(n, 3, 1, 1)) + (r(n, 3, 1, 1) - 0.5) * 0.12
    return x + torch.randn_like(x) * 0.08 * r(n, 1, 1, 1)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--minutes", type=float, required=True)
    p.add_argument("--batch", type=int, default=128)
    a = p.parse_args()
    start, d = time.time(), device()
    torch.manual_seed(9)
    packed = dict(np.load(os.path.join(a.work, "specs.npz")))
    rgba, objects, owner = paint.needed(os.path.join(a.data, "atlas.npz"), packed["obj"])
    composer = scenes.Composer(rgba, d)
    specs = scenes.to_device(packed, d)
    named = {**specs, "obj": torch.from_numpy(owner).to(d)[specs["obj"].long()]}  # whatever colour it has
    chunks = [i for i in range(0, len(packed["n"]), scenes.CHUNK) if packed["bucket"][i] == 0]
    rng = np.random.default_rng(9)
    net = Judge(len(objects)).to(d).to(memory_format=torch.channels_last)
    opt = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.02)
    forward, steps, per = compiled(net, d), 0, max(2, a.batch // 4)
    weight = torch.ones(len(objects) + 1, device=d)
    weight[-1] = 0.15
    while time.time() - start < 60 * a.minutes - 4:
        xs, ys, bs = [], [], []
        for _ in range(4):
            i = int(rng.choice(chunks)) + int(rng.integers(0, scenes.CHUNK - per + 1))
            x, y = composer(packed, specs, i, i + per, 256, 256), labels(named, i, i + per, len(objects), int(packed["n"][i]), d)
            if rng.random() < 0.2:
                x, y = x.flip(-1), y.flip(-1)
            xs.append(x), ys.append(y), bs.append(specs["bg"][i : i + per].long())
        x = disturb(torch.cat(xs)).contiguous(memory_format=torch.channels_last)
        for g in opt.param_groups:
            g["lr"] = schedule(2e-3, (time.time() - start) / (60 * a.minutes), steps, warm=50, flat=0.3)
        with torch.autocast(d, torch.bfloat16, enabled=d == "cuda"):
            cells, back = forward(x)
        loss = F.cross_entropy(cells.float(), torch.cat(ys), weight) + 0.3 * F.cross_entropy(back.float(), torch.cat(bs))
        opt.zero_grad()
        loss.backward()
        opt.step()
        steps += 1
        if steps % 200 == 0:
            log(a.work, f"judge step {steps} loss {loss.item():.4f}")
    save(a.work, "judge", {k: v.cpu() for k, v in net.state_dict().items()})
    log(a.work, f"judge: {steps} steps, {sum(q.numel() for q in net.parameters()) / 1e6:.2f} M parameters")


if __name__ == "__main__":
    main()
