"""Writes testdata/samplers.safetensors and testdata/samplers.json: runs of diffusers' SDXL pipelines with the schedulers
and the options that pipelines.py does not reach.

    python tools/reference/samplers.py

A case is one of cases.py with one more field: "keys", which override the configuration that the scheduler takes over from
the model. Flow matching gets what SDXL's pipelines want
of a scheduler and it lacks. DPMSolverSDEScheduler has the run's seed as its noise_sampler_seed, and noise levels as in
scheduler_run.py.
"""

import json
import os

import diffusers
import torch

import cases
import common
import pipelines
from scheduler_run import ALGORITHMS, CLASSES, CONVERTING, NAMES, RoundedTimes

EDM = {"sigma_min": 0.002, "sigma_max": 80.0}  # the tiny models store them as null
THRESHOLD = {"thresholding": True, "dynamic_thresholding_ratio": 0.9, "sample_max_value": 2.0}


class Flow(diffusers.FlowMatchEulerDiscreteScheduler):
    init_noise_sigma = 1.0

    def scale_model_input(self, x, _):
        return x

    add_noise = lambda self, x, noise, t: self.scale_noise(x, t, noise)


class RoundedSDE(diffusers.DPMSolverSDEScheduler):
    def step(self, model_output, timestep, sample, **options):
        if self.noise_sampler is None:
            self.noise_sampler = RoundedTimes(self, sample)
        return super().step(model_output, timestep, sample, **options)


def all_cases():
    text, image = cases.text, cases.image
    for name in NAMES:
        keys = EDM if name.startswith("edm") else None
        yield text(f"scheduler-{name}", scheduler=name, steps=5 if name.startswith(("kdpm2", "dpmpp_sde")) else 8, width=48, seed=3, keys=keys)
    for name in ("ddpm", "pndm", "deis", "dpmpp_2s", "dpmpp_sde", "kdpm2", "kdpm2_a", "sa_solver"):
        yield text(f"v-{name}", "tiny-b", scheduler=name, steps=6, width=48, height=40, seed=4)
        yield image(f"image-{name}", scheduler=name, strength=0.6, steps=6)
    yield text("batch-dpmpp_sde", scheduler="dpmpp_sde", width=40, height=56, n=3)
    yield text("batch-sa_solver", scheduler="sa_solver", width=40, height=56, n=2)
    yield text("pndm-prk", scheduler="pndm", keys={"skip_prk_steps": False})
    yield text("edm-v", scheduler="edm_euler", keys={**EDM, "prediction_type": "v_prediction", "sigma_data": 1.0, "sigma_max": 120.0})
    yield text("flow-shift", scheduler="flow_euler", keys={"shift": 3.0})
    yield text("flow-stochastic", scheduler="flow_euler", keys={"shift": 3.0, "stochastic_sampling": True})
    yield image("image-flow_euler", scheduler="flow_euler", strength=0.6, steps=6, keys={"shift": 3.0})
    yield text("flow-sigmas", scheduler="dpmpp_2m", keys={"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"})
    # The device can't threshold; these run on the host.
    for name in ("ddim", "ddpm", "dpmpp_2m", "dpmpp_2m_sde", "unipc", "sa_solver"):
        yield text(f"threshold-{name}", scheduler=name, keys=THRESHOLD, n=2 if name in ("dpmpp_2m", "ddpm") else 1, width=48)
    yield text("threshold-lcm", scheduler="lcm", keys=THRESHOLD, steps=4)
    yield text("threshold-rescale", scheduler="dpmpp_2m", keys=THRESHOLD, guidance=7.5, guidance_rescale=0.7)
    yield text("threshold-guidance-1", scheduler="dpmpp_2m", keys=THRESHOLD, guidance=1.0)
    yield image("image-threshold", scheduler="ddim", keys=THRESHOLD, strength=0.6, steps=6)


def scheduler_for(case):
    base, options = case["scheduler"], {}
    for suffix in cases.SUFFIXES:
        if base.endswith(suffix):
            base, options = base[:-len(suffix)], {f"use{suffix}_sigmas": True}
    if base in ALGORITHMS:
        options["algorithm_type"] = ALGORITHMS[base]
    if base == "dpmpp_sde":
        options["noise_sampler_seed"] = case["seed"]
    cls = {"flow_euler": Flow, "dpmpp_sde": RoundedSDE}.get(base) or getattr(diffusers, CLASSES[base])
    config = {**common.component(case["model"], "scheduler").config, **options, **case.get("keys", {})}
    return cls.from_config(config)


def run(case, dtype):
    plain = {k: v for k, v in case.items() if k != "keys"}
    original = pipelines.pipe_for

    def with_scheduler(c, dtype):
        pipe = original({k: v for k, v in c.items() if k != "scheduler"}, dtype)
        pipe.scheduler = scheduler_for(case)
        return pipe

    pipelines.pipe_for = with_scheduler
    try:
        return pipelines.run(plain, dtype, {})[0]
    finally:
        pipelines.pipe_for = original


def main():
    torch.set_num_threads(1)
    table, tensors = [], {}
    for case in all_cases():
        latents, wide = run(case, torch.float32), run(case, torch.float64)
        assert torch.isfinite(latents).all(), case["name"]
        error = ((latents.double() - wide.double()).norm() / wide.double().norm()).item()
        tensors[case["name"] + ".latents"] = latents.float().contiguous()
        table.append({**case, "output": {"latents": case["name"] + ".latents"}, "float32_error": float(f"{error:.3g}"),
                      "largest_latent": float(f"{latents.abs().max().item():.4g}")})
        print(f"{case['name']}: {list(latents.shape)} max {latents.abs().max():.3f} float32 error {error:.2e}", flush=True)
    meta = common.metadata("samplers.py")
    common.write("samplers.safetensors", tensors, meta)
    head = json.dumps({"script": meta["script"], "versions": meta["versions"]})
    lines = ",\n".join(json.dumps(c, ensure_ascii=False) for c in table)
    with open(os.path.join(common.TESTDATA, "samplers.json"), "w", encoding="utf-8") as f:
        f.write(f'{head[:-1]}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
