"""Writes scheduler/testdata/upstream.json.gz: every scheduler configuration that diffusers' own scheduler tests make.

    python tools/reference/scheduler_upstream.py DIFFUSERS

DIFFUSERS is a checkout of https://github.com/huggingface/diffusers (commit 58eb52c080, whose tests go with 0.42.1; they
are not in the package). The tests run with their checks taken out, and every set_timesteps is recorded with the
scheduler's configuration; a configuration that was only made runs with its test's number of steps. Each is then run
once, over all of its timesteps, on those tests' own latents (4, 3, 8, 8) and model x * t / (t + 1), and the golden keeps
the sum of the magnitudes and a few values, or what diffusers raises. "wide" is the
same run in float64, where float32 alone is off by more than half the tolerance.
"""

import gzip
import importlib
import inspect
import json
import math
import os
import sys
import unittest

import diffusers
import numpy as np
import torch

torch.set_num_threads(1)

import scheduler_run as ours
from scheduler import shortest

TESTS = {"ddim": "DDIMSchedulerTest", "ddpm": "DDPMSchedulerTest", "deis": "DEISMultistepSchedulerTest",
         "dpm_multi": "DPMSolverMultistepSchedulerTest", "dpm_sde": "DPMSolverSDESchedulerTest",
         "dpm_single": "DPMSolverSinglestepSchedulerTest", "edm_dpmsolver_multistep": "EDMDPMSolverMultistepSchedulerTest",
         "edm_euler": "EDMEulerSchedulerTest", "euler": "EulerDiscreteSchedulerTest",
         "euler_ancestral": "EulerAncestralDiscreteSchedulerTest", "heun": "HeunDiscreteSchedulerTest",
         "kdpm2_ancestral": "KDPM2AncestralDiscreteSchedulerTest", "kdpm2_discrete": "KDPM2DiscreteSchedulerTest",
         "lcm": "LCMSchedulerTest", "lms": "LMSDiscreteSchedulerTest", "pndm": "PNDMSchedulerTest",
         "sasolver": "SASolverSchedulerTest", "tcd": "TCDSchedulerTest", "unipc": "UniPCMultistepSchedulerTest"}
SKIP = ("hub", "device", "fp16", "half", "save", "pretrained", "public_api", "step_shape", "outputs_equivalence", "getattr", "switch")


def plain(value):
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def stored(config):
    defaults = config.get("_use_default_values", [])
    out = {k: plain(v) for k, v in config.items() if not k.startswith("_") and k not in defaults}
    if out.get("lambda_min_clipped") == -math.inf:
        del out["lambda_min_clipped"]
    return out


def record(module, name, found):
    """Runs one test class with its checks taken out."""
    test = getattr(importlib.import_module(f"tests.schedulers.test_scheduler_{module}"), name)
    cls = test.scheduler_classes[0]
    originals = cls.set_timesteps, cls.__init__
    pending = []

    def keep(config, **how):
        found.setdefault(json.dumps([cls.__name__, config, how], sort_keys=True), None)

    def set_timesteps(self, *args, **kwargs):
        originals[0](self, *args, **kwargs)
        if type(self) is not cls or len(args) == 3:
            return
        bound = dict(inspect.signature(originals[0]).bind(self, *args, **kwargs).arguments)
        how = {k: plain(bound[k]) for k in ("num_inference_steps", "timesteps", "sigmas") if bound.get(k) is not None}
        if bound.get("original_inference_steps") is None and bound.get("strength") is None and bound.get("mu") is None:
            config = stored(self.config)
            keep(config, **how)
            pending[:] = [p for p in pending if p != config]

    def init(self, *args, **kwargs):
        originals[1](self, *args, **kwargs)
        if type(self) is cls:
            pending.append(stored(self.config))

    cls.set_timesteps, cls.__init__ = set_timesteps, init
    try:
        for method in unittest.TestLoader().getTestCaseNames(test):
            if any(word in method for word in SKIP):
                continue
            case = test(method)
            try:
                case.setUp()
                getattr(case, method)()
            except Exception as error:  # what a test checks is not of interest here
                print(f"{name}.{method}: {type(error).__name__} {str(error)[:80]}")
        steps = dict(test.forward_default_kwargs).get("num_inference_steps", getattr(test, "num_inference_steps", 10)) or 10
        for config in pending:
            keep(config, num_inference_steps=steps)
    finally:
        cls.set_timesteps, cls.__init__ = originals


def loop(name, config, how, wide=False):
    try:
        return attempt(name, config, how, wide)
    except IndexError:  # two equal timesteps; see scheduler.py
        return attempt(name, config, how, wide, begin=True)


def attempt(name, config, how, wide, begin=False):
    scheduler = getattr(diffusers, name)(**config)
    scheduler.set_timesteps(**how)
    if begin:
        scheduler.set_begin_index(0)
    if wide:
        ours.widen(scheduler)
    n = 4 * 3 * 8 * 8
    x = (torch.arange(n).reshape(3, 8, 8, 4) / n).permute(3, 0, 1, 2) * scheduler.init_noise_sigma
    x = x.double() if wide else x.float()
    if name == "DPMSolverSDEScheduler":
        scheduler.noise_sampler = ours.RoundedTimes(scheduler, x)
    accepted = set(inspect.signature(scheduler.step).parameters)
    extra = {"generator": torch.Generator("cpu").manual_seed(0)} if "generator" in accepted else {}
    if "eta" in accepted:
        extra["eta"] = 0.0
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t)
        moment = t.to(torch.float32).to(x.dtype)
        x = scheduler.step(scaled * moment / (moment + 1), t, x, **extra, return_dict=False)[0]
    return x.float(), len(scheduler.timesteps)


def values(x):
    flat = x.permute(1, 2, 3, 0).flatten()
    return [shortest(flat.abs().double().sum())] + [shortest(flat[i]) for i in (0, 100, 383, 500, 767)]


def main():
    root = sys.argv[1]
    sys.path.insert(0, root)
    ours.construct_fast()
    found = {}
    for module, name in TESTS.items():
        before = len(found)
        record(module, name, found)
        print(name, len(found) - before, flush=True)
    ours.draw_float32()
    out, counts = [], {}
    for key in found:
        name, config, how = json.loads(key)
        case = {"class": name, "config": config, **how}
        try:
            x, case["count"] = loop(name, config, how)
            if torch.isfinite(x).all():
                case["values"] = values(x)
                wide = values(loop(name, config, how, wide=True)[0])
                if abs(wide[0] - case["values"][0]) > 5e-6 * abs(wide[0]) or max(
                        abs(a - b) for a, b in zip(wide[1:], case["values"][1:])) > 5e-6 * x.abs().max():
                    case["wide"] = wide
                kind = "run"
            else:
                case["not_finite"] = True
                kind = "not finite"
        except Exception as error:
            case["raises"] = f"{type(error).__name__}: {error}"[:80]
            kind = "raises"
        counts[kind] = counts.get(kind, 0) + 1
        out.append(case)
    golden = {"made_by": "tools/reference/scheduler_upstream.py", "tests": "huggingface/diffusers 58eb52c080", "seed": 0,
              "versions": {"diffusers": diffusers.__version__, "torch": torch.__version__, "numpy": np.__version__}, "cases": out}
    path = os.path.join("scheduler", "testdata", "upstream.json.gz")
    with gzip.GzipFile(path, "wb", mtime=0) as f:
        f.write(json.dumps(golden, separators=(",", ":"), allow_nan=False).encode())
    print(counts, len(out), "configurations,", os.path.getsize(path), "bytes")


if __name__ == "__main__":
    main()
