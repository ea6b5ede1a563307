"""Trains both text encoders and the base UNet: python train_base.py --data DATA --work WORK --minutes 5 --schedule-minutes 14. WORK/base.pt in (if there) and out;
base.png shows samples of the averaged weights."""
import argparse
import os
import time

import tokenizers
import torch

import diffuse
import models
import scenes
from make_specs import encode
from common import Learner, Step, compiled, device, grid, join, load, log, save, schedule

SIDE_BUCKETS_FROM = 0.45  # part of the schedule after which the other aspect ratios join
NULL, EMPTY = 0.08, 0.03  # captions that are dropped: zeros in the text's place, or the empty text


def build(data, d):
    vocab = tokenizers.Tokenizer.from_file(os.path.join(data, "tokenizer", "tokenizer.json")).get_vocab_size()
    net = diffuse.Conditioned(models.text_encoder(vocab, 1), models.text_encoder(vocab, 2), models.base_unet())
    models.freeze_unused(net.encoder1)
    return net.to(d).to(memory_format=torch.channels_last)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--minutes", type=float, required=True, help="wall clock of this run, compiling included")
    p.add_argument("--schedule-minutes", type=float, required=True, help="of all runs together")
    p.add_argument("--finish", action="store_true", help="the schedule ends with this run, whatever --schedule-minutes says")
    p.add_argument("--batch", type=int, default=256)
    p.add_argument("--rate", type=float, default=8e-4)
    p.add_argument("--keep-encoder-2", action="store_true", help="it stays as it is: a refiner that is not trained again knows it so")
    p.add_argument("--resume", help="folder with the shards of a compact checkpoint")
    a = p.parse_args()
    start, d = time.time(), device()
    os.makedirs(a.work, exist_ok=True)
    if a.resume:
        log(a.work, "resumed from shards:", join(a.work, a.resume))
    torch.manual_seed(4)
    net = build(a.data, d)
    learner = Learner(net.named_parameters(), 0.9995, d)
    spent, first = 0.0, 0
    if state := load(a.work, "base", d):
        learner.restore(state)
        spent, first = state["seconds"], learner.steps
        torch.manual_seed(1000 + learner.steps)
    if a.keep_encoder_2:
        net.encoder2.requires_grad_(False)
    total = spent + 60 * a.minutes if a.finish else 60 * a.schedule_minutes
    log(a.work, f"base: encoders {models.millions(net.encoder1):.2f} + {models.millions(net.encoder2):.2f}, UNet {models.millions(net.unet):.2f} M parameters; "
        f"{learner.steps} steps and {spent:.0f} of {total:.0f} s done")
    ac = models.alphas_cumprod(d)
    empty = torch.from_numpy(encode(os.path.join(a.data, "tokenizer"), [""])).to(d)
    fast = compiled(net, d)

    def stepper(bucket):
        pool = diffuse.load_pool(a.work, bucket, d)
        if pool is None:
            return None
        # The native size has most steps and is compiled; for the others compiling costs more than it gains.
        forward = fast if bucket == 0 else net
        z, tokens, ids = pool["latents"], pool["tokens"], pool["ids"]
        n, b = len(z), a.batch

        def learn():
            i = torch.randint(n, (b,), device=d)
            z0 = z[i].float().contiguous(memory_format=torch.channels_last)
            drop = torch.rand(b, device=d)
            words = torch.where(((drop >= NULL) & (drop < NULL + EMPTY))[:, None], empty, tokens[i].long())
            t = diffuse.times(b, 1000, d)
            root, noise = ac[t].sqrt()[:, None, None, None], torch.randn_like(z0)
            sigma = (1 - ac[t]).sqrt()[:, None, None, None]
            with torch.autocast(d, torch.bfloat16, enabled=d == "cuda"):
                v = forward(root * z0 + sigma * noise, t, words, ids[i].float(), (drop >= NULL).float())
            learner.learn(((v.float() - (root * noise - sigma * z0)) ** 2).mean())

        return Step(learn, a.work, f"base bucket {bucket}", d)

    steppers = {0: stepper(0)}
    native, done, begin, wait = None, 0, time.time(), 200
    while time.time() - start < 60 * a.minutes - 8:
        fraction = (spent + time.time() - start) / total
        if fraction >= 1:
            break
        # After a restart without moments the rate rises again over some steps.
        rate = schedule(a.rate, fraction, learner.steps) * min(1.0, (learner.steps - first + 1) / 60)
        learner.set(rate)
        bucket = 0
        if fraction > SIDE_BUCKETS_FROM and learner.steps % 4 == 0:
            bucket = 1 + learner.steps // 4 % 3
            if bucket not in steppers:
                steppers[bucket] = stepper(bucket)
        (steppers[bucket] or steppers[0])()
        done += 1
        if done % 8 == 0 and d == "cuda":
            torch.cuda.synchronize()
        if done == 10:
            begin, wait = time.time(), 0
            learner.total.zero_()
        elif done > 10 and (done - 10) % 500 == 0:
            log(a.work, f"base step {learner.steps} loss {learner.total.item() / 500:.4f} rate {rate:.2e} {500 * a.batch / (time.time() - begin):.0f} latents/s at {100 * fraction:.0f} %")
            begin = time.time()
            learner.total.zero_()
    state = learner.state()
    state["seconds"] = spent + time.time() - start
    save(a.work, "base", state)
    log(a.work, f"base: {learner.steps} steps, {state['seconds']:.0f} s")
    learner.averaged()
    net.eval()
    vae = models.vae()
    vae.load_state_dict(load(a.work, "vae_final"))
    vae.register_to_config(scaling_factor=1.0)
    vae = vae.to(d).eval()
    tokens = torch.from_numpy(encode(os.path.join(a.data, "tokenizer"), diffuse.PROMPTS)).to(d)
    with torch.no_grad():
        grid(os.path.join(a.work, "base.png"), diffuse.decode(vae, diffuse.sample(net, tokens, 1)), 4)
    log(a.work, "base.png written")


if __name__ == "__main__":
    main()
