"""Trains the VAE: python train_vae.py --data DATA --work WORK --minutes 4 [--schedule-minutes 4]. WORK/vae.pt in (if there), WORK/vae.pt and vae.png out."""
import argparse
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

import models
import scenes
from common import Learner, Step, compiled, device, grid, load, log, save, schedule

KL = 2e-5  # keeps latents near a Gaussian without costing sharpness


def psnr(a, b):
    """Of images in [-1, 1], the mean over images of each one's PSNR."""
    mse = ((a.clamp(-1, 1) - b.clamp(-1, 1)) ** 2).mean((1, 2, 3)) / 4
    return (-10 * torch.log10(mse.clamp(min=1e-10))).mean().item()


def edges(x, y):
    """L1 of differences between neighbours at three scales: what makes edges crisp."""
    total = 0.0
    for _ in range(3):
        total = total + (x.diff(dim=-1) - y.diff(dim=-1)).abs().mean() + (x.diff(dim=-2) - y.diff(dim=-2)).abs().mean()
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return total


def held_images(a, composer, d, count=128):
    """Held-out scenes at 256 x 256, chunk by chunk."""
    packed = dict(np.load(os.path.join(a.work, "held.npz")))
    starts = [i for i in range(0, len(packed["n"]), scenes.CHUNK) if packed["bucket"][i] == 0 and packed["blur"][i] == 0]
    per = max(1, count // len(starts))
    specs = scenes.to_device(packed, d)
    out = [composer(packed, specs, i, i + per, 256, 256) for i in starts]
    return torch.cat(out)[:count]


def standardise(vae, mean, std):
    """Folds a shift and scale of the latents into the 1 x 1 convolutions on both sides: each channel then has mean 0 and deviation 1, and scaling_factor is 1."""
    with torch.no_grad():
        q, p, n = vae.quant_conv, vae.post_quant_conv, len(mean)
        # The decoder first, with the old meaning: z_old = z_new * std + mean.
        p.bias += p.weight[:, :, 0, 0] @ mean
        p.weight *= std[None, :, None, None]
        q.weight[:n] /= std[:, None, None, None]
        q.bias[:n] = (q.bias[:n] - mean) / std
        q.bias[n:] -= 2 * std.log()
    vae.register_to_config(scaling_factor=1.0)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--minutes", type=float, required=True, help="wall clock of this run, compiling included")
    p.add_argument("--schedule-minutes", type=float, help="of all runs together; default: this run is all")
    p.add_argument("--batch", type=int, default=96)
    p.add_argument("--crop", type=int, default=192)
    p.add_argument("--rate", type=float, default=1.2e-3)
    a = p.parse_args()
    start, d = time.time(), device()
    torch.manual_seed(1)
    rgba, _ = scenes.load_objects(os.path.join(a.data, "atlas.npz"))
    composer = scenes.Composer(rgba, d)
    packed = dict(np.load(os.path.join(a.work, "specs.npz")))
    chunks = np.array([i for i in range(0, len(packed["n"]), scenes.CHUNK) if packed["bucket"][i] == 0])
    specs = scenes.to_device(packed, d)
    vae = models.vae().to(d).to(memory_format=torch.channels_last)
    learner = Learner(vae.named_parameters(), 0.999, d, weight_decay=1e-4)
    spent = 0.0
    if state := load(a.work, "vae", d):
        learner.restore(state)
        spent = state["seconds"]
    total = 60 * (a.schedule_minutes or a.minutes)
    image = torch.zeros(a.batch, 3, a.crop, a.crop, device=d).to(memory_format=torch.channels_last)

    def loss_of(x, noise):
        moments = vae.quant_conv(vae.encoder(x))
        mean, logvar = moments.chunk(2, 1)
        logvar = logvar.clamp(-20, 10)
        z = mean + torch.exp(0.5 * logvar) * noise
        y = vae.decoder(vae.post_quant_conv(z)).float()
        mean, logvar = mean.float(), logvar.float()
        kl = (mean**2 + logvar.exp() - 1 - logvar).mean()
        return (y - x).abs().mean() + 3 * ((y - x) ** 2).mean() + 0.6 * edges(y, x) + KL * kl

    loss_of = compiled(loss_of, d)
    latent = (a.batch, 4, a.crop // 8, a.crop // 8)

    def learn():
        noise = torch.randn(latent, device=d)
        with torch.autocast(d, torch.bfloat16, enabled=d == "cuda"):
            loss = loss_of(image, noise)
        learner.learn(loss)

    step = Step(learn, a.work, "vae", d)
    rng = np.random.default_rng(int(spent) + 1)

    def fill():
        """Random crops of scenes from several chunks, so that a batch has all kinds."""
        parts, per = [], max(1, a.batch // 4)
        while sum(len(x) for x in parts) < a.batch:
            i = int(rng.choice(chunks)) + int(rng.integers(0, scenes.CHUNK - per + 1))
            x = composer(packed, specs, i, i + per, 256, 256)
            t, l = rng.integers(0, 256 - a.crop + 1, 2)
            parts.append(x[:, :, t : t + a.crop, l : l + a.crop])
        image.copy_(torch.cat(parts)[: a.batch])

    log(a.work, f"vae: {models.millions(vae):.2f} M parameters, {len(chunks) * scenes.CHUNK} scenes, {spent:.0f} s of {total:.0f} done")
    done = begin = 0
    while time.time() - start < 60 * a.minutes - 6:
        learner.set(schedule(a.rate, (spent + time.time() - start) / total, learner.steps, warm=200, flat=0.45))
        with torch.no_grad():
            fill()
        step()
        done += 1
        if done % 4 == 0 and d == "cuda":
            torch.cuda.synchronize()  # so that the clock of the loop is the GPU's
        if done == 20:
            begin = time.time()
        if done % 400 == 0:
            log(a.work, f"vae step {learner.steps} loss {learner.total.item() / 400:.4f} {400 * a.batch / (time.time() - begin):.0f} crops/s")
            begin = time.time()
            learner.total.zero_()
    state = learner.state()
    state["seconds"] = spent + time.time() - start
    save(a.work, "vae", state)
    learner.averaged()
    vae.eval()
    with torch.no_grad():
        x = held_images(a, composer, d)
        z = torch.cat([vae.encode(b).latent_dist.mean for b in x.split(16)])
        mean, std = z.mean((0, 2, 3)), z.std((0, 2, 3))
        y = torch.cat([vae.decode(b).sample for b in z.split(16)])
        log(a.work, f"vae: {learner.steps} steps, PSNR of {len(x)} held-out scenes {psnr(y, x):.2f} dB; latents mean {mean.tolist()} std {std.tolist()}")
        standardise(vae, mean, std)
        w = vae.decode(vae.encode(x[:8]).latent_dist.mean).sample
        log(a.work, f"vae: standardised, PSNR of 8 scenes {psnr(w, x[:8]):.2f} dB, before {psnr(y[:8], x[:8]):.2f} dB")
        show = torch.arange(0, len(x), max(1, len(x) // 8))[:8]
        grid(os.path.join(a.work, "vae.png"), torch.cat([x[show], y[show]]), 8)
    save(a.work, "vae_final", vae.state_dict())


if __name__ == "__main__":
    main()
