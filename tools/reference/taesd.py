"""Writes testdata/goldens/taesd.safetensors: AutoencoderTiny's decoder and encoder, in float32.

    python tools/reference/taesd.py [TAESD.PY]

Models: "small" has the shape of TAESDXL in 12 channels with other numbers of blocks, "full" is TAESDXL, its weights
rounded to float16. Tensors are drawn as component "taesd". Latents are torch.randn times 3, so that tanh bends them;
images are stored as uint8 and enter the encoder as float32(v) / 255 * 2 - 1. Tiled calls have tiles of 128 pixels. Of
full and tiled images every 41st value is kept. TAESD.PY is that of github.com/madebyollin/taesd, whose own Encoder and Decoder are
then loaded with the same numbers under its names (a decoder's layer is one more than diffusers'), and must agree.
"""

import importlib.util
import sys

import torch
from diffusers import AutoencoderTiny
from diffusers.image_processor import VaeImageProcessor

import common

SEED = 20261129
SMALL = dict(encoder_block_out_channels=(12,) * 4, decoder_block_out_channels=(12,) * 4, num_encoder_blocks=(1, 2, 1, 2),
             num_decoder_blocks=(2, 1, 2, 1))
DECODE = {"small": [(9, 7), (4, 13)], "full": [(32, 24)]}  # latent height, width
ENCODE = {"small": [(40, 56), (8, 24)], "full": [(96, 64)]}  # pixels
TILED = (21, 34)
KEEP = 41


def tensors(dtype):
    out = {}
    for name, config, stored in (("small", SMALL, "float32"), ("full", {}, "float16")):
        model = AutoencoderTiny(**config).eval()
        common.fill(model, "taesd", stored)
        model.to(dtype)
        generator = torch.Generator().manual_seed(SEED)
        kept = lambda x: x.flatten()[::KEEP] if name == "full" else x
        for i, (h, w) in enumerate(DECODE[name]):
            key, z = f"{name}.decode.{i}.", 3 * torch.randn(1, 4, h, w, generator=generator)
            out[key + "latents"], x = z, model.decode(z.to(dtype)).sample
            out[key + "values"] = kept(x)
            pixels = VaeImageProcessor(vae_scale_factor=8).postprocess(x.float(), output_type="np")
            out[key + "pixels"] = kept(torch.from_numpy((pixels * 255).round().astype("uint8")))
        for i, (h, w) in enumerate(ENCODE[name]):
            key, image = f"{name}.encode.{i}.", torch.randint(0, 256, (1, 3, h, w), generator=generator).to(torch.uint8)
            out[key + "image"] = image
            out[key + "latents"] = model.encode(image.to(dtype) / 255 * 2 - 1).latents
        if name == "small":
            model.enable_tiling()
            model.tile_sample_min_size, model.tile_latent_min_size = 128, 16
            z = 3 * torch.randn(1, 4, *TILED, generator=generator)
            image = torch.randint(0, 256, (1, 3, 8 * TILED[0], 8 * TILED[1]), generator=generator).to(torch.uint8)
            out["small.tiled_decode.latents"], out["small.tiled_decode.values"] = z, model.decode(z.to(dtype)).sample.flatten()[::KEEP]
            out["small.tiled_encode.image"] = image
            out["small.tiled_encode.latents"] = model.encode((image.float() / 255 * 2 - 1).to(dtype)).latents
    return out


def check_original(path):
    spec = importlib.util.spec_from_file_location("original_taesd", path)
    original = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(original)
    model = AutoencoderTiny().eval()
    common.fill(model, "taesd", "float16")
    encoder, decoder = original.Encoder(), original.Decoder()

    def renamed(half, shift):
        state = {}
        for key, value in half.state_dict().items():
            _, number, rest = key.split(".", 2)
            state[f"{int(number) + shift}.{rest}"] = value
        return state

    encoder.load_state_dict(renamed(model.encoder, 0))
    decoder.load_state_dict(renamed(model.decoder, 1))
    x, z = torch.rand(1, 3, 64, 64), 3 * torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(encoder(x), model.encode(2 * x - 1).latents, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(decoder(z), (model.decode(z).sample + 1) / 2, atol=1e-5, rtol=1e-5)
    print(f"{path}: the original's layers are diffusers', a decoder's one further on")


def main():
    if len(sys.argv) > 1:
        check_original(sys.argv[1])
    out, wide = tensors(torch.float32), tensors(torch.float64)
    error = {k: float((v.double() - wide[k].double()).abs().max()) for k, v in out.items() if v.dtype == torch.float32}
    out = {k: v if v.dtype == torch.uint8 else v.float() for k, v in out.items()}
    common.write("goldens/taesd.safetensors", out, common.metadata("taesd.py", seed=SEED, keep=KEEP, float32_error=error))


main()
