"""Writes testdata/goldens/unet_shapes.safetensors: one call of small UNets shaped like SDXL's relatives.

    python tools/reference/unet_shapes.py

Depths, blocks a level, middle and input channels are the published models'; widths are not. Weights are synth.py's, of
the component unet. Metadata "configs" has each UNet's config.json; "original" the SHA-256 of the lines "original name,
space, diffusers name", sorted, by which diffusers' own converter reads each of them, and the full base and refiner,
so that its single-file code and goxl's are held against each other.
"""

import hashlib
import json

import diffusers
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

import common

SEED = 20261129
WIDTHS = dict(sample_size=8, block_out_channels=[16, 32, 48], attention_head_dim=[1, 2, 3], cross_attention_dim=80,
              norm_num_groups=8, use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
              projection_class_embeddings_input_dim=48 + 6 * 8,
              down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
              up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"])
# ComfyUI comfy/supported_models.py and model_detection.py: transformer_depth, transformer_depth_output (from the end),
# transformer_depth_middle -1 (one residual block) and -2 (nothing).
SHAPES = {
    "ssd-1b": dict(transformer_layers_per_block=[1, [2, 2], [4, 4]], mid_block_type="UNetMidBlock2D",
                   reverse_transformer_layers_per_block=[[4, 4, 10], [2, 1, 1], 1]),
    "segmind-vega": dict(transformer_layers_per_block=[1, 1, 2], mid_block_type="UNetMidBlock2D"),
    "koala-700m": dict(transformer_layers_per_block=[1, 2, 5], layers_per_block=1, mid_block_type=None),
    "koala-1b": dict(transformer_layers_per_block=[1, 2, 6], layers_per_block=1),
    "inpainting": dict(transformer_layers_per_block=[1, 1, 2], in_channels=9),
    "instruct": dict(transformer_layers_per_block=[1, 1, 2], in_channels=8),
}


def original_names(config, names):
    """The hash of the original and the diffusers name of each tensor, by diffusers' converter, run on names in place of
    tensors."""
    levels, layers = len(config["block_out_channels"]), config["layers_per_block"] + 1
    modules = ["time_embed.0", "time_embed.2", "label_emb.0.0", "label_emb.0.2", "input_blocks.0.0", "out.0", "out.2"]
    resnet = ["in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3", "skip_connection"]
    inner = sorted({n.split("attentions.", 1)[1].split(".", 1)[1].rsplit(".", 1)[0] for n in names if "attentions." in n})
    for i in range(1, levels * layers):
        if i % layers == 0:
            modules.append(f"input_blocks.{i}.0.op")
            continue
        modules += [f"input_blocks.{i}.0.{r}" for r in resnet] + [f"input_blocks.{i}.1.{a}" for a in inner]
    for i in (0, 1, 2):
        modules += [f"middle_block.{i}.{r}" for r in resnet] if i != 1 else [f"middle_block.1.{a}" for a in inner]
    for i in range(levels * layers):
        modules += [f"output_blocks.{i}.0.{r}" for r in resnet] + [f"output_blocks.{i}.1.{a}" for a in inner]
        if i % layers == layers - 1 and i < levels * layers - 1:
            attention = config["up_block_types"][i // layers].startswith("CrossAttn")
            modules.append(f"output_blocks.{i}.{2 if attention else 1}.conv")
    candidates = {f"model.diffusion_model.{m}.{kind}": f"{m}.{kind}" for m in modules for kind in ("weight", "bias")}
    converted = convert_ldm_unet_checkpoint(candidates, config)
    missing = [n for n in names if n not in converted]
    assert not missing, missing
    lines = sorted(f"{converted[n]} {n}" for n in names)
    assert len({line.split()[0] for line in lines}) == len(names)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def main():
    diffusers.logging.set_verbosity_error()
    generator = torch.Generator("cpu").manual_seed(SEED)
    out = {"unet.context": torch.randn(2, 7, 80, generator=generator), "unet.text_embeds": torch.randn(2, 48, generator=generator),
           "unet.time_ids": torch.tensor([[64, 72, 0, 0, 64, 72], [1024, 768, 128, 16, 1000, 513]], dtype=torch.float32)}
    configs, original, errors = {}, {}, {}
    for name in ("base", "refiner"):
        config = UNet2DConditionModel.load_config(f"{common.folder(name)}/unet")
        with torch.device("meta"):
            original[name] = original_names(config, list(UNet2DConditionModel.from_config(config).state_dict()))
    for name, shape in SHAPES.items():
        config = dict(json.loads(UNet2DConditionModel(**WIDTHS, **shape).to_json_string()))
        configs[name] = config
        model = common.fill(UNet2DConditionModel.from_config(config), "unet")
        original[name] = original_names(config, list(model.state_dict()))
        sample = torch.randn(2, config["in_channels"], 9, 12, generator=generator)
        for dtype in (torch.float32, torch.float64):
            model.to(dtype)
            result = model(sample.to(dtype), torch.tensor(37.5), encoder_hidden_states=out["unet.context"].to(dtype),
                           added_cond_kwargs={k: out[f"unet.{k}"].to(dtype) for k in ("text_embeds", "time_ids")}).sample
            if dtype == torch.float32:
                out[f"{name}.sample"], out[f"{name}.timestep"], out[f"{name}.output"] = sample, torch.tensor([37.5]), result
        errors[name] = float(f"{(out[name + '.output'].double() - result).abs().max().item():.3g}")
        assert torch.isfinite(result).all()
        print(f"  {name}: std {result.std():.5f}, float32 error {errors[name]:.1e}")
    common.write("goldens/unet_shapes.safetensors", out, common.metadata(
        "unet_shapes.py", seed=SEED, configs=configs, original=original, float32_error=errors))


if __name__ == "__main__":
    main()
