"""Writes scheduler/testdata/classes.json.gz: the schedulers and options that scheduler.py does not reach.

Run from the repository root: python tools/reference/scheduler_classes.py

Cases, latents and model are scheduler.py's. Besides:
- A model with a learned variance gives a second half of channels, 0.05 * x + 0.1 ("learned") or 0.1 * x ("learned_range").
- Flow matching has no init_noise_sigma, scale_model_input and add_noise: 1, nothing and scale_noise take their places.
- "levels" are the noise levels between which DPMSolverSDEScheduler asks for its Brownian path, the path's own first. Their
  last bits are the host's: torch's square root, logarithm and exponential. The path's values change with them.
- Runs are in float64 from the float32 sigmas on, with the noise that float32 draws: plain float32 is off by more than half
  the tolerance in many.
"""

import gzip
import json
import os

import diffusers
import numpy as np
import torch
from diffusers.schedulers.scheduling_dpmsolver_sde import BrownianTreeNoiseSampler

import scheduler as base
from scheduler import AYS_TIMESTEPS, BASES, PREDICTIONS, SPACINGS, shortest
from scheduler_run import DISCRETE, NAMES, NEW, OWN, construct_fast, draw_float32, run


def build():
    out = []

    def add(name, options, grid=False, stored=None, **keys):
        if name.startswith("dpmpp_sde") and "noise_sampler_seed" not in keys:
            keys["noise_sampler_seed"] = 5
        stored = stored or OWN.get("_".join(name.split("_")[:3 if name.startswith("edm_dpm") else 2]), "sdxl")
        out.append(run({"base": stored, "as": name, "with": keys, "options": options}, grid))
        if len(out) % 100 == 0:
            print(len(out), flush=True)

    for name in NAMES:
        for n in (1, 2, 4, 10, 30):
            if name in NEW and name in DISCRETE:
                for i, spacing in enumerate(SPACINGS):
                    if (name, n, spacing) == ("kdpm2_a", 2, "linspace"):
                        continue  # one step from the highest sigma to the lowest: its middle is what rounding leaves
                    for prediction in PREDICTIONS if n == 10 else [PREDICTIONS[(i + n) % 3]]:
                        add(name, {"steps": n}, n != 30, timestep_spacing=spacing, prediction_type=prediction)
            elif name in DISCRETE and n in (4, 10):
                add(name, {"steps": n}, True, timestep_spacing=SPACINGS[n % 3], prediction_type=PREDICTIONS[n % 2])
            elif name not in DISCRETE:
                for prediction in PREDICTIONS[:1] if name.startswith("flow") else PREDICTIONS:
                    add(name, {"steps": n}, True, prediction_type=prediction)
        if name in NEW and name in DISCRETE:
            add(name, {"steps": 61}, True, timestep_spacing="trailing")
    # Image-to-image and ensembles of experts.
    for name in NEW + ["deis_karras", "dpmpp_2s_karras", "dpmpp_sde_karras", "kdpm2_karras", "kdpm2_a_exponential", "sa_solver_beta"]:
        for strength in (0.29, 0.5, 0.75, 1.0):
            add(name, {"steps": 10, "strength": strength})
        for n in (10,):
            for d in (0.2, 0.5, 0.8):
                add(name, {"steps": n, "denoising_end": d})
                add(name, {"steps": n, "denoising_start": d})
            add(name, {"steps": n, "strength": 0.6, "denoising_end": 0.8})
    # Stored configs of other classes.
    for stored in [b for b in BASES if b not in ("playground", "cosxl", "flow")]:
        for name in NEW:
            if name in DISCRETE:
                add(name, {"steps": 10}, True, stored)
    for schedule in ("linear", "squaredcos_cap_v2"):
        for name in [n for n in NEW if n in DISCRETE] + ["deis_karras", "kdpm2_karras"]:
            add(name, {"steps": 10}, True, beta_schedule=schedule)
    for schedule, name in (("exp", "heun"), ("exp", "heun_karras"), ("laplace", "ddpm"), ("sigmoid", "ddpm"), ("exp", "ddpm")):
        for spacing in SPACINGS:
            add(name, {"steps": 10}, True, beta_schedule=schedule, timestep_spacing=spacing)
    for betas in ([0.0001 + 0.0003 * i for i in range(50)], [0.001, 0.01, 0.1]):
        for name in [n for n in NEW if n in DISCRETE] + ["euler", "dpmpp_2m", "unipc", "ddim"]:
            for train in (50, 1000):
                add(name, {"steps": 7}, train == 50, num_train_timesteps=train, trained_betas=betas)
    # PNDM's warm-up.
    for n in (3, 4, 10, 30):
        for spacing in SPACINGS:
            for prediction in PREDICTIONS[:2]:
                for one in (False, True):
                    add("pndm", {"steps": n}, True, skip_prk_steps=False, timestep_spacing=spacing, prediction_type=prediction,
                        set_alpha_to_one=one)
        for strength in (0.3, 0.5, 0.8):
            add("pndm", {"steps": n, "strength": strength}, skip_prk_steps=False)
    # DDPM's variances and custom timesteps.
    for variance in ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range", "other"):
        for n in (4, 15):
            for i, spacing in enumerate(SPACINGS):
                for prediction in [PREDICTIONS[(i + n) % 3]]:
                    add("ddpm", {"steps": n}, variance_type=variance, timestep_spacing=spacing, prediction_type=prediction)
            add("ddpm", {"steps": n, "strength": 0.5}, variance_type=variance)
    for name in ("ddpm", "dpmpp_2s", "flow_euler"):
        for o in ({}, {"strength": 0.5}, {"denoising_end": 0.7}, {"denoising_start": 0.7}):
            add(name, {"timesteps": AYS_TIMESTEPS, **o}, True)
        add(name, {"timesteps": [999, 500, 100]}, True, timestep_spacing="trailing")
    add("ddpm", {"timesteps": [100, 87, 50, 1, 0]}, True, clip_sample=True)
    for o in ({}, {"strength": 0.6}):
        add("flow_euler", {"sigmas": [1.0, 0.9, 0.5, 0.2, 0.0], **o}, True)
    # Clips and dynamic thresholding.
    for name in ("ddpm", "ddim", "lcm", "tcd", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2s", "deis", "unipc", "sa_solver"):
        for prediction in PREDICTIONS[:2]:
            for keys in ({"sample_max_value": 1.0}, {"sample_max_value": 0.7}, {"sample_max_value": 2.0}, {"sample_max_value": 20.0},
                         {"sample_max_value": 50.0, "dynamic_thresholding_ratio": 0.8}, {"sample_max_value": 3.0, "clip_sample": True}):
                add(name, {"steps": 6}, thresholding=True, prediction_type=prediction, **keys)
            add(name, {"steps": 6}, clip_sample=True, clip_sample_range=1.5, prediction_type=prediction)
    for keys in ({"sample_max_value": 1.0}, {"sample_max_value": 2.0}, {"sample_max_value": 30.0, "dynamic_thresholding_ratio": 0.7}):
        add("edm_dpmpp_2m", {"steps": 6}, thresholding=True, **keys)
    # The DPM-Solvers' algorithms, orders and kinds.
    for name in ("dpmpp_2m", "dpmpp_2s"):
        for algorithm in ("dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"):
            for order in (1, 2, 3):
                for kind in ("midpoint", "heun"):
                    for keys in ({"final_sigmas_type": "sigma_min"}, {"final_sigmas_type": "sigma_min", "lower_order_final": True},
                                 {"final_sigmas_type": "sigma_min", "lower_order_final": False}, {"final_sigmas_type": "zero"},
                                 {"final_sigmas_type": "sigma_min", "prediction_type": "v_prediction"},
                                 {"final_sigmas_type": "sigma_min", "prediction_type": "sample", "use_karras_sigmas": True}):
                        for n in ((6,) if kind == "heun" else (17,)):
                            add(name, {"steps": n}, algorithm_type=algorithm, solver_order=order, solver_type=kind, **keys)
                    add(name, {"steps": 10, "strength": 0.6}, algorithm_type=algorithm, solver_order=order, solver_type=kind,
                        final_sigmas_type="sigma_min")
        add(name, {"steps": 6}, algorithm_type="dpmsolver", final_sigmas_type="sigma_min", thresholding=True, sample_max_value=2.0)
    for name in ("deis", "deis_karras", "deis_exponential"):
        for order in (1, 2, 3):
            for n in (10, 16):
                for keys in ({}, {"lower_order_final": False}, {"prediction_type": "v_prediction"}, {"prediction_type": "sample"}):
                    add(name, {"steps": n}, solver_order=order, **keys)
    for order in (1, 2, 3):
        for n in (3, 6, 16):
            for keys in ({}, {"solver_type": "heun"}, {"algorithm_type": "sde-dpmsolver++"}, {"final_sigmas_type": "sigma_min"},
                         {"algorithm_type": "sde-dpmsolver++", "solver_type": "heun"}, {"sigma_schedule": "exponential"},
                         {"prediction_type": "v_prediction"}, {"euler_at_final": True, "final_sigmas_type": "sigma_min"},
                         {"lower_order_final": False, "final_sigmas_type": "sigma_min"}, {"rho": 5.0, "sigma_data": 1.0}):
                add("edm_dpmpp_2m", {"steps": n}, n == 6, solver_order=order, **keys)
    for keys in ({"final_sigmas_type": "sigma_min"}, {"sigma_schedule": "karras"}, {"sigma_min": 0.03, "sigma_max": 14.0}, {"sigma_data": 0.5, "rho": 3.0}):
        for prediction in PREDICTIONS[:2]:
            for n in (1, 8, 30):
                add("edm_euler", {"steps": n}, True, prediction_type=prediction, **keys)
    # SA-Solver and UniPC.
    for predictor in (1, 2, 3, 4):
        for corrector in (1, 2, 3, 4):
            for algorithm in ("data_prediction", "noise_prediction"):
                for keys in ({}, {"lower_order_final": False}, {"prediction_type": "v_prediction"}):
                    for n in ((5,) if (predictor + corrector) % 2 else (20,)):
                        add("sa_solver", {"steps": n}, predictor_order=predictor, corrector_order=corrector, algorithm_type=algorithm, **keys)
    for order in (1, 2, 3):
        for kind in ("bh1", "bh2"):
            for prediction in PREDICTIONS:
                for final in ("sigma_min", "zero"):
                    for n in (5, 20):
                        add("unipc", {"steps": n}, predict_x0=False, solver_order=order, solver_type=kind, prediction_type=prediction, final_sigmas_type=final)
    # Flow sigmas.
    for name in ("dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2s", "deis", "unipc", "sa_solver"):
        for shift in (1.0, 3.0):
            for prediction in ("flow_prediction", "epsilon"):
                for n in (4, 20):
                    keys = {"use_flow_sigmas": True, "flow_shift": shift, "prediction_type": prediction}
                    add(name, {"steps": n}, True, **keys)
                    add(name, {"steps": n, "strength": 0.5}, **keys)
        add(name, {"steps": 10}, use_flow_sigmas=True, use_karras_sigmas=True, prediction_type="flow_prediction")
        add(name, {"steps": 10}, prediction_type="flow_prediction")
        add(name, {"steps": 10}, use_dynamic_shifting=True)
    for keys in ({"shift_terminal": 0.1}, {"shift_terminal": 0.02, "flow_shift": 2.0}, {"final_sigmas_type": "sigma_min"}):
        add("unipc", {"steps": 8}, True, use_flow_sigmas=True, prediction_type="flow_prediction", **keys)
    for keys in ({"shift": 1.0}, {"shift_terminal": 0.1}, {"stochastic_sampling": True}, {"invert_sigmas": True}, {"num_train_timesteps": 500},
                 {"use_dynamic_shifting": True}):
        for n in (1, 4, 10, 30):
            add("flow_euler", {"steps": n}, True, **keys)
    # Single options.
    for n in (5, 10, 25):
        for spacing in SPACINGS:
            add("euler", {"steps": n}, True, interpolation_type="log_linear", timestep_spacing=spacing)
            add("euler_karras", {"steps": n}, True, interpolation_type="log_linear", timestep_spacing=spacing)
            add("dpmpp_2m", {"steps": n}, True, use_lu_lambdas=True, timestep_spacing=spacing)
            for clip in (-5.1, -2.0, 0.0):
                for name in ("dpmpp_2m", "dpmpp_2s", "sa_solver") if n == 10 else ():
                    add(name, {"steps": n}, True, lambda_min_clipped=clip, timestep_spacing=spacing)
                    add(name, {"steps": n}, True, lambda_min_clipped=clip, timestep_spacing=spacing, beta_schedule="squaredcos_cap_v2")
    add("euler", {"steps": 10, "strength": 0.5}, interpolation_type="log_linear")
    add("dpmpp_2m", {"steps": 10}, True, use_lu_lambdas=True, beta_schedule="squaredcos_cap_v2")
    add("dpmpp_2m", {"steps": 10}, True, use_lu_lambdas=True, use_karras_sigmas=True)
    add("dpmpp_2m", {"timesteps": AYS_TIMESTEPS}, True, use_lu_lambdas=True)
    for seed in (0, 7, 2**40 + 3):
        add("dpmpp_sde_karras", {"steps": 8}, True, noise_sampler_seed=seed)
    return out


def paths():
    """Increments of torchsde's Brownian tree, whose values do not depend on the host."""
    out = []
    for seed, low, high, n in ((0, 0.029167532920837402, 14.614644996643066, 16), (2**62 + 9, 0.5, 2.0, 5), (123456789, 0.002, 80.0, 33)):
        sampler = BrownianTreeNoiseSampler(torch.zeros(n), low, high, seed)
        for a, b in ((low, high), (low, (low + high) / 2), (0.7, 0.71), (1.0, 1.5), (0.6000005, 1.9), (low - 1, 0.9), (1.2, high + 3), (1.0, 1.0)):
            w = sampler.tree.trees[0](a, b)
            out.append({"seed": seed, "low": low, "high": high, "n": n, "from": a, "to": b, "w": [shortest(v) for v in w]})
    return out


def main():
    draw_float32()
    construct_fast()
    out = {
        "made_by": "tools/reference/scheduler_classes.py",
        "versions": {"diffusers": diffusers.__version__, "torch": torch.__version__, "numpy": np.__version__, "torchsde": "0.2.6"},
        "seed": base.SEED, "bases": BASES, "paths": paths(), "cases": build(),
    }
    path = os.path.join("scheduler", "testdata", "classes.json.gz")
    with gzip.GzipFile(path, "wb", mtime=0) as f:
        f.write(json.dumps(out, separators=(",", ":"), allow_nan=False).encode())
    print(len(out["cases"]), "cases,", os.path.getsize(path), "bytes")


if __name__ == "__main__":
    main()
