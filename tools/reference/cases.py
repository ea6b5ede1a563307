"""The table of pipeline cases. One dictionary a case; a field that is absent has diffusers' default.

Fields: name; model; task ("text" or "image"); prompt, prompt_2, negative, negative_2 (absent = None); width, height;
steps; guidance; guidance_rescale; seed; n; scheduler (absent = the model's own); eta; clip_skip; timesteps;
denoising_end, denoising_start; strength; aesthetic_score, negative_aesthetic_score;
original_size, crop, target_size, negative_original_size, negative_crop, negative_target_size ([height, width], [top, left]);
input_image (a PNG under testdata); input_latents (the case whose final latents are the input image);
noise (a tensor of pipelines.safetensors that replaces the initial noise); watermark; keep_image (write the image too).
"""

PROMPT = "a small red house by the sea at sunset"
LONG = "a castle made of glass, " * 30 + "a ship under the stars"
IMAGE, ODD_IMAGE = "images/input-72x64.png", "images/input-70x61.png"

BASES = ("euler", "euler_a", "heun", "lms", "ddim", "dpmpp_2m", "dpmpp_2m_sde", "unipc", "lcm", "tcd")
SUFFIXES = ("_karras", "_exponential", "_beta")
WITH_SUFFIX = ("euler", "heun", "lms", "dpmpp_2m", "dpmpp_2m_sde", "unipc")
STEPS = {"lcm": 4, "tcd": 5, "dpmpp_2m_karras": 20, "euler_beta": 15, "ddim": 30, "heun": 5, "unipc": 16}


def text(name, model="tiny", **fields):
    fields = {"prompt": PROMPT, "width": 64, "height": 64, "steps": 5, "seed": 1, **fields}
    return {"name": name, "model": model, "task": "text", **{k: v for k, v in fields.items() if v is not None}}


def image(name, model="tiny-refiner", **fields):
    fields = {"prompt": PROMPT, "input_image": IMAGE, "steps": 10, "seed": 2, **fields}
    return {"name": name, "model": model, "task": "image", **{k: v for k, v in fields.items() if v is not None}}


def schedulers():
    for name in BASES + tuple(b + s for b in WITH_SUFFIX for s in SUFFIXES):
        yield text(f"scheduler-{name}", scheduler=name, steps=STEPS.get(name, 10), width=48, seed=3)
    for name in BASES + ("dpmpp_2m_karras", "heun_karras"):  # v-prediction, trailing, zero terminal SNR
        yield text(f"v-{name}", "tiny-b", scheduler=name, steps=4 if name == "lcm" else 7, width=48, height=40, seed=4)
    for name in ("euler", "dpmpp_2m", "ddim"):  # from an LCM configuration, with linear betas
        yield text(f"linear-{name}", "tiny-c", scheduler=name, steps=6, width=48, height=32, seed=5)


def text_cases():
    yield text("defaults", width=None, height=None, steps=None, seed=0, keep_image=True)
    yield text("tall", width=72, height=136, keep_image=True)
    yield text("wide", width=136, height=72, keep_image=True)
    yield text("one-latent", width=8, height=8)
    yield text("eight-elements", width=16, height=8, n=1)
    yield text("36-elements", width=24, height=24)
    yield text("batch", width=40, height=56, n=3, keep_image=True)
    yield text("batch-ancestral", width=40, height=56, n=3, scheduler="euler_a")
    yield text("guidance-1", guidance=1.0)
    yield text("guidance-0", guidance=0.0)
    yield text("guidance-12", guidance=12.5)
    yield text("rescale", guidance=7.5, guidance_rescale=0.7, keep_image=True)
    yield text("rescale-batch", guidance=7.5, guidance_rescale=0.7, n=2)
    yield text("negative-none", steps=3)
    yield text("negative-empty", steps=3, negative="")
    yield text("negative-text", steps=3, negative="blurry, low quality")
    yield text("negative-two", steps=3, negative="blurry, low quality", negative_2="watermark, text")
    yield text("negative-second-only", steps=3, negative_2="watermark, text")
    yield text("prompt-long", steps=3, prompt=LONG)
    yield text("prompt-empty", steps=3, prompt="")
    yield text("prompt-two", steps=3, prompt_2="two cats sleeping on a wooden table")
    yield text("prompt-two-empty", steps=3, prompt_2="")
    yield text("prompt-specials", steps=3, prompt="Stop!! 日本 café — 100% <|endoftext|> it's HERE\n\t now")
    yield text("original-size", original_size=[512, 768], crop=[16, 32], target_size=[64, 80])
    yield text("negative-sizes", original_size=[512, 768], negative_original_size=[256, 128], negative_crop=[8, 4],
               negative_target_size=[1024, 900])
    yield text("negative-sizes-one-missing", negative_original_size=[256, 128])
    yield text("negative-sizes-batch", n=2, negative_original_size=[256, 128], negative_target_size=[1024, 900])
    yield text("clip-skip", clip_skip=1, negative="blurry")
    yield text("timesteps", timesteps=[999, 845, 730, 587, 443, 310, 193, 116, 53, 13], steps=None)
    yield text("timesteps-dpmpp_2m", timesteps=[901, 601, 301, 1], scheduler="dpmpp_2m", steps=None)
    yield text("timesteps-heun", timesteps=[901, 601, 301, 1], scheduler="heun", steps=None)
    yield text("timesteps-lcm", timesteps=[999, 759, 499, 259], scheduler="lcm", steps=None)
    yield text("eta", scheduler="ddim", eta=0.7)
    yield text("eta-tcd", scheduler="tcd", eta=0.3, steps=4)
    yield text("seed-64-bit", seed=4294967338)
    yield text("seed-42", seed=42)
    yield text("noise-given", noise="noise-given.noise", seed=7)
    yield text("noise-given-ancestral", noise="noise-given.noise", seed=7, scheduler="euler_a")
    yield text("denoising-end", denoising_end=0.7, steps=10)
    yield text("denoising-end-third", denoising_end=0.333, steps=30)
    yield text("watermark", width=264, height=256, steps=2, watermark=True, keep_image=True)
    yield text("b-defaults", "tiny-b", width=None, height=None, steps=12, keep_image=True)
    yield text("b-batch", "tiny-b", width=40, height=56, n=2, keep_image=True)
    yield text("b-negative", "tiny-b", width=48, height=48, negative="blurry, low quality", guidance=7.5, guidance_rescale=0.7)
    yield text("b-negative-empty", "tiny-b", width=48, height=48, negative="")
    yield text("b-clip-skip", "tiny-b", width=48, height=48, clip_skip=1)
    yield text("c-defaults", "tiny-c", width=None, height=None, steps=4, keep_image=True)
    yield text("c-guidance", "tiny-c", width=40, height=56, steps=4, guidance=8.5, n=2, keep_image=True)
    yield text("c-negative-ignored", "tiny-c", width=40, height=56, steps=4, guidance=8.5, n=2, negative="blurry")
    yield text("c-one-step", "tiny-c", width=48, height=48, steps=1, guidance=1.0)
    yield text("c-clip-skip", "tiny-c", width=48, height=48, steps=2, prompt=LONG)


def image_cases():
    yield image("refine", keep_image=True)
    yield image("refine-defaults", steps=None, keep_image=True)
    yield image("refine-odd-size", input_image=ODD_IMAGE, strength=0.5, keep_image=True)
    yield image("refine-strong", strength=0.8, negative="blurry, low quality")
    yield image("refine-full", strength=1.0)
    yield image("refine-truncated", strength=0.29, steps=100)
    yield image("refine-batch", n=2, strength=0.6, keep_image=True)
    yield image("refine-guidance-1", guidance=1.0)
    yield image("refine-rescale", guidance=7.5, guidance_rescale=0.7)
    yield image("refine-aesthetic", aesthetic_score=9.0, negative_aesthetic_score=1.5)
    yield image("refine-sizes", original_size=[512, 768], crop=[16, 32], negative_original_size=[256, 128], negative_crop=[8, 4],
                strength=0.6)
    yield image("refine-prompt-two", prompt_2="two cats sleeping", negative="blurry", negative_2="watermark")
    yield image("refine-clip-skip", clip_skip=1)
    for name in BASES[1:] + ("euler_karras", "heun_karras", "dpmpp_2m_karras"):
        yield image(f"refine-{name}", scheduler=name, strength=0.5)
    yield image("refine-own", "tiny-refiner-own", strength=0.5)
    yield image("refine-denoising-end", strength=0.8, denoising_end=0.6)
    yield image("tiny-image", "tiny", strength=0.6, keep_image=True)
    yield image("tiny-image-sizes", "tiny", strength=0.6, original_size=[512, 768], crop=[16, 32], target_size=[80, 72],
                negative_original_size=[256, 128], negative_crop=[8, 4], negative_target_size=[1024, 900])
    yield image("b-image", "tiny-b", strength=0.6, input_image=ODD_IMAGE, keep_image=True)
    yield image("c-image", "tiny-c", strength=0.6, input_image=ODD_IMAGE, keep_image=True)
    yield image("refine-latents", input_image=None, input_latents="tall", strength=0.4, keep_image=True)
    yield image("refine-latents-batch", input_image=None, input_latents="batch", n=3, strength=0.4)


def ensembles():
    """Pairs: the base stops at denoising_end, the refiner goes on from its latents with the same steps and seed."""
    for name, end, fields in (
            ("ensemble", 0.8, dict(steps=20)), ("ensemble-batch", 0.8, dict(steps=10, n=2, negative="blurry")),
            ("ensemble-half", 0.5, dict(steps=8, guidance=7.5)), ("ensemble-heun", 0.71, dict(steps=8, scheduler="heun")),
            ("ensemble-dpmpp_2m", 0.8, dict(steps=15, scheduler="dpmpp_2m")),
            ("ensemble-euler_a", 0.8, dict(steps=10, scheduler="euler_a")),
            ("ensemble-unipc", 0.6, dict(steps=10, scheduler="unipc")),
            ("ensemble-ddim_tall", 0.8, dict(steps=10, scheduler="ddim", width=72, height=136))):
        yield text(name + "-base", denoising_end=end, **fields)
        refined = {k: v for k, v in fields.items() if k not in ("width", "height")}
        refined.update(input_image=None, input_latents=name + "-base", denoising_start=end, seed=1, keep_image=True)
        yield image(name, **refined)
    yield image("ensemble-own", "tiny-refiner-own", input_image=None, input_latents="ensemble-base", denoising_start=0.8,
                steps=20, seed=1)


def all_cases():
    cases = [*schedulers(), *text_cases(), *image_cases(), *ensembles()]
    names = [c["name"] for c in cases]
    assert len(set(names)) == len(names), "two cases have one name"
    return cases


# Pairs whose results must differ, or be equal: the table would be worthless otherwise.
DIFFERENT = [("negative-none", "negative-empty"), ("negative-none", "negative-text"), ("negative-text", "negative-two"),
             ("negative-none", "prompt-two"), ("negative-none", "prompt-long"), ("negative-none", "prompt-empty"),
             ("refine", "refine-aesthetic"), ("refine-own", "refine-euler_karras"),
             ("ensemble", "ensemble-own"), ("tiny-image", "tiny-image-sizes"), ("b-negative-empty", "b-clip-skip")]
EQUAL = [("seed-42", "seed-64-bit"), ("guidance-1", "guidance-0"), ("negative-none", "negative-second-only"),
         ("negative-none", "prompt-two-empty"), ("c-guidance", "c-negative-ignored")]
