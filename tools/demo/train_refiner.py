"""Trains the refiner UNet: python train_refiner.py --data DATA --work WORK --minutes 2. Needs base.pt (its encoder 2 is shared and stays as it is) and latents.pt.
It knows low noise only (the last 350 of 1000 steps). Degraded images carry low aesthetic scores and are what low scores stand for; clean ones carry high scores. Half of
these come with errors that the refiner is to take away: a quarter is what the base makes of noisy latents in one step, a quarter has noise at low frequencies."""
import argparse
import os
import time

import torch
import torch.nn.functional as F

import diffuse
import models
import train_base
from encode_latents import CLEAN_SCORE
from make_specs import encode
from common import Learner, Step, compiled, device, grid, join, load, log, put, save, schedule

TOP = 350


def errors(z, strength):
    """Noise at one, two and four latent pixels, as a base model's mistakes look."""
    n, c, h, w = z.shape
    out = torch.randn_like(z)
    for k in (2, 4):
        out = out + F.interpolate(torch.randn(n, c, h // k, w // k, device=z.device), size=(h, w), mode="bilinear")
    return z + strength * out


@torch.no_grad()
def drafts(base, clean, ac, count, batch=500):
    """What the base makes of the first latents of a pool in one step from noise that a refiner never sees (350 to 800): blurred, and wrong in its details."""
    d, out = ac.device.type, []
    for i in range(0, count, batch):
        z, tokens, ids = (clean[k][i : i + batch] for k in ("latents", "tokens", "ids"))
        t = torch.randint(TOP, 800, (len(z),), device=d)
        root, sigma = ac[t].sqrt()[:, None, None, None], (1 - ac[t]).sqrt()[:, None, None, None]
        zt = (root * z.float() + sigma * torch.randn(z.shape, device=d)).contiguous(memory_format=torch.channels_last)
        with torch.autocast(d, torch.bfloat16, enabled=d == "cuda"):
            v = base(zt, t, tokens.long(), ids.float(), torch.ones(len(z), device=d))
        out.append((root * zt - sigma * v.float()).half())
    return torch.cat(out)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--minutes", type=float, required=True)
    p.add_argument("--schedule-minutes", type=float)
    p.add_argument("--batch", type=int, default=256)
    p.add_argument("--rate", type=float, default=8e-4)
    p.add_argument("--drafts", type=int, default=40000, help="latents that come with the base's errors too")
    p.add_argument("--resume", help="folder with the shards of a compact checkpoint")
    a = p.parse_args()
    start, d = time.time(), device()
    if a.resume:
        log(a.work, "resumed from shards:", join(a.work, a.resume))
    torch.manual_seed(5)
    base = train_base.build(a.data, d)
    state = load(a.work, "base", d)
    if state is None:
        raise SystemExit(f"{a.work}/base.pt: not there; train the base first")
    put(base, state["ema"])
    net = diffuse.Conditioned(None, base.encoder2, models.refiner_unet().to(d).to(memory_format=torch.channels_last))
    net.encoder2.requires_grad_(False)
    learner = Learner(net.unet.named_parameters(), 0.999, d)
    spent = 0.0
    if state := load(a.work, "refiner", d):
        learner.restore(state)
        spent = state["seconds"]
    total = 60 * (a.schedule_minutes or a.minutes)
    log(a.work, f"refiner: UNet {models.millions(net.unet):.2f} M parameters; {spent:.0f} of {total:.0f} s done")
    ac = models.alphas_cumprod(d)
    empty = torch.from_numpy(encode(os.path.join(a.data, "tokenizer"), [""])).to(d)
    clean, bad = diffuse.load_pool(a.work, 0, d), diffuse.load_pool(a.work, "degraded", d)
    count = min(a.drafts, len(clean["latents"]))
    draft = drafts(base.eval(), clean, ac, count)
    log(a.work, f"refiner: {count} drafts, {time.time() - start:.0f} s")
    forward = compiled(net, d)
    b, half, quarter = a.batch, a.batch // 2, a.batch // 4

    def learn():
        i = torch.cat([torch.randint(count, (quarter // 2,), device=d), torch.randint(len(clean["latents"]), (half - quarter // 2,), device=d)])
        j = torch.randint(len(bad["latents"]), (b - half,), device=d)
        z = torch.cat([clean["latents"][i], bad["latents"][j]]).float()
        tokens = torch.cat([clean["tokens"][i], bad["tokens"][j]]).long()
        scores = torch.cat([CLEAN_SCORE + (torch.rand(half, device=d) - 0.5), bad["scores"][j]])
        ids = torch.cat([torch.cat([clean["ids"][i], bad["ids"][j]])[:, :4].float(), scores[:, None]], 1)
        tokens = torch.where((torch.rand(b, device=d) < 0.12)[:, None], empty, tokens)
        t = diffuse.times(b, TOP, d)[torch.randperm(b, device=d)]
        root, sigma = ac[t].sqrt()[:, None, None, None], (1 - ac[t]).sqrt()[:, None, None, None]
        noise = torch.randn_like(z)
        at = torch.arange(b, device=d)
        wrong = torch.rand(b, 1, 1, 1, device=d) * 0.3 * ((at >= quarter // 2) & (at < quarter))[:, None, None, None]
        given = torch.cat([draft[i[: quarter // 2]].float(), z[quarter // 2 :]])
        zt = (root * errors(given, wrong) + sigma * noise).contiguous(memory_format=torch.channels_last)
        with torch.autocast(d, torch.bfloat16, enabled=d == "cuda"):
            v = forward(zt, t, tokens, ids, torch.ones(b, device=d))
        # The loss is of the clean latents that v implies, weighted as v-prediction weights it but never above 30.
        x0 = root * zt - sigma * v.float()
        weight = (1 / sigma**2).clamp(max=30.0)
        learner.learn((weight * (x0 - z) ** 2).mean())

    step, done, begin = Step(learn, a.work, "refiner", d), 0, time.time()
    while time.time() - start < 60 * a.minutes - 8:
        learner.set(schedule(a.rate, (spent + time.time() - start) / total, learner.steps))
        step()
        done += 1
        if done % 8 == 0 and d == "cuda":
            torch.cuda.synchronize()
        if done % 500 == 0:
            log(a.work, f"refiner step {learner.steps} loss {learner.total.item() / 500:.4f} {500 * b / (time.time() - begin):.0f} latents/s")
            begin = time.time()
            learner.total.zero_()
    state = learner.state()
    state["seconds"] = spent + time.time() - start
    save(a.work, "refiner", state)
    log(a.work, f"refiner: {learner.steps} steps, {state['seconds']:.0f} s")
    learner.averaged()
    net.eval()
    base.eval()
    vae = models.vae()
    vae.load_state_dict(load(a.work, "vae_final"))
    vae.register_to_config(scaling_factor=1.0)
    vae = vae.to(d).eval()
    tokens = torch.from_numpy(encode(os.path.join(a.data, "tokenizer"), diffuse.PROMPTS[:8])).to(d)
    with torch.no_grad():
        z = diffuse.sample(base, tokens, 1)
        rows = [z, diffuse.refine(net, z, tokens, empty, 2), diffuse.refine(net, z, tokens, empty, 2, score=2.5, negative_score=6.0)]
        grid(os.path.join(a.work, "refiner.png"), torch.cat([diffuse.decode(vae, r) for r in rows]), 8)
    log(a.work, "refiner.png written: base; refined; refined towards a low score")


if __name__ == "__main__":
    main()
