"""Writes the configuration folders of the synthetic models, without weights.

    python tools/reference/configs.py            all of them

models/sdxl/synthetic/{base,refiner,tiny,tiny-refiner} are embedded in goxl; testdata/models/{tiny-b,tiny-c,tiny-refiner-own}
are for tests. The JSON is what diffusers and transformers themselves save. The full-size folders have no vocabulary:
goxl's own CLIP vocabulary serves them. tiny-b and tiny-c differ from tiny and from each other in every field that
goxl reads; see README.md.
"""

import json
import os
import shutil
from collections import Counter

import diffusers
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, LCMScheduler, UNet2DConditionModel
from tokenizers import Regex, pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

import common

BOS, EOS, BANG = "<|startoftext|>", "<|endoftext|>", "!"
CORPUS = """a photo of an astronaut riding a horse on mars in the style of a painting with soft light and long shadows
a small red house by the sea at sunset, highly detailed, sharp focus, cinematic lighting, warm colours, wide angle
portrait of an old fisherman with a white beard, oil on canvas, dramatic sky, green hills and a river behind him
blurry, low quality, worst quality, bad anatomy, watermark, text, cropped, out of frame, deformed, ugly, noise
two cats sleeping on a wooden table near the window, morning fog over the mountain lake, bright clouds, golden hour
the quick brown fox jumps over the lazy dog while a black bird watches from the tallest tree in the forest
a castle made of glass, a city of towers, a garden full of flowers, a ship under the stars, a road into the desert"""

# The keys that the published scheduler configuration carries from other classes.
CARRIED = {"clip_sample": False, "set_alpha_to_one": False, "skip_prk_steps": True, "sample_max_value": 1.0}
SDXL_EULER = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                  prediction_type="epsilon", interpolation_type="linear", use_karras_sigmas=False,
                  timestep_spacing="leading", steps_offset=1, **CARRIED)


def sdxl_scheduler():
    return EulerDiscreteScheduler.from_config(SDXL_EULER)


# ---------------------------------------------------------------- tokenizers

def byte_symbols():
    """The 256 byte symbols in CLIP's order: printable bytes as themselves first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def learn_merges(count):
    """The first count byte-pair merges of CORPUS; ties go to the pair that sorts first."""
    split = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    words = Counter(w for w, _ in split.pre_tokenize_str(" ".join(CORPUS.split())))
    words = {(*w[:-1], w[-1] + "</w>"): n for w, n in words.items()}
    merges = []
    while len(merges) < count:
        pairs = Counter()
        for word, n in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += n
        if not pairs:
            raise ValueError(f"the corpus gives {len(merges)} merges, {count} asked for")
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        merged = {}
        for word, n in words.items():
            out, i = [], 0
            while i < len(word):
                if word[i:i + 2] == best:
                    out.append(best[0] + best[1])
                    i += 2
                else:
                    out.append(word[i])
                    i += 1
            merged[tuple(out)] = merged.get(tuple(out), 0) + n
        words = merged
    return merges


def tokenizer(merge_count, pad, length=77, specials_first=False):
    merges = learn_merges(merge_count)
    symbols = byte_symbols()
    tokens = symbols + [s + "</w>" for s in symbols] + [a + b for a, b in merges]
    tokens = [BOS, EOS] + tokens if specials_first else tokens + [BOS, EOS]
    if pad not in tokens:
        tokens.append(pad)
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=merges, pad_token=pad,
                         model_max_length=length)


def save_legacy(tok, path):
    """The four files that transformers 4 wrote, in place of tokenizer.json."""
    with open(os.path.join(path, "tokenizer.json"), encoding="utf-8") as f:
        model = json.load(f)["model"]
    os.remove(os.path.join(path, "tokenizer.json"))
    dump(os.path.join(path, "vocab.json"), model["vocab"], indent=None)
    with open(os.path.join(path, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(" ".join(m) + "\n" for m in model["merges"]))
    legacy_settings(path, tok.pad_token, tok.model_max_length)


def legacy_settings(path, pad, length=77):
    """tokenizer_config.json and special_tokens_map.json as the published SDXL folders have them."""
    def token(text):
        return {"content": text, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    dump(os.path.join(path, "special_tokens_map.json"),
         {"bos_token": token(BOS), "eos_token": token(EOS), "pad_token": pad, "unk_token": token(EOS)})
    config = {"add_prefix_space": False, "bos_token": {"__type": "AddedToken", **token(BOS)}, "do_lower_case": True,
              "eos_token": {"__type": "AddedToken", **token(EOS)}, "errors": "replace", "model_max_length": length,
              "pad_token": pad, "tokenizer_class": "CLIPTokenizer", "unk_token": {"__type": "AddedToken", **token(EOS)}}
    dump(os.path.join(path, "tokenizer_config.json"), config)


def dump(path, value, indent=2):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=indent, ensure_ascii=False)
        f.write("\n")


# ---------------------------------------------------------------- models

def text_config(hidden, inter, layers, heads, act, vocab, eos, bos=0, pad=1, projection=None, length=77, eps=1e-5):
    return CLIPTextConfig(hidden_size=hidden, intermediate_size=inter, num_hidden_layers=layers,
                          num_attention_heads=heads, hidden_act=act, vocab_size=vocab, eos_token_id=eos, bos_token_id=bos,
                          pad_token_id=pad, projection_dim=projection or hidden, max_position_embeddings=length,
                          layer_norm_eps=eps)


def unet(**config):
    down = config.pop("levels")
    config["down_block_types"] = [{"D": "DownBlock2D", "C": "CrossAttnDownBlock2D"}[c] for c in down]
    config["up_block_types"] = [{"D": "UpBlock2D", "C": "CrossAttnUpBlock2D"}[c] for c in reversed(down)]
    return UNet2DConditionModel(addition_embed_type="text_time", **config)


def vae(**config):
    n = len(config["block_out_channels"])
    return AutoencoderKL(down_block_types=["DownEncoderBlock2D"] * n, up_block_types=["UpDecoderBlock2D"] * n, **config)


TINY_VAE = dict(block_out_channels=[8, 16, 24, 24], layers_per_block=2, latent_channels=4, norm_num_groups=4,
                sample_size=64, scaling_factor=0.13025, force_upcast=True)


def tiny():
    t1, t2 = tokenizer(260, EOS), tokenizer(260, BANG)
    return dict(
        tokenizer=t1, tokenizer_2=t2, scheduler=sdxl_scheduler(), vae=vae(**TINY_VAE), force_zeros_for_empty_prompt=True,
        text_encoder=CLIPTextModel(text_config(32, 64, 3, 4, "quick_gelu", len(t1), 2)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(48, 96, 4, 3, "gelu", len(t2), 2)),
        unet=unet(levels="DCC", sample_size=8, block_out_channels=[16, 32, 48], layers_per_block=2,
                  transformer_layers_per_block=[1, 1, 2], attention_head_dim=[1, 2, 3], cross_attention_dim=80,
                  norm_num_groups=8, use_linear_projection=True, addition_time_embed_dim=8,
                  projection_class_embeddings_input_dim=48 + 6 * 8))


def tiny_refiner():
    t2 = tokenizer(260, BANG)
    return dict(
        tokenizer=None, tokenizer_2=t2, text_encoder=None, scheduler=sdxl_scheduler(), vae=vae(**TINY_VAE),
        force_zeros_for_empty_prompt=False, requires_aesthetics_score=True,
        text_encoder_2=CLIPTextModelWithProjection(text_config(48, 96, 4, 3, "gelu", len(t2), 2)),
        unet=unet(levels="DCCD", sample_size=8, block_out_channels=[16, 24, 32, 32], layers_per_block=2,
                  transformer_layers_per_block=2, attention_head_dim=[2, 3, 4, 4], cross_attention_dim=48,
                  norm_num_groups=8, use_linear_projection=True, addition_time_embed_dim=8,
                  projection_class_embeddings_input_dim=48 + 5 * 8))


def tiny_b():
    """Two levels, odd widths and head sizes, convolutional projections, v-prediction, latent statistics."""
    t1, t2 = tokenizer(200, BANG), tokenizer(300, EOS)
    scheduler = EulerDiscreteScheduler.from_config(dict(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True, steps_offset=0))
    return dict(
        tokenizer=t1, tokenizer_2=t2, scheduler=scheduler, force_zeros_for_empty_prompt=False,
        vae=vae(block_out_channels=[12, 18, 30], layers_per_block=1, latent_channels=4, norm_num_groups=6, sample_size=48,
                scaling_factor=0.5, force_upcast=False, mid_block_add_attention=False,
                latents_mean=[-1.6574, 1.886, -1.383, 2.5155], latents_std=[8.4927, 5.9022, 6.5498, 5.2299]),
        text_encoder=CLIPTextModel(text_config(24, 37, 2, 2, "gelu", 800, t1.eos_token_id, t1.bos_token_id, 0, eps=1e-3)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(
            40, 80, 3, 5, "quick_gelu", len(t2), 2, 0, 1, projection=28, eps=3e-3)),
        unet=unet(levels="CC", sample_size=12, block_out_channels=[20, 36], layers_per_block=1,
                  transformer_layers_per_block=2, attention_head_dim=4, cross_attention_dim=64, norm_num_groups=4,
                  norm_eps=1e-3, use_linear_projection=False, flip_sin_to_cos=False, freq_shift=1, addition_time_embed_dim=12,
                  projection_class_embeddings_input_dim=28 + 6 * 12))


def tiny_c():
    """Four levels with attention on the first and third, six latent channels, a guidance embedding (LCM), short prompts."""
    length = 33
    t1, t2 = tokenizer(100, "<|pad|>", length), tokenizer(150, EOS, length, specials_first=True)
    scheduler = LCMScheduler(beta_start=0.0008, beta_end=0.013, beta_schedule="linear", steps_offset=1,
                             original_inference_steps=50, set_alpha_to_one=False)
    return dict(
        tokenizer=t1, tokenizer_2=t2, scheduler=scheduler, force_zeros_for_empty_prompt=True,
        vae=vae(block_out_channels=[10, 20], layers_per_block=3, latent_channels=6, norm_num_groups=5, sample_size=16,
                scaling_factor=0.18215, force_upcast=True, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=CLIPTextModel(text_config(16, 50, 4, 1, "quick_gelu", len(t1), t1.eos_token_id, t1.bos_token_id,
                                               t1.pad_token_id, length=length, eps=5e-3)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(
            28, 60, 2, 7, "gelu", len(t2), t2.eos_token_id, t2.bos_token_id, t2.eos_token_id, projection=20,
            length=length, eps=1e-2)),
        unet=unet(levels="CDCD", sample_size=24, in_channels=6, out_channels=6, block_out_channels=[12, 24, 20, 28],
                  layers_per_block=3, transformer_layers_per_block=[1, 2, 1, 3], attention_head_dim=[3, 1, 5, 7],
                  cross_attention_dim=44, norm_num_groups=2, norm_eps=1e-2, use_linear_projection=True,
                  flip_sin_to_cos=False, freq_shift=0, addition_time_embed_dim=6, time_cond_proj_dim=30,
                  projection_class_embeddings_input_dim=20 + 6 * 6))


def full(kind):
    """The published architectures, on the meta device: only their configurations are saved."""
    refiner = kind == "refiner"
    unet_config = dict(
        sample_size=128, layers_per_block=2, use_linear_projection=True, addition_time_embed_dim=256, norm_num_groups=32)
    if refiner:
        unet_config.update(levels="DCCD", block_out_channels=[384, 768, 1536, 1536], transformer_layers_per_block=4,
                           attention_head_dim=[6, 12, 24, 24], cross_attention_dim=1280,
                           projection_class_embeddings_input_dim=2560)
    else:
        unet_config.update(levels="DCC", block_out_channels=[320, 640, 1280], transformer_layers_per_block=[1, 2, 10],
                           attention_head_dim=[5, 10, 20], cross_attention_dim=2048,
                           projection_class_embeddings_input_dim=2816)
    with torch.device("meta"):
        parts = dict(
            vae=vae(block_out_channels=[128, 256, 512, 512], layers_per_block=2, sample_size=1024, scaling_factor=0.13025,
                    force_upcast=True),
            text_encoder_2=CLIPTextModelWithProjection(text_config(1280, 5120, 32, 20, "gelu", 49408, 2)),
            text_encoder=None if refiner else CLIPTextModel(text_config(768, 3072, 12, 12, "quick_gelu", 49408, 2)),
            unet=unet(**unet_config))
    stand_in = tokenizer(1, EOS)
    parts.update(scheduler=sdxl_scheduler(), tokenizer=None if refiner else stand_in, tokenizer_2=stand_in,
                 force_zeros_for_empty_prompt=not refiner)
    if refiner:
        parts["requires_aesthetics_score"] = True
    return parts


# ---------------------------------------------------------------- writing

def save(name, parts):
    path = common.folder(name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    cls = (diffusers.StableDiffusionXLImg2ImgPipeline if "requires_aesthetics_score" in parts
           else diffusers.StableDiffusionXLPipeline)
    pipe = cls(**parts, add_watermarker=False)
    pipe.save_config(path)
    if name in ("base", "refiner"):  # only the keys that the published file has: from_config treats absent keys differently
        dump(os.path.join(path, "scheduler", "scheduler_config.json"), dict(
            sorted({"_class_name": "EulerDiscreteScheduler", "_diffusers_version": "0.19.0.dev0", **SDXL_EULER,
                    "trained_betas": None}.items())))
    else:
        pipe.scheduler.save_config(os.path.join(path, "scheduler"))
    pipe.unet.save_config(os.path.join(path, "unet"))
    pipe.vae.save_config(os.path.join(path, "vae"))
    for part in ("text_encoder", "text_encoder_2"):
        if parts[part] is not None:
            config = parts[part].config
            config.architectures = [type(parts[part]).__name__]
            config.save_pretrained(os.path.join(path, part))
    for part, pad in (("tokenizer", EOS), ("tokenizer_2", BANG)):
        if parts[part] is None:
            continue
        if name in ("base", "refiner"):
            legacy_settings(os.path.join(path, part), pad)
            continue
        parts[part].save_pretrained(os.path.join(path, part))
        if name == "tiny-c" and part == "tokenizer_2":
            save_legacy(parts[part], os.path.join(path, part))


def main():
    for name, parts in (("tiny", tiny()), ("tiny-refiner", tiny_refiner()), ("tiny-refiner-own", tiny_refiner()),
                        ("tiny-b", tiny_b()), ("tiny-c", tiny_c()), ("base", full("base")), ("refiner", full("refiner"))):
        save(name, parts)
        total = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(common.folder(name)) for f in fs)
        weights = {p: sum(v.numel() for v in parts[p].state_dict().values())
                   for p in ("text_encoder", "text_encoder_2", "unet", "vae") if parts[p] is not None}
        print(f"{os.path.relpath(common.folder(name), common.ROOT)}: {total} bytes; parameters {weights}")


if __name__ == "__main__":
    main()
