"""Writes the diffusers folders: python export.py --data DATA --work WORK --out OUT. OUT/base is whole; OUT/refiner holds what is its own (UNet, scheduler, model_index.json): its
tokenizer_2, text_encoder_2 and vae are the base's, and --whole copies them, so that diffusers loads that folder too. All weights are the averaged ones, in float16."""
import argparse
import os
import shutil

import torch
from transformers import CLIPTokenizer

import diffuse
import models
import train_base
from common import load, put, write_json

VERSION = "0.42.1"
SCHEDULER = ["diffusers", "EulerDiscreteScheduler"]
# By latent_rgb.py, for the previews; to be made again for another VAE.
LATENT_RGB = {"latent_rgb_factors": [[0.0033, 0.148, -0.9209], [-0.5799, -0.182, -1.0861], [0.4937, 0.0665, 0.471], [-0.067, -0.272, -0.5196]],
              "latent_rgb_factors_bias": [0.2524, 0.2159, 0.1595]}


def size(folder):
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(folder) for f in fs)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--whole", action="store_true")
    a = p.parse_args()
    base, refiner = os.path.join(a.out, "base"), os.path.join(a.out, "refiner")
    for f in (base, refiner):
        shutil.rmtree(f, ignore_errors=True)
        os.makedirs(f)
    net = train_base.build(a.data, "cpu")
    put(net, load(a.work, "base")["ema"])
    vae = models.vae()
    vae.load_state_dict({k: v.float() for k, v in load(a.work, "vae_final").items()})
    vae.register_to_config(scaling_factor=1.0)
    tok = CLIPTokenizer.from_pretrained(os.path.join(a.data, "tokenizer"))
    ids = torch.tensor(tok(diffuse.PROMPTS, padding="max_length", max_length=models.TOKENS, truncation=True)["input_ids"])
    for encoder in (net.encoder1, net.encoder2):
        encoder.eval()
        with torch.no_grad():
            ours, pooled = models.encode_text(encoder, ids)
            theirs = encoder(ids, output_hidden_states=True)
        worst = (ours - theirs.hidden_states[-2]).abs().max().item()
        if pooled is not None:
            worst = max(worst, (pooled - theirs.text_embeds).abs().max().item())
        if not worst < 1e-4:
            raise SystemExit(f"{type(encoder).__name__}: training's encoder and the library's differ by {worst}")
    for folder, model in (("text_encoder", net.encoder1), ("text_encoder_2", net.encoder2), ("unet", net.unet), ("vae", vae)):
        model.half().save_pretrained(os.path.join(base, folder))
    for folder in ("tokenizer", "tokenizer_2"):
        tok.save_pretrained(os.path.join(base, folder))
    diffuse.scheduler().save_pretrained(os.path.join(base, "scheduler"))
    clip = lambda cls: ["transformers", cls]
    write_json(os.path.join(base, "model_index.json"), {
        "_class_name": "StableDiffusionXLPipeline", "_diffusers_version": VERSION, "feature_extractor": [None, None], "force_zeros_for_empty_prompt": True,
        "image_encoder": [None, None], "scheduler": SCHEDULER, "text_encoder": clip("CLIPTextModel"), "text_encoder_2": clip("CLIPTextModelWithProjection"),
        "tokenizer": clip("CLIPTokenizer"), "tokenizer_2": clip("CLIPTokenizer"), "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]})
    write_json(os.path.join(base, "goxl.json"), {"num_inference_steps": diffuse.STEPS, "guidance_scale": diffuse.GUIDANCE, "height": 256, "width": 256, "trained_pixels": 256 * 256, **LATENT_RGB})
    if state := load(a.work, "refiner"):
        unet = models.refiner_unet()
        put(unet, state["ema"])
        unet.half().save_pretrained(os.path.join(refiner, "unet"))
        diffuse.scheduler().save_pretrained(os.path.join(refiner, "scheduler"))
        write_json(os.path.join(refiner, "model_index.json"), {
            "_class_name": "StableDiffusionXLImg2ImgPipeline", "_diffusers_version": VERSION, "feature_extractor": [None, None], "force_zeros_for_empty_prompt": False,
            "image_encoder": [None, None], "requires_aesthetics_score": True, "scheduler": SCHEDULER, "text_encoder": [None, None],
            "text_encoder_2": clip("CLIPTextModelWithProjection"), "tokenizer": [None, None], "tokenizer_2": clip("CLIPTokenizer"),
            "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]})
        write_json(os.path.join(refiner, "goxl.json"), {"num_inference_steps": 20, "guidance_scale": 1.0, "strength": 0.15, "height": 256, "width": 256, "trained_pixels": 256 * 256, **LATENT_RGB})
        if a.whole:
            for folder in ("tokenizer_2", "text_encoder_2", "vae"):
                shutil.copytree(os.path.join(base, folder), os.path.join(refiner, folder))
    print(f"{base}: {size(base)} bytes; {refiner}: {size(refiner)} bytes")


if __name__ == "__main__":
    main()
