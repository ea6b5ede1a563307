"""Writes testdata/full.safetensors: one call of each full-size SDXL module with synthetic weights, sampled.

    python tools/reference/full.py PART...       text_encoder text_encoder_2 vae unet refiner; merged into what the file holds already

Weights are the synthetic ones rounded to float16 (what `goxl synth -size full` writes) and used in float32. One model is in
memory at a time; unet and refiner need 12 GB. Inputs are torch.randn(shape, generator seeded as in INPUTS), which goxl
draws bit for bit; the first 16 elements of each are kept as a check. Of every output these are kept:
".strided", the flattened tensor's elements 0, s, 2s, …, with s in ".stride", and ".summary", float64: mean, standard
deviation (biased), Euclidean norm, largest magnitude.
"""

import os
import sys
import time

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextConfig

import common

PATH = "full.safetensors"
KEEP = 4000
# What is drawn: name, shape, seed. The image is clamp(randn / 2, -1, 1).
INPUTS = {
    "vae.image": ((1, 3, 512, 512), 101), "vae.latents": ((1, 4, 64, 64), 102),
    "unet.sample": ((2, 4, 64, 64), 201), "unet.context": ((2, 77, 2048), 202), "unet.text_embeds": ((2, 1280), 203),
    "refiner.sample": ((2, 4, 64, 64), 301), "refiner.context": ((2, 77, 1280), 302), "refiner.text_embeds": ((2, 1280), 303),
}
TIMESTEP = {"unet": 601.0, "refiner": 161.0}
TIME_IDS = {"unet": [[512, 512, 0, 0, 512, 512], [768, 1024, 16, 32, 512, 512]],
            "refiner": [[512, 512, 0, 0, 2.5], [512, 512, 0, 0, 6.0]]}
# "a photo of an astronaut riding a horse on mars" and "", in CLIP's own vocabulary, without padding.
IDS = [[49406, 320, 1125, 539, 550, 18376, 6765, 320, 4558, 525, 7496, 49407], [49406, 49407]]
PAD = {"text_encoder": 49407, "text_encoder_2": 0}


def draw(name, out):
    shape, seed = INPUTS[name]
    value = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))
    out[name + ".head"] = value.flatten()[:16]
    return value


def keep(key, value, out):
    flat = value.flatten().float()
    assert torch.isfinite(flat).all(), key
    stride = max(1, flat.numel() // KEEP) | 1  # odd, so that it walks through every column
    wide = flat.double()
    out[key + ".strided"], out[key + ".stride"] = flat[::stride], torch.tensor([stride])
    out[key + ".shape"] = torch.tensor(value.shape)
    out[key + ".summary"] = torch.stack([wide.mean(), wide.std(correction=0), wide.norm(), wide.abs().max()])
    print(f"{key} {list(value.shape)} {out[key + '.summary'].tolist()}", flush=True)


def positions(model):
    """Gives CLIP, if the model is one, its position_ids, which no checkpoint holds."""
    for name, buffer in model.named_buffers():
        if buffer.is_meta:
            assert name.endswith("position_ids"), name
            owner = model.get_submodule(name.rpartition(".")[0])
            owner.register_buffer("position_ids", torch.arange(buffer.shape[-1]).reshape(buffer.shape), persistent=False)


def build(kind, part, make):
    start = time.time()
    with torch.device("meta"):
        model = make(os.path.join(common.folder(kind), part))
    common.fill(model, part, "float16")
    positions(model)
    print(f"{kind}/{part}: weights in {time.time() - start:.0f} s", flush=True)
    return model


def from_config(cls):
    return lambda path: cls.from_config(cls.load_config(path))


def text_encoder(part, out):
    model = build("base", part, lambda path: common.text_class(part)(CLIPTextConfig.from_pretrained(path)))
    ids = torch.tensor([row + [PAD[part]] * (77 - len(row)) for row in IDS])
    out[part + ".ids"] = ids
    result = model(ids, output_hidden_states=True)
    keep(part + ".hidden", result.hidden_states[-2], out)
    if part == "text_encoder_2":
        keep(part + ".pooled", result.text_embeds, out)


def vae(_part, out):
    model = build("base", "vae", from_config(AutoencoderKL))
    keep("vae.moments", model.encode((draw("vae.image", out) / 2).clamp(-1, 1)).latent_dist.parameters, out)
    keep("vae.decoded", model.decode(draw("vae.latents", out)).sample, out)


def unet(part, out):
    model = build("base" if part == "unet" else "refiner", "unet", from_config(UNet2DConditionModel))
    sample, context, pooled = (draw(f"{part}.{k}", out) for k in ("sample", "context", "text_embeds"))
    out[part + ".timestep"], out[part + ".time_ids"] = torch.tensor([TIMESTEP[part]]), torch.tensor(TIME_IDS[part]).float()
    start = time.time()
    result = model(sample, out[part + ".timestep"][0], encoder_hidden_states=context,
                   added_cond_kwargs={"text_embeds": pooled, "time_ids": out[part + ".time_ids"]}).sample
    print(f"{part}: one call in {time.time() - start:.0f} s", flush=True)
    keep(part + ".output", result, out)


PARTS = {"text_encoder": text_encoder, "text_encoder_2": text_encoder, "vae": vae, "unet": unet, "refiner": unet}


def main():
    torch.set_num_threads(os.cpu_count())
    unknown = set(sys.argv[1:]) - set(PARTS)
    if unknown or len(sys.argv) < 2:
        sys.exit(f"parts: {' '.join(PARTS)}")
    for part in sys.argv[1:]:
        out = {}
        PARTS[part](part, out)
        path = os.path.join(common.TESTDATA, PATH)
        known = load_file(path) if os.path.exists(path) else {}
        common.write(PATH, {**known, **out}, common.metadata(
            "full.py", seeds={k: seed for k, (_, seed) in INPUTS.items()},
            input_shapes={k: shape for k, (shape, _) in INPUTS.items()}))


if __name__ == "__main__":
    main()
