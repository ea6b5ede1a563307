"""Writes testdata/goldens/<model>.safetensors: one call of each module of the tiny models, in float32.

    python tools/reference/modules.py            tiny, tiny-b, tiny-c, tiny-refiner, tiny-refiner-own

Inputs lie beside the outputs, so nothing has to be drawn again. Images are stored as uint8 and enter the encoder as
float32(v) / 255 * 2 - 1. Metadata "float32_error" gives, for each output, the largest absolute difference from the same
call in float64. README.md lists the keys.
"""

import sys

import diffusers
import torch

import common

SEED = 20240917
PROMPTS = [
    "a photo of an astronaut riding a horse on mars",
    "",
    "Portrait of an OLD fisherman's boat, 4k, 日本 café — stop!! <|endoftext|> and then "
    + "highly detailed, sharp focus, cinematic lighting, " * 12,
]
# Latent sizes (height, width): the second is odd, and no multiple of the UNet's total stride.
UNET_CALLS = [((8, 16), 981.0), ((9, 7), 37.5)]
DECODE_SIZES = [(1, 9, 7), (2, 5, 11)]  # images, latent height, latent width
TILED_SIZES = {"tiny": (13, 11), "tiny-b": (20, 17), "tiny-c": (13, 11)}


def clip(name, out, dtype):
    for suffix in ("", "_2"):
        tokenizer, model = common.component(name, "tokenizer" + suffix), common.component(name, "text_encoder" + suffix)
        if model is None:
            continue
        model.to(dtype)
        ids = tokenizer(PROMPTS, padding="max_length", max_length=tokenizer.model_max_length, truncation=True,
                        return_tensors="pt").input_ids
        result = model(ids, output_hidden_states=True)
        key = f"text_encoder{suffix}."
        out[key + "ids"] = ids
        out[key + "hidden"] = result.hidden_states[-2]
        out[key + "pooled"] = result.text_embeds if suffix else result.pooler_output
        assert result.hidden_states[-2].std() > 1e-3


def unet(name, out, dtype, generator):
    model = common.component(name, "unet").to(dtype)
    config = model.config
    tokens = common.component(name, "tokenizer_2").model_max_length
    ids_count = 5 if name.startswith("tiny-refiner") else 6
    pooled_width = config.projection_class_embeddings_input_dim - ids_count * config.addition_time_embed_dim
    rows = torch.tensor([[64, 72, 0, 0, 64, 72], [1024, 768, 128, 16, 1000, 513]], dtype=torch.float32)
    if ids_count == 5:
        rows = torch.tensor([[64, 72, 0, 0, 2.5], [1024, 768, 128, 16, 6.0]], dtype=torch.float32)
    shared = {
        "context": torch.randn(2, tokens, config.cross_attention_dim, generator=generator),
        "text_embeds": torch.randn(2, pooled_width, generator=generator),
        "time_ids": rows,
    }
    if config.time_cond_proj_dim is not None:
        shared["timestep_cond"] = torch.randn(2, config.time_cond_proj_dim, generator=generator)
    out.update({f"unet.{k}": v for k, v in shared.items()})
    shared = {k: v.to(dtype) for k, v in shared.items()}
    for i, ((height, width), t) in enumerate(UNET_CALLS):
        sample = torch.randn(2, config.in_channels, height, width, generator=generator)
        result = model(sample.to(dtype), torch.tensor(t), encoder_hidden_states=shared["context"],
                       timestep_cond=shared.get("timestep_cond"),
                       added_cond_kwargs={k: shared[k] for k in ("text_embeds", "time_ids")}).sample
        out[f"unet.{i}.sample"], out[f"unet.{i}.timestep"] = sample, torch.tensor([t])
        out[f"unet.{i}.output"] = result


def random_image(count, height, width, generator):
    """A coarse random pattern under fine noise, uint8 [count, 3, height, width]."""
    coarse = torch.rand(count, 3, height // 8 + 1, width // 8 + 1, generator=generator)
    coarse = coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)[:, :, :height, :width]
    fine = torch.rand(count, 3, height, width, generator=generator)
    return ((0.8 * coarse + 0.2 * fine) * 255).round().to(torch.uint8)


def vae(name, out, dtype, generator):
    model = common.component(name, "vae").to(dtype)
    channels, factor = model.config.latent_channels, 2 ** (len(model.config.block_out_channels) - 1)
    for i, (height, width) in enumerate([(9 * factor, 7 * factor), (4 * factor + 3, 5 * factor + 1)]):
        image = random_image(1, height, width, generator)
        posterior = model.encode((image.float() / 255 * 2 - 1).to(dtype)).latent_dist
        out[f"vae.encode.{i}.image"], out[f"vae.encode.{i}.moments"] = image, posterior.parameters
        out[f"vae.encode.{i}.posterior"] = posterior.sample(torch.Generator("cpu").manual_seed(SEED + i))
    for i, (count, height, width) in enumerate(DECODE_SIZES):
        latents = torch.randn(count, channels, height, width, generator=generator)
        out[f"vae.decode.{i}.latents"], out[f"vae.decode.{i}.image"] = latents, model.decode(latents.to(dtype)).sample
    height, width = TILED_SIZES[name]
    model.enable_tiling()
    assert height > model.tile_latent_min_size and width > model.tile_latent_min_size
    latents = torch.randn(1, channels, height, width, generator=generator)
    out["vae.tiled_decode.latents"], out["vae.tiled_decode.image"] = latents, model.decode(latents.to(dtype)).sample
    image = random_image(1, height * factor, width * factor, generator)
    out["vae.tiled_encode.image"] = image
    out["vae.tiled_encode.moments"] = model.encode((image.float() / 255 * 2 - 1).to(dtype)).latent_dist.parameters


def calls(name, dtype):
    """Every call of the model, its modules in dtype; inputs are drawn in float32 and the same for both dtypes."""
    out, generator = {}, torch.Generator("cpu").manual_seed(SEED)
    clip(name, out, dtype)
    if name != "tiny-refiner-own":  # its UNet and VAE are tiny-refiner's
        unet(name, out, dtype, generator)
    if name in TILED_SIZES:  # the refiners have tiny's VAE
        vae(name, out, dtype, generator)
    return out


def main():
    common.same_noise_in_float64()
    diffusers.logging.set_verbosity_error()
    for name in sys.argv[1:] or common.NAMES:
        out, wide = calls(name, torch.float32), calls(name, torch.float64)
        errors = {}
        for key, value in out.items():
            assert value.dtype != torch.float64, key
            if wide[key].dtype == torch.float64:
                assert torch.isfinite(value).all(), key
                errors[key] = float(f"{(value.double() - wide[key]).abs().max().item():.3g}")
                print(f"  {key} {list(value.shape)} mean {value.mean():.5f} std {value.std(correction=0):.5f} "
                      f"float32 error {errors[key]:.1e}")
            else:
                assert torch.equal(value, wide[key]), key
        common.write(f"goldens/{name}.safetensors", out, common.metadata(
            "modules.py", seed=SEED, prompts=PROMPTS, float32_error=errors))


if __name__ == "__main__":
    main()
