"""The synthetic model and the noise of kdiffusion.py."""

import math

import numpy as np
import torch

SEED = 0
WIDE = None  # float64 while a case is run again in it
PATTERN = torch.tensor([k / 10 - 0.75 for k in range(16)], dtype=torch.float32).reshape(1, 4, 2, 2)


def shortest(value):
    return float(np.format_float_positional(np.float32(value), unique=True))


class Noise:
    """Unit noise of the seed's generator; where a step of DPM++ SDE asks again, both halves summed."""

    def __init__(self):
        self.generator = torch.Generator("cpu").manual_seed(SEED)
        self.from_, self.middle, self.half = None, None, None

    def randn(self, like):
        return torch.randn(like.shape, generator=self.generator, dtype=torch.float32).to(WIDE or like.dtype)

    def tree(self, x, twice):
        def sample(sigma, sigma_next):
            noise = self.randn(x)
            if not twice:
                return noise
            if self.from_ is None or float(sigma) != self.from_:
                self.from_, self.middle, self.half = float(sigma), float(sigma_next), noise
                return noise
            whole = self.from_ - float(sigma_next)
            self.from_, first, second = None, self.from_ - self.middle, self.middle - float(sigma_next)
            return math.sqrt(first / whole) * self.half + math.sqrt(second / whole) * noise
        return sample


class Synthetic:
    """The model, as sd_model: it records how it is called."""

    def __init__(self, alphas):
        self.alphas_cumprod = alphas
        self.calls = []

    def apply_model(self, x, t, cond=None):
        t = t.reshape(-1)[0].to(x.dtype)
        self.calls.append([shortest(t)])
        return 0.3 * x + 0.001 * t - 0.2


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
