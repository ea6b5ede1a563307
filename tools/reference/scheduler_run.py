"""Runs a scheduler of diffusers on a synthetic model; for scheduler_classes.py, scheduler_upstream.py and samplers.py."""

import inspect
import math
import sys
import types

import diffusers
import numpy as np
import torch
from diffusers.schedulers.scheduling_dpmsolver_sde import BrownianTreeNoiseSampler

torch.set_num_threads(1)

import scheduler as base
from scheduler import BASES, StableDiffusionXLImg2ImgPipeline, shortest, timesteps_for

BASES["playground"] = {"_class_name": "EDMDPMSolverMultistepScheduler", "algorithm_type": "dpmsolver++", "rho": 7.0,
                       "sigma_data": 0.5, "sigma_max": 80.0, "sigma_min": 0.002, "final_sigmas_type": "zero",
                       "prediction_type": "epsilon", "solver_order": 2, "solver_type": "midpoint"}
BASES["cosxl"] = {"_class_name": "EDMEulerScheduler", "sigma_data": 1.0, "sigma_max": 120.0, "sigma_min": 0.002,
                  "prediction_type": "v_prediction", "sigma_schedule": "exponential"}
BASES["flow"] = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "num_train_timesteps": 1000}
CLASSES = {**base.CLASSES, "ddpm": "DDPMScheduler", "pndm": "PNDMScheduler", "deis": "DEISMultistepScheduler",
           "dpmpp_2s": "DPMSolverSinglestepScheduler", "dpmpp_sde": "DPMSolverSDEScheduler",
           "kdpm2": "KDPM2DiscreteScheduler", "kdpm2_a": "KDPM2AncestralDiscreteScheduler",
           "sa_solver": "SASolverScheduler", "edm_euler": "EDMEulerScheduler",
           "edm_dpmpp_2m": "EDMDPMSolverMultistepScheduler", "flow_euler": "FlowMatchEulerDiscreteScheduler"}
ALGORITHMS = {"dpmpp_2m": "dpmsolver++", "dpmpp_2m_sde": "sde-dpmsolver++", "dpmpp_2s": "dpmsolver++", "deis": "deis",
              "sa_solver": "data_prediction", "edm_dpmpp_2m": "dpmsolver++"}
CONVERTING = ["deis", "dpmpp_2s", "dpmpp_sde", "kdpm2", "kdpm2_a", "sa_solver", "flow_euler"]
NEW = [n for n in CLASSES if n not in base.CLASSES]
NAMES = NEW + [f"{n}_{s}" for n in CONVERTING for s in base.SUFFIXES]
OWN = {"edm_euler": "cosxl", "edm_dpmpp_2m": "playground", "flow_euler": "flow"}
DISCRETE = [n for n in NAMES if n.split("_")[0] not in ("edm", "flow")]


def draw_float32():
    """Makes every scheduler draw its noise as float32, also for latents in float64."""
    for name in CLASSES.values():
        getattr(diffusers, name)  # diffusers imports its modules when they are asked for
    for name, module in list(sys.modules.items()):
        if name.startswith("diffusers.schedulers.scheduling_") and hasattr(module, "randn_tensor"):
            module.randn_tensor = lambda shape, generator=None, device=None, dtype=None: torch.randn(
                shape, generator=generator).to(dtype or torch.float32)


def construct_fast():
    """Some constructors compute a schedule of a thousand steps, which set_timesteps replaces."""
    for name in ("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "DPMSolverSDEScheduler"):
        def patched(self, *args, original=getattr(diffusers, name).set_timesteps, **kwargs):
            if len(args) == 3:
                self.sigmas, self.sample, self.dt = torch.zeros(1), None, None
            else:
                original(self, *args, **kwargs)
        getattr(diffusers, name).set_timesteps = patched


def make(c):
    stored = BASES[c["base"]]
    config = getattr(diffusers, stored["_class_name"]).from_config(stored).config
    kwargs, plain = {}, c["as"]
    for suffix in base.SUFFIXES:
        if plain.endswith("_" + suffix):
            plain = plain.removesuffix("_" + suffix)
            kwargs = {key: s == suffix for s, key in base.SUFFIXES.items()}
            break
    if plain in ALGORITHMS:
        kwargs["algorithm_type"] = ALGORITHMS[plain]
    config = {**config, **kwargs, **c["with"]}
    if config.get("lambda_min_clipped") is None:
        config.pop("lambda_min_clipped", None)
    config["_use_default_values"] = [k for k in config.get("_use_default_values", []) if k not in {**kwargs, **c["with"]}]
    return getattr(diffusers, CLASSES[plain]).from_config(config)


class RecordedPath:
    """The noise sampler of DPMSolverSDEScheduler, which keeps the levels that it is asked for."""

    def __init__(self, scheduler, x):
        sigmas = [float(s) for s in scheduler.sigmas if s > 0]
        self.levels = [[min(sigmas), max(sigmas)]]
        self.sampler = BrownianTreeNoiseSampler(x.float(), *self.levels[0], scheduler.noise_sampler_seed)

    def __call__(self, a, b):
        levels = [float(a.float()), float(b.float())]
        self.levels.append(levels)
        return self.sampler(*levels)


class RoundedTimes:
    """A noise sampler that moves the levels it is asked for to the nearest correctly rounded ones.

    torch's own logarithm and exponential are off in the last bit on some hosts, and the path's values change with it.
    """

    def __init__(self, scheduler, x):
        f = np.float32
        log = lambda s: f(-f(math.log(float(s))))
        exp = lambda t: float(f(math.exp(-float(t))))
        sigmas = sorted({float(s) for s in scheduler.sigmas if s > 0}, reverse=True)
        levels = [exp(log(s)) for s in sigmas]
        for a, b in zip(sigmas, sigmas[1:]):
            levels.append(exp(f(log(a) + f(f(log(b) - log(a)) * f(0.5)))))
        self.levels = np.array(levels)
        self.sampler = BrownianTreeNoiseSampler(x.float(), min(sigmas), max(sigmas), scheduler.noise_sampler_seed)

    def __call__(self, a, b):
        near = lambda s: float(self.levels[np.argmin(np.abs(self.levels - float(s)))])
        return self.sampler(near(a), near(b))


def widen(scheduler):
    for name in ("sigmas", "sigmas_interpol", "sigmas_up", "sigmas_down", "alphas_cumprod", "final_alpha_cumprod", "one"):
        if isinstance(getattr(scheduler, name, None), torch.Tensor):
            setattr(scheduler, name, getattr(scheduler, name).double())


def attempt(c, grid=False, begin=False):
    c = dict(c)
    o = c["options"]
    scheduler = make(c)
    flow = c["as"].startswith("flow")
    if flow and "sigmas" in o:
        scheduler.set_timesteps(sigmas=o["sigmas"][:-1])
        timesteps, steps = scheduler.timesteps, len(o["sigmas"]) - 1
    else:
        timesteps, steps = timesteps_for(scheduler, o)
    if not hasattr(type(scheduler), "set_begin_index"):
        scheduler.set_begin_index = lambda _: None  # the pipeline calls it unasked where denoising_start is given
    if begin:
        scheduler.set_begin_index(0)
    widen(scheduler)
    first = 0
    if "strength" in o or "denoising_start" in o:
        pipeline = types.SimpleNamespace(scheduler=scheduler)
        kept, _ = StableDiffusionXLImg2ImgPipeline.get_timesteps(
            pipeline, steps, o.get("strength", 0.3), "cpu", denoising_start=o.get("denoising_start"))
        first = len(timesteps) - len(kept)
        timesteps = kept
    if "denoising_end" in o:
        n = scheduler.config.num_train_timesteps
        timesteps = timesteps[: len([t for t in timesteps if t >= int(round(n - o["denoising_end"] * n))])]
    if len(timesteps) == 0:
        c["empty"] = True
        return c
    generator = torch.Generator("cpu").manual_seed(base.SEED)
    pattern = torch.tensor([k / 10 - 0.75 for k in range(16)], dtype=torch.float32).reshape(1, 4, 2, 2)
    initial = 1.0 if flow else scheduler.init_noise_sigma
    if "strength" in o:
        noise = torch.randn(pattern.shape, generator=generator)
        x = scheduler.scale_noise(pattern, timesteps[:1], noise) if flow else scheduler.add_noise(pattern, noise, timesteps[:1])
    elif "denoising_start" in o:
        x = pattern
    else:
        x = pattern * initial
    x = x.double()
    if c["as"].startswith("dpmpp_sde"):
        scheduler.noise_sampler = RecordedPath(scheduler, x)
    accepted = set(inspect.signature(scheduler.step).parameters)
    extra = {"eta": o.get("eta", 0.0)} if "eta" in accepted else {}
    if "generator" in accepted:
        extra["generator"] = generator
    variance = scheduler.config.get("variance_type")
    for t in timesteps:
        scaled = x if flow else scheduler.scale_model_input(x, t)
        model = (0.3 * scaled + 0.001 * t - 0.2).double()
        if type(scheduler).__name__ == "DDPMScheduler" and variance in ("learned", "learned_range"):
            model = torch.cat([model, 0.1 * x if variance == "learned_range" else 0.05 * x.abs() + 0.1], dim=1)
        x = scheduler.step(model, t, x, **extra, return_dict=False)[0]
    if not torch.isfinite(x).all():
        c["not_finite"] = True
        return c
    c["first"], c["count"] = first, len(timesteps)
    c["final"] = [shortest(v) for v in x.flatten()[::5]]
    if isinstance(getattr(scheduler, "noise_sampler", None), RecordedPath):
        c["levels"] = scheduler.noise_sampler.levels
    c["next"] = shortest(torch.rand((), generator=generator))
    if grid:
        c["timesteps"] = [shortest(t) for t in scheduler.timesteps]
        c["init"] = shortest(initial)
        if hasattr(scheduler, "sigmas"):
            c["sigmas"] = [shortest(s) for s in scheduler.sigmas]
    return c


def run(c, grid=False):
    """Fills in the case; what diffusers refuses or crashes on is recorded as raises."""
    try:
        try:
            return attempt(c, grid)
        except (IndexError, AssertionError):
            return attempt(c, grid, begin=True)  # see scheduler.py
    except Exception as error:  # whatever it is, a user would have met it
        return {**c, "raises": f"{type(error).__name__}: {error}"[:80]}
