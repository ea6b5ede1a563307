"""Loads the samplers and schedules of A1111 and ComfyUI for the golden writers, without either program.

k-diffusion comes from PyPI. The files of the two programs are read from checkouts named by the environment:

    A1111    modules/sd_schedulers.py, sd_samplers_extra.py, sd_samplers_kdiffusion.py, sd_samplers_timesteps_impl.py,
             torch_utils.py and models/diffusion/uni_pc of
             lllyasviel/stable-diffusion-webui-forge dfdcbab (A1111 1.10's files, with Forge's schedules beside them)
    COMFYUI  comfy/samplers.py, model_sampling.py, k_diffusion and comfy_extras/nodes_custom_sampler.py,
             nodes_align_your_steps.py of ComfyUI 0.8.0, 3cd7b32f (0.18.1, eb0686b gives the same numbers)

Everything else that they import is replaced by stubs.
"""

import ast
import importlib
import importlib.util
import os
import sys
import types
from unittest.mock import MagicMock

import numpy as np
import torch
import tqdm.auto

A1111 = os.environ.get("A1111", "a1111")
COMFYUI = os.environ.get("COMFYUI", "comfyui")


class Stub(types.ModuleType):
    """A module any of whose names is there."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock()


class Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """The last finder: modules of the two programs that are not needed."""

    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ("comfy", "comfy_api", "modules", "backend", "torchvision", "node_helpers", "latent_preview"):
            return importlib.util.spec_from_loader(name, self, is_package=True)

    def create_module(self, spec):
        return Stub(spec.name)

    def exec_module(self, module):
        pass


def package(name, path):
    module = types.ModuleType(name)
    module.__path__ = [path]
    sys.modules[name] = module
    return module


def load():
    """Returns k_diffusion.sampling, k_diffusion.external, A1111's sd_schedulers and sd_samplers_extra, ComfyUI's samplers."""
    sys.meta_path.append(Stubs())
    k = package("k_diffusion", os.path.dirname(importlib.util.find_spec("k_diffusion").origin))
    for name in ("sampling", "external", "utils"):
        setattr(k, name, importlib.import_module("k_diffusion." + name))
    package("modules", os.path.join(A1111, "modules"))
    shared = types.ModuleType("modules.shared")
    shared.opts = types.SimpleNamespace(beta_dist_alpha=0.6, beta_dist_beta=0.6)
    shared.sd_model = types.SimpleNamespace(is_sdxl=True)
    sys.modules["modules"].shared = sys.modules["modules.shared"] = shared
    schedulers = importlib.import_module("modules.sd_schedulers")
    extra = importlib.import_module("modules.sd_samplers_extra")

    package("comfy", os.path.join(COMFYUI, "comfy"))
    package("comfy_extras", os.path.join(COMFYUI, "comfy_extras"))
    utils = types.ModuleType("comfy.utils")
    utils.model_trange = tqdm.auto.trange
    sys.modules["comfy"].utils = sys.modules["comfy.utils"] = utils
    io = Stub("io")
    io.ComfyNode, io.NodeOutput = object, lambda *values: values
    latest = types.ModuleType("comfy_api.latest")
    latest.io, latest.ComfyExtension = io, object
    sys.modules["comfy_api.latest"] = latest
    comfy = importlib.import_module("comfy.samplers")
    return k.sampling, k.external, schedulers, extra, comfy


def a1111_samplers():
    """A1111's table of samplers: label, function, aliases, options."""
    tree = ast.parse(open(os.path.join(A1111, "modules", "sd_samplers_kdiffusion.py")).read())
    for node in tree.body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "samplers_k_diffusion":
            return [(ast.literal_eval(e.elts[0]), ast.unparse(e.elts[1]).strip("'").split(".")[-1], ast.literal_eval(e.elts[3]))
                    for e in node.value.elts]


def alphas_cumprod():
    """LegacyDDPMDiscretization's, as A1111 keeps them."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
    return torch.asarray(np.cumprod(1.0 - betas, axis=0), dtype=torch.float32)


def zero_snr(alphas):
    """A1111's rescale_zero_terminal_snr_abar (modules/sd_models.py)."""
    root = alphas.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    root = (root - last) * (first / (first - last))
    alphas = root**2
    alphas[-1] = 4.8973451890853435e-08
    return alphas


class HijackedTorch:
    """torch with another randn_like, as A1111's TorchHijack."""

    def __init__(self, randn_like):
        self.randn_like = randn_like

    def __getattr__(self, name):
        return getattr(torch, name)
