"""Writes scheduler/testdata/schedules.json.gz: diffusers' schedulers run on a synthetic model.

Run from the repository root: python tools/reference/scheduler.py

A case names a stored config, a scheduler (goxl's name, reached through from_config), overriding keys and the options of
the run. It records the timesteps and sigmas, init_noise_sigma, the noise levels that inpainting asks for, and four of the
sixteen final latents. Latents are shaped (1, 4, 2, 2) with x_k = (k/10 - 0.75) * init_noise_sigma and the model's output
is 0.3 * input + 0.001 * t - 0.2 in float32. The run goes through the pipelines' own retrieve_timesteps and get_timesteps.
"""

import gzip
import inspect
import json
import os
import types
import warnings
import zlib

import diffusers
import numpy as np
import scipy
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import retrieve_timesteps
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_img2img import (
    StableDiffusionXLImg2ImgPipeline,
)

warnings.simplefilter("ignore")
diffusers.logging.set_verbosity(diffusers.logging.FATAL)

SEED = 0
STEPS = [1, 2, 3, 4, 5, 10, 20, 25, 30, 50]
SPACINGS = ["leading", "trailing", "linspace"]
PREDICTIONS = ["epsilon", "v_prediction", "sample"]
AYS_TIMESTEPS = [999, 845, 730, 587, 443, 310, 193, 116, 53, 13]
AYS_SIGMAS = [14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.0]

BETAS = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
BASES = {
    "sdxl": {"_class_name": "EulerDiscreteScheduler", "_diffusers_version": "0.19.0.dev0", **BETAS,
             "clip_sample": False, "interpolation_type": "linear", "prediction_type": "epsilon",
             "sample_max_value": 1.0, "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1,
             "timestep_spacing": "leading", "trained_betas": None, "use_karras_sigmas": False},
    "minimal": {"_class_name": "EulerDiscreteScheduler", **BETAS, "steps_offset": 1, "timestep_spacing": "leading"},
    "empty": {"_class_name": "EulerDiscreteScheduler"},
    "pndm": {"_class_name": "PNDMScheduler", **BETAS, "skip_prk_steps": True, "set_alpha_to_one": False,
             "steps_offset": 1, "clip_sample": False},
    "dpm": {"_class_name": "DPMSolverMultistepScheduler", **BETAS, "solver_type": "heun", "solver_order": 3,
            "use_karras_sigmas": True, "variance_type": None, "timestep_spacing": "trailing"},
    "unipc": {"_class_name": "UniPCMultistepScheduler", **BETAS, "solver_type": "bh1", "solver_order": 2,
              "final_sigmas_type": "sigma_min", "disable_corrector": [0], "steps_offset": 1},
    "bounds": {"_class_name": "EulerDiscreteScheduler", **BETAS, "sigma_min": 0.05, "sigma_max": 12.5,
               "timestep_spacing": "leading", "steps_offset": 1},
    "lcm": {"_class_name": "LCMScheduler", **BETAS, "original_inference_steps": 40, "clip_sample": True,
            "clip_sample_range": 1.5, "steps_offset": 1, "prediction_type": "v_prediction"},
}

CLASSES = {"euler": "EulerDiscreteScheduler", "euler_a": "EulerAncestralDiscreteScheduler",
           "heun": "HeunDiscreteScheduler", "lms": "LMSDiscreteScheduler", "ddim": "DDIMScheduler",
           "dpmpp_2m": "DPMSolverMultistepScheduler", "dpmpp_2m_sde": "DPMSolverMultistepScheduler",
           "unipc": "UniPCMultistepScheduler", "lcm": "LCMScheduler", "tcd": "TCDScheduler"}
SUFFIXES = {"karras": "use_karras_sigmas", "exponential": "use_exponential_sigmas", "beta": "use_beta_sigmas"}
CONVERTING = ["euler", "heun", "lms", "dpmpp_2m", "dpmpp_2m_sde", "unipc"]
NAMES = list(CLASSES) + [f"{n}_{s}" for n in CONVERTING for s in SUFFIXES]


def make(base, name, keys):
    stored = BASES[base]
    config = getattr(diffusers, stored["_class_name"]).from_config(stored).config
    kwargs, plain = {}, name
    for suffix in SUFFIXES:
        if name.endswith("_" + suffix):
            plain = name.removesuffix("_" + suffix)
            kwargs = {key: s == suffix for s, key in SUFFIXES.items()}
    if plain.startswith("dpmpp"):
        kwargs["algorithm_type"] = "sde-dpmsolver++" if plain.endswith("sde") else "dpmsolver++"
    # A stored key that a scheduler does not know is overridden in the config itself.
    config = {**config, **kwargs, **keys}
    config["_use_default_values"] = [k for k in config.get("_use_default_values", []) if k not in {**kwargs, **keys}]
    return getattr(diffusers, CLASSES[plain]).from_config(config)


def shortest(value):
    """The shortest decimal that is the same float32."""
    return float(np.format_float_positional(np.float32(value), unique=True))


def timesteps_for(scheduler, o):
    if "timesteps" in o:
        return retrieve_timesteps(scheduler, None, "cpu", timesteps=o["timesteps"])
    if "sigmas" in o:
        return retrieve_timesteps(scheduler, None, "cpu", sigmas=o["sigmas"])
    return retrieve_timesteps(scheduler, o["steps"], "cpu")


def run(case, grid=False, levels=False):
    """Fills in the case; what diffusers refuses or crashes on is recorded as raises."""
    try:
        try:
            out = attempt(dict(case), grid, levels)
        except (IndexError, AssertionError):
            # Where rounding makes the first two timesteps equal, a scheduler without a begin index starts at the second
            # and runs off its end. With the begin index that image to image sets it runs.
            out = attempt(dict(case), grid, levels, begin=True)
        if case["as"].split("_")[0] in ("heun", "lms") and "final" in out:
            # These two compute in the latents' type, so the error of float32 itself can be measured.
            wide = attempt(dict(case), False, False, wide=True)["final"]
            scale = max(abs(v) for v in wide)
            if max(abs(a - b) for a, b in zip(out["final"], wide)) > 5e-6 * scale:
                out["wide"] = wide
        return out
    except (ValueError, IndexError, AssertionError, RuntimeError) as error:
        return {**case, "raises": f"{type(error).__name__}: {error}"[:80]}


def attempt(case, grid, levels, begin=False, wide=False):
    o = case["options"]
    scheduler = make(case["base"], case["as"], case["with"])
    timesteps, steps = timesteps_for(scheduler, o)
    if begin:
        scheduler.set_begin_index(0)
    if wide:
        scheduler.sigmas = scheduler.sigmas.double()
    first = 0
    if "strength" in o or "denoising_start" in o:
        pipeline = types.SimpleNamespace(scheduler=scheduler)
        kept, _ = StableDiffusionXLImg2ImgPipeline.get_timesteps(
            pipeline, steps, o.get("strength", 0.3), "cpu", denoising_start=o.get("denoising_start"))
        first = len(timesteps) - len(kept)
        timesteps = kept
    if "denoising_end" in o:
        n = scheduler.config.num_train_timesteps
        cutoff = int(round(n - o["denoising_end"] * n))
        timesteps = timesteps[: len(list(filter(lambda ts: ts >= cutoff, timesteps)))]
    if len(timesteps) == 0:
        case["empty"] = True
        return case

    generator = torch.Generator("cpu").manual_seed(SEED)
    pattern = torch.tensor([k / 10 - 0.75 for k in range(16)], dtype=torch.float32).reshape(1, 4, 2, 2)
    if "strength" in o:
        noise = torch.randn(pattern.shape, generator=generator)
        x = scheduler.add_noise(pattern, noise, timesteps[:1])
    elif "denoising_start" in o:
        x = pattern
    else:
        x = pattern * scheduler.init_noise_sigma
    if wide:
        x = x.double()
    accepted = set(inspect.signature(scheduler.step).parameters)
    extra = {}
    if "eta" in accepted:
        extra["eta"] = o.get("eta", 0.0)
    if "generator" in accepted:
        extra["generator"] = generator
    seen, one, zero = [], torch.ones(1, 1), torch.zeros(1, 1)
    for i, t in enumerate(timesteps):
        model = 0.3 * scheduler.scale_model_input(x, t) + 0.001 * t - 0.2
        x = scheduler.step(model, t, x, **extra, return_dict=False)[0]
        if levels and i + 1 < len(timesteps):
            seen.append([shortest(scheduler.add_noise(a, b, timesteps[i + 1 : i + 2]).item()) for a, b in ((one, zero), (zero, one))])
    if not torch.isfinite(x).all():
        case["not_finite"] = True
        return case
    case["first"] = first
    case["count"] = len(timesteps)
    case["final"] = [shortest(v) for v in x.flatten()[::5]]
    # Where the generator stands says how much noise was drawn.
    case["next"] = shortest(torch.rand((), generator=generator))
    if levels:
        case["levels"] = seen
    if grid:
        case["timesteps"] = [shortest(t) for t in scheduler.timesteps]
        case["init"] = shortest(scheduler.init_noise_sigma)
        if hasattr(scheduler, "sigmas"):
            case["sigmas"] = [shortest(s) for s in scheduler.sigmas]
    return case


def case(name, options, base="sdxl", **keys):
    return {"base": base, "as": name, "with": keys, "options": options}


def kinds(name):
    return PREDICTIONS[:2] if name == "euler_a" else PREDICTIONS


def build():
    out = []
    add = lambda c, **how: out.append(run(c, **how))

    for name in NAMES:
        for spacing in SPACINGS[:1] if name in ("lcm", "tcd") else SPACINGS:
            for n in STEPS:
                for prediction in kinds(name):
                    grid = prediction == "epsilon" and not name.startswith("dpmpp_2m_sde")
                    add(case(name, {"steps": n}, timestep_spacing=spacing, prediction_type=prediction), grid=grid,
                        levels=grid and n == 5)
    # The float arange of trailing has an entry too many for these.
    for name in NAMES:
        if name not in ("lcm", "tcd"):
            for n in (61, 103, 206):
                add(case(name, {"steps": n}, timestep_spacing="trailing"), grid=n == 61)

    for name in ("euler", "euler_karras", "euler_a", "dpmpp_2m", "dpmpp_2m_karras", "dpmpp_2m_sde", "unipc", "ddim", "lcm", "tcd"):
        for spacing in SPACINGS:
            for n in (4, 10, 30):
                add(case(name, {"steps": n}, rescale_betas_zero_snr=True, prediction_type="v_prediction",
                         timestep_spacing=spacing), grid=spacing == "trailing")
    for name in ("ddim", "lcm"):
        add(case(name, {"steps": 4}, rescale_betas_zero_snr=True, timestep_spacing="trailing"))

    for algorithm in ("dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2m_karras", "dpmpp_2m_sde_karras"):
        for order in (1, 2, 3):
            for kind in ("midpoint", "heun"):
                for n in (2, 3, 5, 10, 14, 15, 20, 30):
                    add(case(algorithm, {"steps": n}, solver_order=order, solver_type=kind))
            for keys in ({"lower_order_final": False}, {"euler_at_final": True}, {"final_sigmas_type": "sigma_min"},
                         {"final_sigmas_type": "sigma_min", "euler_at_final": True},
                         {"final_sigmas_type": "sigma_min", "lower_order_final": False},
                         {"prediction_type": "v_prediction"}):
                for n in (10, 20):
                    add(case(algorithm, {"steps": n}, solver_order=order, **keys))
    for name in ("unipc", "unipc_karras", "unipc_beta"):
        for order in (1, 2, 3):
            for n in (1, 2, 3, 5, 10, 20, 30):
                add(case(name, {"steps": n}, solver_order=order))
            for keys in ({"final_sigmas_type": "sigma_min"}, {"final_sigmas_type": "sigma_min", "solver_type": "bh1"},
                         {"final_sigmas_type": "sigma_min", "lower_order_final": False}, {"lower_order_final": False},
                         {"solver_type": "bh1"}, {"solver_type": "midpoint"}, {"disable_corrector": [0]},
                         {"disable_corrector": [1, 2, 5]}, {"prediction_type": "v_prediction"}):
                for n in (5, 10, 20):
                    add(case(name, {"steps": n}, solver_order=order, **keys))
    for n in (5, 10, 30):
        for name in ("euler", "euler_karras", "euler_exponential"):
            add(case(name, {"steps": n}, final_sigmas_type="sigma_min"), grid=True)
            add(case(name, {"steps": n}, timestep_type="continuous", prediction_type="v_prediction"), grid=True)
            add(case(name, {"steps": n}, timestep_type="continuous"))

    for name in ("euler", "heun", "dpmpp_2m", "dpmpp_2m_sde", "lcm", "tcd"):
        for o in ({}, {"strength": 0.5}, {"strength": 0.8}, {"denoising_end": 0.7}, {"denoising_start": 0.7}):
            add(case(name, {"timesteps": AYS_TIMESTEPS, **o}), grid=True)
        add(case(name, {"timesteps": [999, 500, 100]}), grid=True)
        add(case(name, {"timesteps": [999, 500, 100]}, timestep_spacing="trailing"), grid=True)
    for name in ("euler", "euler_karras"):
        add(case(name, {"sigmas": AYS_SIGMAS}), grid=True, levels=True)
        add(case(name, {"sigmas": AYS_SIGMAS, "strength": 0.6}, prediction_type="v_prediction"), grid=True)
        add(case(name, {"sigmas": [20.0, 5.0, 0.5, 0.01]}, timestep_spacing="trailing"), grid=True)

    for n in (4, 10, 20):
        for spacing in SPACINGS:
            for keys in ({"clip_sample": True}, {"clip_sample": True, "clip_sample_range": 2.5},
                         {"set_alpha_to_one": True}, {"clip_sample": True, "prediction_type": "v_prediction"},
                         {"clip_sample": True, "prediction_type": "sample"}):
                for name in ("ddim", "heun", "heun_karras", "lcm", "tcd"):
                    if name.startswith("heun") and "set_alpha_to_one" in keys:
                        continue
                    add(case(name, {"steps": n}, timestep_spacing=spacing, **keys))
            for eta in (0.3, 0.5, 1.0):
                for prediction in PREDICTIONS:
                    add(case("ddim", {"steps": n, "eta": eta}, timestep_spacing=spacing, prediction_type=prediction))
    for eta in (0.0, 0.2, 0.3, 0.5, 0.7, 1.0):
        for n in (1, 2, 4, 8, 30, 50):
            for prediction in PREDICTIONS:
                add(case("tcd", {"steps": n, "eta": eta}, prediction_type=prediction))
        add(case("tcd", {"timesteps": [900, 700, 500, 300, 100], "eta": eta}))
    for name in ("lcm", "tcd"):
        for n in (1, 4, 7, 8, 20):
            add(case(name, {"steps": n, "eta": 0.3}, original_inference_steps=20, timestep_scaling=5.0), grid=True)

    plain = list(CLASSES) + ["euler_karras", "heun_karras", "lms_beta", "dpmpp_2m_karras", "dpmpp_2m_sde_karras", "unipc_karras"]
    for name in plain:
        for n in (5, 10, 20, 30):
            for strength in (0.05, 0.29, 0.3, 0.5, 0.7, 0.75, 0.8, 0.9999, 1.0):
                add(case(name, {"steps": n, "strength": strength}), levels=n == 10)
        for n in (10, 25, 40):
            for d in (0.2, 0.5, 0.75, 0.8, 0.9):
                add(case(name, {"steps": n, "denoising_end": d}))
                add(case(name, {"steps": n, "denoising_start": d}), levels=n == 10)
            add(case(name, {"steps": n, "denoising_start": 0.3, "denoising_end": 0.8}))
            add(case(name, {"steps": n, "strength": 0.6, "denoising_end": 0.8}))
    for name in ("dpmpp_2m", "dpmpp_2m_sde", "unipc"):
        for n in (10, 20):
            for strength in (0.3, 0.7):
                add(case(name, {"steps": n, "strength": strength}, solver_order=3))
    # 0.29 * 100 is 28.999999999999996.
    add(case("euler", {"steps": 100, "strength": 0.29}))

    for base in BASES:
        for name in NAMES:
            for n in (4, 10, 20):
                add(case(name, {"steps": n}, base=base), grid=n == 4)
    for schedule in ("linear", "squaredcos_cap_v2"):
        for name in NAMES:
            add(case(name, {"steps": 10}, beta_schedule=schedule), grid=True)
    trained = [0.0001 + 0.0003 * i for i in range(50)]
    for name in NAMES:
        add(case(name, {"steps": 7, "eta": 0.2}, num_train_timesteps=50, trained_betas=trained, original_inference_steps=25),
            grid=True)
        add(case(name, {"steps": 7}, num_train_timesteps=333, original_inference_steps=33), grid=True)
    return out


def resolved():
    """What from_config makes of each stored config for each name."""
    skip = ("sample_max_value", "dynamic_thresholding_ratio", "lambda_min_clipped")
    out = []
    for base in BASES:
        for name in NAMES:
            scheduler = make(base, name, {})
            own = inspect.signature(type(scheduler).__init__).parameters
            keys = {k: v for k, v in scheduler.config.items() if k in own and k not in skip}
            out.append({"base": base, "as": name, "class": type(scheduler).__name__, "keys": keys})
    return out


def checksums():
    """CRC-32 of the float32 timesteps of every number of steps, by hundreds."""
    out = []
    for name in ("euler", "ddim", "dpmpp_2m", "unipc"):
        for spacing in SPACINGS:
            scheduler = make("sdxl", name, {"timestep_spacing": spacing})
            for low in range(1, 1000, 100):
                crc = 0
                for n in range(low, min(low + 100, 999)):
                    scheduler.set_timesteps(n)
                    crc = zlib.crc32(scheduler.timesteps.to(torch.float32).numpy().tobytes(), crc)
                out.append({"as": name, "spacing": spacing, "from": low, "to": min(low + 100, 999), "crc": crc})
    return out


def tables():
    """Spot values of the training schedule, for the noise-free and the rescaled one."""
    out = []
    for rescale in (False, True):
        scheduler = make("sdxl", "euler", {"rescale_betas_zero_snr": rescale})
        at = [0, 1, 2, 250, 500, 750, 901, 980, 981, 990, 998, 999]
        alphas = scheduler.alphas_cumprod
        out.append({"rescale": rescale, "at": at, "alphas_cumprod": [shortest(alphas[i]) for i in at],
                    "crc": zlib.crc32(alphas.numpy().tobytes()),
                    "sigmas": [shortest(((1 - alphas[i]) / alphas[i]) ** 0.5) for i in at]})
    return out


def main():
    out = {
        "made_by": "tools/reference/scheduler.py",
        "versions": {"diffusers": diffusers.__version__, "torch": torch.__version__, "numpy": np.__version__,
                     "scipy": scipy.__version__},
        "seed": SEED,
        "bases": BASES,
        "tables": tables(),
        "checksums": checksums(),
        "resolved": resolved(),
        "cases": build(),
    }
    path = os.path.join("scheduler", "testdata", "schedules.json.gz")
    with gzip.GzipFile(path, "wb", mtime=0) as f:
        f.write(json.dumps(out, separators=(",", ":"), allow_nan=False).encode())
    print(len(out["cases"]), "cases,", os.path.getsize(path), "bytes")


if __name__ == "__main__":
    main()
