"""The synthetic model and the noise of kdiffusion.py."""

import math
import types

import numpy as np
import torch

SEED = 0
SEEDS = [SEED]  # of each image in A1111
WIDE = None  # float64 while a case is run again in it
PATTERN = torch.tensor([k / 10 - 0.75 for k in range(16)], dtype=torch.float32).reshape(1, 4, 2, 2)


def shortest(value):
    return float(np.format_float_positional(np.float32(value), unique=True))


class Noise:
    """Unit noise of the seed's generator."""

    def __init__(self):
        self.generator = torch.Generator("cpu").manual_seed(SEED)

    def randn(self, like):
        return torch.randn(like.shape, generator=self.generator, dtype=torch.float32).to(WIDE or like.dtype)


class Path:
    """A BrownianTreeNoiseSampler whose tree is of float32, and which keeps the levels that it is asked for.

    The noise changes with their last bits, so a wide run asks for the levels of the float32 run before it. Where there
    was none, it asks for those that correctly rounded logarithms and exponentials lead to: torch's own depend on the host.
    """

    levels = []  # the range, then those of each call
    halves = False  # DPM++ SDE: every other call is for the first half of a step, in the logarithm of sigma
    exact = False  # a step's own ends are asked for as they are, not through logarithms

    def __init__(self, sampler, x, low, high, seed, **keys):
        if not WIDE:
            Path.levels = [[float(low), float(high)]]
        self.wanted, self.calls = Path.levels[1:], 0
        self.sampler = sampler(x.float(), *self.narrow(low, high), seed, **keys)

    def __call__(self, a, b):
        a, b = float(a), float(b)
        if not WIDE:
            Path.levels.append([a, b])
        elif self.wanted:
            a, b = self.wanted[self.calls]
        else:
            a, b = self.rounded(a, b)
        self.calls += 1
        return self.sampler(*self.narrow(a, b)).to(WIDE or torch.float32)

    def rounded(self, a, b):
        if not self.halves:
            return a, b
        f, half = np.float32, self.calls % 2 == 0
        log, exp = (lambda s: -f(math.log(f(s)))), (lambda t: float(f(math.exp(-float(t)))))
        start, end = log(a), log(b * b / a if half else b)
        if half:
            end = start + (end - start) * f(0.5)
        return (a if self.exact else exp(start)), (b if self.exact and not half else exp(end))

    @staticmethod
    def narrow(*levels):
        return [torch.tensor(float(v), dtype=torch.float32) for v in levels]


class Synthetic:
    """The model, as sd_model: it records how it is called."""

    def __init__(self, alphas):
        self.alphas_cumprod = alphas
        self.calls = []

    def apply_model(self, x, t, cond=None):
        t = t.reshape(-1)[0].to(x.dtype)
        self.calls.append([shortest(t)])
        return 0.3 * x + 0.001 * t - 0.2

    def unconditional(self, x, t):
        return 0.2 * x + 0.0005 * t.reshape(-1)[0].to(x.dtype) + 0.1


def recorded(model, wrap):
    """wrap with the sigma of every call beside the timestep."""
    def call(x, sigma, **extra_args):
        out = wrap(x, sigma)
        model.calls[-1].append(shortest(sigma.reshape(-1)[0]))
        return out
    return call


def finish(case, model, x, noise, init):
    case["final"] = [shortest(v) for v in x.flatten()[::5]]
    case["evaluations"] = model.calls
    case["init"] = shortest(init)
    return case


class TimestepsModel:
    """What A1111's timesteps samplers call, CFGDenoiserTimesteps."""

    def __init__(self, model):
        self.inner_model = types.SimpleNamespace(inner_model=model)
        self.model = model

    def __call__(self, x, t):
        self.model.guidance_factor = getattr(self, "cond_scale_miltiplier", 1)
        out = self.model.apply_model(x, t)
        self.last_noise_uncond = self.model.unconditional(x, t)
        return out


class ComfyModel(torch.nn.Module):
    """What a KSAMPLER calls, as far as samplers look at it."""

    def __init__(self, model, ms):
        super().__init__()
        self.calling = recorded(model, lambda x, sigma: ms.calculate_denoised(
            sigma, model.apply_model(ms.calculate_input(sigma, x), ms.timestep(sigma.float())), x))  # the nearest in float32
        self.unconditional = lambda x, sigma: ms.calculate_denoised(
            sigma, model.unconditional(ms.calculate_input(sigma, x), ms.timestep(sigma.float())), x)
        patcher = type("Patcher", (), {"get_model_object": lambda self, name: ms})()
        inner = type("Inner", (), {"model_sampling": ms})()
        self.inner_model = type("Wrap", (), {"inner_model": inner, "model_patcher": patcher})()

    def forward(self, x, sigma, model_options={}, **extra_args):
        denoised = self.calling(x, sigma)
        if f := model_options.get("post_cfg_function"):
            denoised = f({"denoised": denoised, "uncond_denoised": self.unconditional(x, sigma)})
        return denoised


def set_post_cfg_function(model_options, f, disable_cfg1_optimization):
    """comfy.model_patcher.set_model_options_post_cfg_function."""
    return {**model_options, "post_cfg_function": f}
