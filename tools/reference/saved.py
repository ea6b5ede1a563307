"""Writes testdata/saved: a whole small pipeline as diffusers' save_pretrained leaves it, with its weights (fp16 variant,
the UNet in shards), and testdata/goldens/saved.safetensors: one run of that folder in float32.

    python tools/reference/saved.py
"""

import os
import shutil

import diffusers
import torch
from transformers import CLIPTextModel, CLIPTextModelWithProjection

import common
import configs

SEED = 11


def build():
    torch.manual_seed(SEED)
    t1, t2 = configs.tokenizer(8, configs.EOS), configs.tokenizer(8, configs.BANG)
    return diffusers.StableDiffusionXLPipeline(
        tokenizer=t1, tokenizer_2=t2, scheduler=configs.sdxl_scheduler(), add_watermarker=False,
        text_encoder=CLIPTextModel(configs.text_config(8, 16, 2, 2, "quick_gelu", len(t1), 2)),
        text_encoder_2=CLIPTextModelWithProjection(configs.text_config(16, 32, 2, 2, "gelu", len(t2), 2)),
        vae=configs.vae(block_out_channels=[4, 8], layers_per_block=1, norm_num_groups=2, sample_size=16,
                        scaling_factor=0.13025),
        unet=configs.unet(levels="DC", sample_size=8, block_out_channels=[8, 16], layers_per_block=1,
                          transformer_layers_per_block=[1, 1], attention_head_dim=[1, 2], cross_attention_dim=24,
                          norm_num_groups=4, use_linear_projection=True, addition_time_embed_dim=8,
                          projection_class_embeddings_input_dim=16 + 48))


def main():
    path = os.path.join(common.TESTDATA, "saved")
    shutil.rmtree(path, ignore_errors=True)
    build().to(torch.float16).save_pretrained(path, variant="fp16", max_shard_size="40KB")
    pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(path, variant="fp16", torch_dtype=torch.float32,
                                                               add_watermarker=False)
    assert pipe.unet.dtype == pipe.text_encoder.dtype == torch.float32
    pipe.set_progress_bar_config(disable=True)
    call = dict(prompt="a red house", negative_prompt="blurry", width=24, height=16, num_inference_steps=4)
    latents = pipe(generator=torch.Generator("cpu").manual_seed(0), output_type="latent", **call).images
    image = pipe(generator=torch.Generator("cpu").manual_seed(0), output_type="np", **call).images
    common.write("goldens/saved.safetensors", {"latents": latents, "image": torch.from_numpy(image)},
                 common.metadata("saved.py", seed="0", call=call))
    for folder, _, files in sorted(os.walk(path)):
        for name in sorted(files):
            os.chmod(os.path.join(folder, name), 0o644)
            print(os.path.relpath(os.path.join(folder, name), path), os.path.getsize(os.path.join(folder, name)))


if __name__ == "__main__":
    main()
