"""Writes testdata/goldens/kdiffusion.safetensors: the tiny UNet sampled by k-diffusion as A1111 and ComfyUI do it.

    A1111=DIR COMFYUI=DIR python tools/reference/kdiffusion_tiny.py

The samplers are run as in kdiffusion.py, with the UNet, the prompt embeddings and the micro-conditioning of diffusers'
pipeline in place of the synthetic model, in float32, and with guidance 5. Their own arithmetic is in float64, since
float32 loses four digits of an ancestral step over a wide range. Metadata "cases" lists them with the fields of cases.py.
"""

import sys

import torch

import common
import kdiffusion
import kdiffusion_model
from kdiffusion_model import Path
from cases import text
from pipelines import pipe_for

GUIDANCE, HEIGHT, WIDTH = 5.0, 64, 48
CASES = [text(f"k-{name}", scheduler=name, steps=steps, width=WIDTH, height=HEIGHT, seed=3) for name, steps in [
    *((name, 20 if name == "k_restart" else 8) for name in kdiffusion.K_NAMES),
    ("k_lcm", 4), ("k_ddim", 8), ("k_unipc", 8), ("k_ddim_cfgpp", 8), ("k_plms", 8),
    ("k_dpmpp_2m_sgm_uniform", 10), ("k_euler_a_align_your_steps", 11), ("k_heun_kl_optimal", 6), ("k_euler_ddim_uniform", 9),
    *(("comfy_" + name, 8) for name in kdiffusion.COMFY_NAMES + kdiffusion.CFGPP_NAMES),
    ("comfy_dpmpp_2m_beta", 10), ("comfy_euler_linear_quadratic", 7), ("comfy_lcm_sgm_uniform", 4),
    ("k_dpmpp_3m_sde_karras", 8), ("comfy_dpmpp_sde_karras", 8), ("comfy_dpmpp_2m_sde_exponential", 8),
]]
# A tree for each image in A1111, one for the batch in ComfyUI.
CASES += [text("batch-" + name, scheduler=name, steps=6, width=WIDTH, height=HEIGHT, **batch) for name, batch in [
    ("k_dpmpp_2m_sde", {"seeds": [3, 4]}), ("comfy_dpmpp_2m_sde_karras", {"seed": 3, "n": 2}), ("comfy_dpmpp_2m_cfg_pp", {"seed": 3, "n": 2}),
]]


class Tiny:
    """The tiny model, as sd_model."""

    def __init__(self, alphas):
        self.alphas_cumprod = alphas
        self.calls = []
        self.pipe = pipe_for({"model": "tiny", "task": "text"}, torch.float32)
        embeds, negative, pooled, negative_pooled = self.pipe.encode_prompt(CASES[0]["prompt"], do_classifier_free_guidance=True)
        ids = self.pipe._get_add_time_ids((HEIGHT, WIDTH), (0, 0), (HEIGHT, WIDTH), torch.float32,
                                          text_encoder_projection_dim=self.pipe.text_encoder_2.config.projection_dim)
        self.embeds = torch.cat([negative, embeds])
        self.added = {"text_embeds": torch.cat([negative_pooled, pooled]), "time_ids": torch.cat([ids, ids])}
        self.guidance_factor = 1

    def apply_model(self, x, t, cond=None):
        self.calls.append([0.0])
        batch = lambda v: v.repeat_interleave(len(x), 0)
        out = self.pipe.unet(torch.cat([x, x]).float(), t.reshape(-1)[0].float(), encoder_hidden_states=batch(self.embeds),
                             added_cond_kwargs={name: batch(v) for name, v in self.added.items()}).sample
        self.without, with_prompt = out.to(x.dtype).chunk(2)
        return self.without + GUIDANCE * self.guidance_factor * (with_prompt - self.without)

    def unconditional(self, x, t):
        return self.without  # of apply_model, with the same x and t


class Noise(kdiffusion_model.Noise):
    """The generator, on from the first noise."""

    def __init__(self):
        super().__init__()
        self.randn(kdiffusion.PATTERN)  # of a batch by one generator


def sample(case):
    name, n = case["scheduler"], case["steps"]
    own = {"k_lcm": kdiffusion.a1111_lcm, "k_ddim": kdiffusion.a1111_ddim, "k_unipc": kdiffusion.a1111_unipc,
           "k_ddim_cfgpp": kdiffusion.a1111_ddim_cfgpp, "k_plms": kdiffusion.a1111_plms}
    Path.levels, Path.halves, Path.exact = [], "dpmpp_sde" in name, name.startswith("comfy_")
    if name in own:
        return own[name](n)
    for base in sorted(kdiffusion.K_NAMES, key=len, reverse=True):
        if name.startswith(base):
            return kdiffusion.a1111(base, name[len(base) + 1:], n)
    for base in sorted(kdiffusion.COMFY_NAMES + kdiffusion.CFGPP_NAMES, key=len, reverse=True):
        if name.startswith("comfy_" + base):
            return kdiffusion.comfyui(base, name[len("comfy_" + base) + 1:] or "simple", n)


def main():
    tiny = Tiny(None)
    shape = (1, 4, HEIGHT // tiny.pipe.vae_scale_factor, WIDTH // tiny.pipe.vae_scale_factor)
    kdiffusion.Synthetic, kdiffusion.Noise = Tiny, Noise
    kdiffusion.finish = lambda case, model, x, noise, init: x
    tensors = {}
    for case in CASES:
        if len(sys.argv) > 1 and case["scheduler"] not in sys.argv[1:]:
            continue
        seeds = kdiffusion_model.SEEDS = case.get("seeds", [case["seed"]])
        kdiffusion_model.SEED = seeds[0]
        first = lambda seed: torch.randn((case.get("n", 1), *shape[1:]), generator=torch.Generator("cpu").manual_seed(seed))
        kdiffusion.PATTERN = torch.cat([first(seed) for seed in seeds])
        kdiffusion_model.WIDE = torch.float64
        try:
            x = sample(case)
        finally:
            kdiffusion_model.WIDE = None
            torch.set_default_dtype(torch.float32)
        assert torch.isfinite(x).all(), case["name"]
        tensors[case["name"]] = x.float()
        print(f"{case['name']}: max {x.abs().max():.3f}", flush=True)
    if len(sys.argv) == 1:
        common.write("goldens/kdiffusion.safetensors", tensors, common.metadata("kdiffusion_tiny.py", cases=CASES))


if __name__ == "__main__":
    main()
