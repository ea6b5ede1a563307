"""Writes scheduler/testdata/kdiffusion.json.gz: k-diffusion's samplers as A1111 and ComfyUI run them, on a synthetic model.

Run from the repository root: A1111=DIR COMFYUI=DIR python tools/reference/kdiffusion.py

The files are named in upstream_samplers.py. A case names goxl's scheduler and the options; it records the timestep and
the sigma of every evaluation of the model, the factor of the first noise and four of the sixteen final latents. Latents,
model and case format are those of scheduler.py. Noise between steps is drawn from the generator of seed 0, which has drawn
the first noise: A1111's with its random number generator on the CPU. SDE samplers get their Brownian tree's of seed 0;
"levels" are those that it is asked for, its range first, whose last bits are the host's: torch's square root, logarithm
and exponential.
"""

import functools
import gzip
import json
import math
import os
import types
from importlib.metadata import version

import numpy as np
import torch

import kdiffusion_model as synthetic
import upstream_samplers
from kdiffusion_model import (PATTERN, SEED, ComfyModel, Noise, Path, Synthetic, TimestepsModel, finish, recorded,
                              set_post_cfg_function)

sampling, external, schedulers, extra, comfy = upstream_samplers.load()
import comfy.k_diffusion.sampling as comfy_sampling  # noqa: E402
import comfy.model_sampling as model_sampling  # noqa: E402
from comfy_extras import nodes_align_your_steps, nodes_custom_sampler  # noqa: E402
from modules import sd_samplers_timesteps_impl as timesteps_impl  # noqa: E402
from modules.models.diffusion.uni_pc import uni_pc  # noqa: E402

BROWNIAN = comfy_sampling.BrownianTreeNoiseSampler
STEPS = [1, 2, 3, 5, 10, 20, 30, 36, 40]
SAMPLERS = {label: (function, options) for label, function, options in upstream_samplers.a1111_samplers()}
K_NAMES = {
    "k_euler": "Euler", "k_euler_a": "Euler a", "k_lms": "LMS", "k_heun": "Heun", "k_dpm_2": "DPM2", "k_dpm_2_a": "DPM2 a",
    "k_dpm_fast": "DPM fast", "k_dpmpp_2s_a": "DPM++ 2S a", "k_dpmpp_sde": "DPM++ SDE", "k_dpmpp_2m": "DPM++ 2M",
    "k_dpmpp_2m_sde": "DPM++ 2M SDE", "k_dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun", "k_dpmpp_3m_sde": "DPM++ 3M SDE",
    "k_restart": "Restart",
}
K_SCHEDULES = {"uniform": "uniform", "karras": "karras", "exponential": "exponential", "polyexponential": "polyexponential",
               "sgm_uniform": "sgm_uniform", "kl_optimal": "kl_optimal", "align_your_steps": "align_your_steps",
               "align_your_steps_32": "align_your_steps_32", "simple": "simple", "normal": "normal", "ddim_uniform": "ddim",
               "beta": "beta"}
COMFY_NAMES = ["euler", "euler_ancestral", "lms", "heun", "dpm_2", "dpm_2_ancestral", "dpm_fast", "dpmpp_2s_ancestral",
               "dpmpp_sde", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde", "lcm"]
CFGPP_NAMES = ["euler_cfg_pp", "euler_ancestral_cfg_pp", "dpmpp_2s_ancestral_cfg_pp", "dpmpp_2m_cfg_pp", "res_multistep",
               "res_multistep_cfg_pp", "res_multistep_ancestral", "res_multistep_ancestral_cfg_pp", "gradient_estimation",
               "gradient_estimation_cfg_pp"]
COMFY_SCHEDULES = ["simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "linear_quadratic",
                   "kl_optimal", "align_your_steps", "turbo"]


def begin(case, sigmas, n, noise, factor):
    """The latents that a run starts from, and the sigmas that are left to it. Sigmas are float32 in a wide run, too."""
    strength = case["options"].get("strength")
    if synthetic.WIDE:
        torch.set_default_dtype(synthetic.WIDE)
        sigmas, factor = sigmas.to(synthetic.WIDE), factor.to(synthetic.WIDE)
    pattern = PATTERN.to(synthetic.WIDE or PATTERN.dtype)
    if strength is None:
        return pattern * factor, sigmas
    sigmas = sigmas[n - int(n * strength):]
    return pattern + noise.randn(pattern) * sigmas[0], sigmas


def a1111(name, schedule, n, keys=None, **options):
    """KDiffusionSampler.get_sigmas and sample (sample_img2img, with diffusers' number of steps) of modules/sd_samplers_kdiffusion.py."""
    keys = keys or {}
    case = {"base": "sdxl", "as": name + (f"_{schedule}" if schedule else ""), "with": keys, "options": {"steps": n, **options}}
    function, config = SAMPLERS[K_NAMES[name]]
    alphas = upstream_samplers.alphas_cumprod()
    model = Synthetic(upstream_samplers.zero_snr(alphas) if keys.get("rescale_betas_zero_snr") else alphas)
    denoiser = external.CompVisVDenoiser if keys.get("prediction_type") == "v_prediction" else external.CompVisDenoiser
    wrap = denoiser(model, quantize=keys.get("enable_quantization", False))
    steps = n + config.get("discard_next_to_last_sigma", False)
    scheduler = schedulers.schedulers_map.get(K_SCHEDULES.get(schedule) or config.get("scheduler"))
    if scheduler is None:
        sigmas = wrap.get_sigmas(steps)
    else:
        arguments = {"sigma_min": wrap.sigmas[0].item(), "sigma_max": wrap.sigmas[-1].item()}
        if scheduler.need_inner_model:
            arguments["inner_model"] = wrap
        sigmas = scheduler.function(n=steps, **arguments, device="cpu")
    if config.get("discard_next_to_last_sigma"):
        sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
    noise = Noise()
    init = torch.sqrt(1 + sigmas[0] ** 2) if keys.get("sgm_noise_multiplier") else sigmas[0]
    x, rest = begin(case, sigmas, n, noise, init)
    sampling.torch = upstream_samplers.HijackedTorch(noise.randn)
    arguments = {}
    if function == "sample_dpm_fast":
        if "strength" in options:
            arguments.update(n=len(rest) - 1, sigma_min=rest[-2].item(), sigma_max=rest[0].item())
        else:
            arguments.update(n=n, sigma_min=wrap.sigmas[0].item(), sigma_max=wrap.sigmas[-1].item())
    else:
        arguments["sigmas"] = rest
    if config.get("brownian_noise"):
        arguments["noise_sampler"] = Path(sampling.BrownianTreeNoiseSampler, x, sigmas[sigmas > 0].min(), sigmas.max(), synthetic.SEEDS)
    if function in ("sample_euler_ancestral", "sample_dpm_2_ancestral", "sample_dpmpp_2s_ancestral", "sample_dpm_fast",
                    "sample_dpmpp_sde", "sample_dpmpp_2m_sde", "sample_dpmpp_3m_sde"):
        arguments["eta"] = keys.get("eta_ancestral", 1.0)
        arguments["s_noise"] = keys.get("s_noise", 1.0)
    if "solver_type" in config:
        arguments["solver_type"] = config["solver_type"]
    run = extra.restart_sampler if function == "restart_sampler" else getattr(sampling, function)
    x = run(recorded(model, lambda x, sigma: wrap(x, sigma, cond=None)), x, disable=True, **arguments)
    return finish(case, model, x, noise, init)


def a1111_lcm(n):
    """A1111's LCMSampler (modules/sd_samplers_lcm.py): LCMCompVisDenoiser and sample_lcm."""
    case = {"base": "sdxl", "as": "k_lcm", "with": {}, "options": {"steps": n}}
    alphas, skip = upstream_samplers.alphas_cumprod(), 20
    model = Synthetic(alphas)
    valid = external.DiscreteEpsDDPMDenoiser(model, alphas[skip - 1::skip].clone(), quantize=None)
    nearest = lambda sigma: (sigma.log() - valid.log_sigmas[:, None]).abs().argmin(dim=0).view(sigma.shape) * skip + skip - 1
    to_sigma = lambda t: valid.t_to_sigma(torch.clamp((t - (skip - 1)) / skip, min=0, max=len(valid.sigmas) - 1))
    sigmas = sampling.append_zero(to_sigma(torch.linspace(nearest(valid.sigma_max), nearest(valid.sigma_min), n)))
    noise = Noise()

    def denoise(x, sigma):
        t = nearest(sigma)
        scaled = t.float() * 10.0
        c_skip, c_out = 0.25 / (scaled**2 + 0.25), scaled / (scaled**2 + 0.25) ** 0.5
        denoised = x - sigma * model.apply_model(x / (sigma**2 + 1) ** 0.5, t)
        return c_out * denoised + c_skip * x

    call, x = recorded(model, denoise), PATTERN * sigmas[0]
    for i in range(n):
        x = call(x, sigmas[i] * torch.ones(1))
        if sigmas[i + 1] > 0:
            x = x + sigmas[i + 1] * noise.randn(x)
    return finish(case, model, x, noise, sigmas[0])


def a1111_timesteps(n):
    """CompVisSampler.get_timesteps of modules/sd_samplers_timesteps.py."""
    return torch.clip(torch.asarray(list(range(0, 1000, 1000 // n))) + 1, 0, 999)


def a1111_ddim(n, eta=0.0):
    """ddim of modules/sd_samplers_timesteps_impl.py."""
    case = {"base": "sdxl", "as": "k_ddim", "with": {}, "options": {"steps": n, **({"eta": eta} if eta else {})}}
    model, noise, timesteps = Synthetic(upstream_samplers.alphas_cumprod()), Noise(), a1111_timesteps(n)
    alphas = model.alphas_cumprod[timesteps]
    alphas_prev = model.alphas_cumprod[torch.nn.functional.pad(timesteps[:-1], pad=(1, 0))].to(torch.float64)
    sigmas = eta * np.sqrt((1 - alphas_prev.numpy()) / (1 - alphas) * (1 - alphas / alphas_prev.numpy()))
    x = PATTERN.clone()
    for index in range(len(timesteps) - 1, 0, -1):
        e_t = model.apply_model(x, timesteps[index])
        a_t, a_prev, sigma_t = (torch.tensor([v[index].item()]) for v in (alphas, alphas_prev, sigmas))
        pred_x0 = (x - torch.sqrt(1 - alphas[index]) * e_t) / a_t.sqrt()
        x = a_prev.sqrt() * pred_x0 + (1.0 - a_prev - sigma_t**2).sqrt() * e_t + sigma_t * noise.randn(x)
    return finish(case, model, x, noise, 1)


def a1111_own(name, function, n, **options):
    """ddim_cfgpp and plms of modules/sd_samplers_timesteps_impl.py; their guidance is the model's here."""
    case = {"base": "sdxl", "as": name, "with": {}, "options": {"steps": n, **options}}
    model, noise = Synthetic(upstream_samplers.alphas_cumprod()), Noise()
    x = PATTERN.clone()
    sampling.torch = upstream_samplers.HijackedTorch(noise.randn)
    x = function(TimestepsModel(model), x, a1111_timesteps(n), disable=True, **options)
    return finish(case, model, x, noise, 1)


def a1111_ddim_cfgpp(n, **options):
    return a1111_own("k_ddim_cfgpp", timesteps_impl.ddim_cfgpp, n, **options)


def a1111_plms(n):
    return a1111_own("k_plms", timesteps_impl.plms, n)


def a1111_unipc(n):
    """unipc of modules/sd_samplers_timesteps_impl.py, with the defaults of A1111's options."""
    case = {"base": "sdxl", "as": "k_unipc", "with": {}, "options": {"steps": n}}
    model, noise = Synthetic(upstream_samplers.alphas_cumprod()), Noise()
    schedule = uni_pc.NoiseScheduleVP("discrete", alphas_cumprod=model.alphas_cumprod)
    solver = uni_pc.UniPC(lambda x, t: model.apply_model(x, (t - 1.0 / schedule.total_N) * 1000.0), schedule, predict_x0=True,
                          thresholding=False, variant="bh1")
    solver.model = lambda x, t: model.apply_model(x, (t - 1.0 / schedule.total_N) * 1000.0)
    solver.after_update = None
    x = solver.sample(PATTERN.clone(), steps=len(a1111_timesteps(n)), t_start=None, skip_type="time_uniform",
                      method="multistep", order=3, lower_order_final=True)
    return finish(case, model, x, noise, 1)


def comfyui(sampler, schedule, n, keys=None, **options):
    """KSampler.calculate_sigmas and KSAMPLER.sample of comfy/samplers.py."""
    keys = keys or {}
    case = {"base": "sdxl", "as": f"comfy_{sampler}_{schedule}", "with": keys, "options": {"steps": n, **options}}
    model = Synthetic(None)
    kind = model_sampling.V_PREDICTION if keys.get("prediction_type") == "v_prediction" else model_sampling.EPS
    ms = type("ModelSampling", (model_sampling.ModelSamplingDiscrete, kind), {})()
    discard = sampler in comfy.KSampler.DISCARD_PENULTIMATE_SIGMA_SAMPLERS
    holder = type("Holder", (), {"get_model_object": lambda self, name: ms})()
    steps = n + discard
    if schedule == "align_your_steps":
        (sigmas,) = nodes_align_your_steps.AlignYourStepsScheduler.execute("SDXL", steps, 1.0)
    elif schedule == "turbo":
        (sigmas,) = nodes_custom_sampler.SDTurboScheduler.execute(holder, steps, 1.0)
    else:
        sigmas = comfy.calculate_sigmas(ms, schedule, steps)
    if discard:
        sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
    highest = math.isclose(float(ms.sigma_max), float(sigmas[0]), rel_tol=1e-05) or float(sigmas[0]) > float(ms.sigma_max)
    init = torch.sqrt(1.0 + sigmas[0] ** 2.0) if highest else sigmas[0]
    noise = Noise()
    x, rest = begin(case, sigmas, n, noise, init)
    arguments = {}
    function = comfy.ksampler(sampler).sampler_function
    comfy_sampling.comfy.model_patcher = types.SimpleNamespace(set_model_options_post_cfg_function=set_post_cfg_function)
    comfy_sampling.BrownianTreeNoiseSampler = functools.partial(Path, BROWNIAN)
    comfy_sampling.default_noise_sampler = lambda x, seed=None: lambda sigma, sigma_next: noise.randn(x)
    x = function(ComfyModel(model, ms), x, rest, extra_args={"seed": synthetic.SEED}, callback=None, disable=True, **arguments)
    return finish(case, model, x, noise, init)


def attempt(run, *arguments, **options):
    """The case in a list, empty where k-diffusion itself fails: an SDE sampler with one step looks at a step before it.

    Where float32 alone is off by half the tolerance the case has the results of float64, too; the sigmas of evaluations
    within a step, for which float32 subtracts squares, are float64's.
    """
    try:
        Path.levels = []
        case = run(*arguments, **options)
        if run in (a1111, comfyui):
            try:
                synthetic.WIDE = torch.float64
                wide = run(*arguments, **options)
            finally:
                synthetic.WIDE = None
                torch.set_default_dtype(torch.float32)
            case["evaluations"] = wide["evaluations"]
            if Path.levels[1:]:
                case["levels"] = Path.levels
            scale = max(abs(v) for v in wide["final"])
            if not max(abs(a - b) for a, b in zip(case["final"], wide["final"])) <= 5e-6 * scale:
                case["wide"] = wide["final"]
        return [case]
    except UnboundLocalError:
        return []


def build():
    cases = []
    for name in K_NAMES:
        for n in STEPS:
            cases += attempt(a1111, name, "", n)
        for schedule in K_SCHEDULES:
            for n in (2, 4, 11, 20, 32):
                cases += attempt(a1111, name, schedule, n)
        for n in (10, 25, 40):
            for strength in (0.3, 0.55, 1.0):
                cases += attempt(a1111, name, "", n, strength=strength)
        for n in (5, 20):
            cases += attempt(a1111, name, "karras", n, {"prediction_type": "v_prediction"})
            if name != "k_dpm_fast":  # whose steps from sigma 4519 diverge, and float32 with them
                cases += attempt(a1111, name, "simple", n, {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True})
            cases += attempt(a1111, name, "", n, {"enable_quantization": True})
            cases += attempt(a1111, name, "", n, {"sgm_noise_multiplier": True})
            if name not in ("k_euler", "k_lms", "k_heun", "k_dpm_2", "k_dpmpp_2m", "k_restart"):
                for eta in (0.0, 0.5):
                    cases += attempt(a1111, name, "", n, {"eta_ancestral": eta})
                cases += attempt(a1111, name, "", n, {"s_noise": 1.05})
    for sampler in COMFY_NAMES:
        for schedule in COMFY_SCHEDULES:
            for n in (2, 4, 10, 20, 33):
                if schedule != "turbo" or n + sampler.startswith("dpm_2") <= 10:
                    cases += attempt(comfyui, sampler, schedule, n)
        for n in (10, 25):
            for strength in (0.3, 0.55):
                cases += attempt(comfyui, sampler, "karras", n, strength=strength)
            cases += attempt(comfyui, sampler, "normal", n, {"prediction_type": "v_prediction"})
    for sampler in CFGPP_NAMES:
        for schedule in ("simple", "karras", "beta", "linear_quadratic"):
            for n in (1, 2, 3, 10, 25):
                cases += attempt(comfyui, sampler, schedule, n)
        cases += attempt(comfyui, sampler, "karras", 10, strength=0.55)
        cases += attempt(comfyui, sampler, "normal", 12, {"prediction_type": "v_prediction"})
    for n in (2, 3, 4, 5, 10, 20, 30, 50):
        cases += attempt(a1111_ddim_cfgpp, n)
        cases += attempt(a1111_ddim_cfgpp, n, eta=0.7)
        cases += attempt(a1111_plms, n)
    for n in (1, 2, 4, 8, 20, 50):
        cases += attempt(a1111_lcm, n)
    for n in (2, 5, 10, 20, 30, 50, 60):
        cases += attempt(a1111_ddim, n)
        cases += attempt(a1111_ddim, n, 0.7)
    for n in (3, 4, 5, 10, 20, 30, 50):
        cases += attempt(a1111_unipc, n)
    return [case if np.isfinite(case["final"]).all() else
            {k: case[k] for k in ("base", "as", "with", "options")} | {"not_finite": True} for case in cases]


if __name__ == "__main__":
    packages = ("k-diffusion", "torch", "numpy", "scipy")
    golden = {"script": "tools/reference/kdiffusion.py", "seed": SEED, "versions": {p: version(p) for p in packages},
              "a1111": "lllyasviel/stable-diffusion-webui-forge dfdcbab", "comfyui": "0.8.0, 3cd7b32f", "cases": build()}
    path = os.path.join(os.path.dirname(__file__), "..", "..", "scheduler", "testdata", "kdiffusion.json.gz")
    with open(path, "wb") as file:
        file.write(gzip.compress(json.dumps(golden, separators=(",", ":")).encode(), mtime=0))
    print(f"{len(golden['cases'])} cases, {os.path.getsize(path)} bytes")
