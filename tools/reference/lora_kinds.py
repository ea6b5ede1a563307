"""The adapters that lora.py writes: each kind by the library that defines it, on modules of the tiny model.

A case is a function of a pipeline that returns (state dict, metadata, merged): merged maps (component, tensor) to the
weight that the library itself makes at strength 1. Names of components' tensors are those of checkpoints.
"""

import importlib
import math
import os
import sys
import types

import torch
import torch.nn.functional as F

import common

BUILD = os.path.join(common.ROOT, "build")

# Modules by diffusers' path, with their names in the original code.
Q = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"  # square
K = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"  # the context's width
OUT = "up_blocks.0.attentions.2.transformer_blocks.0.attn2.to_out.0"  # with bias
CONV = "down_blocks.0.resnets.0.conv1"  # 3x3
ONE = "down_blocks.1.resnets.0.conv_shortcut"  # 1x1
NORM = "mid_block.attentions.0.norm"
ORIGINAL = {Q: "input_blocks.4.1.transformer_blocks.0.attn1.to_q", K: "input_blocks.4.1.transformer_blocks.0.attn2.to_k",
            OUT: "output_blocks.2.1.transformer_blocks.0.attn2.to_out.0", CONV: "input_blocks.1.0.in_layers.2",
            ONE: "input_blocks.4.0.skip_connection", NORM: "middle_block.1.norm"}
TEXT = "encoder.layers.0.self_attn.q_proj"
MLP = "encoder.layers.1.mlp.fc1"


def load(folder, package, name):
    """A module of a package that is not installed, without running the package's own __init__."""
    if package not in sys.modules:
        p = types.ModuleType(package)
        p.__path__ = [os.path.join(BUILD, folder)]
        sys.modules[package] = p
    return importlib.import_module(f"{package}.{name}")


def sd_scripts(name):
    """A module of kohya's sd-scripts; its logging needs what is not installed."""
    if "library.utils" not in sys.modules:
        sys.path.insert(0, os.path.join(BUILD, "sd-scripts"))
        library, utils = types.ModuleType("library"), types.ModuleType("library.utils")
        library.__path__ = [os.path.join(BUILD, "sd-scripts", "library")]
        utils.setup_logging = lambda *a, **k: None
        sys.modules.update({"library": library, "library.utils": utils})
    return load("sd-scripts/networks", "networks", name)


def module(pipe, path, component="unet"):
    return getattr(pipe, component).get_submodule(("text_model." if component == "text_encoder_2" else "") + path)


def tensor_name(component, path):
    return path if component == "unet" else "text_model." + path


def randomise(parameters, generator, std=0.3):
    for p in parameters:
        p.data.copy_(torch.randn(p.shape, generator=generator) * std)


def kohya_name(path, original, prefix="lora_unet"):
    return f"{prefix}_{ORIGINAL[path] if original else path}".replace(".", "_")


# ---------------------------------------------------------------- LyCORIS

def lycoris(cls, paths, original=True, name="lora_unet", std=0.3, tune=None, **options):
    """Modules of LyCORIS 4 on layers of the UNet. What a module merges must be what it computes with."""
    def case(pipe, generator):
        import lycoris.modules as kinds
        made = getattr(importlib.import_module(f"lycoris.modules.{cls[0]}"), cls[1])
        state, merged = {}, {}
        for path in paths:
            layer = module(pipe, path)
            m = made(kohya_name(path, original, name), layer, **options)
            keep = {k: v.data.clone() for k, v in m.named_parameters() if "dora_scale" in k or "rescale" in k}
            randomise(m.parameters(), generator, std)
            for k, v in m.named_parameters():
                if k in keep:
                    v.data.copy_(keep[k] * (1 + 0.2 * torch.randn(v.shape, generator=generator)))
            if tune:
                tune(m)
            m.eval()
            # Before apply_to, which changes what a whole difference means.
            weights = {k: v.detach().clone() for k, v in m.state_dict().items() if k not in ("on_input",)}
            if hasattr(m, "is_diff"):
                weights = {"diff": m.weight.detach().clone()}
                if m.bias is not None:
                    weights["diff_b"] = m.bias.detach().clone()
            for key in ("on_input",):
                if key in m.state_dict():
                    weights[key] = m.state_dict()[key].clone()
            weight, bias = lycoris_weight(m)
            if not hasattr(m, "is_diff"):
                check_forward(m, layer, weight, bias, generator)
            for key, value in weights.items():
                state[f"{m.lora_name}.{key}"] = value.contiguous()
            merged["unet", path + ".weight"] = weight.detach().clone()
            if bias is not None:
                merged["unet", path + ".bias"] = bias.detach().clone()
        return state, {}, merged
    return case


def lycoris_weight(m):
    """The weight that a module computes with: LoHa and LoKr scale twice in get_merged_weight of 4.1.3, but not in forward."""
    if type(m).__name__ in ("LohaModule", "LokrModule"):
        weight = m.org_weight + m.get_weight(m.shape) * m.scalar
        return (m.apply_weight_decompose(weight) if m.wd else weight), None
    if type(m).__name__ == "DyLoraModule":
        up, down = torch.cat(list(m.up_list), dim=1), torch.cat(list(m.down_list))
        return m.org_weight + (up @ down).view(m.shape) * m.scale, None
    weight, bias = m.get_merged_weight(1)
    return weight, bias


def check_forward(m, layer, weight, bias, generator):
    if type(m).__name__ == "DyLoraModule":  # draws a rank at random
        return
    x = torch.randn(2, layer.in_features, generator=generator) if isinstance(layer, torch.nn.Linear) else \
        torch.randn(1, layer.weight.shape[1], 6, 6, generator=generator) if isinstance(layer, torch.nn.Conv2d) else \
        torch.randn(1, layer.weight.shape[0], 6, 6, generator=generator)
    forward = layer.forward
    m.apply_to()
    got = m.forward(x)
    layer.forward = forward
    old = {k: p.data.clone() for k, p in layer.named_parameters()}
    layer.weight.data.copy_(weight)
    if bias is not None:
        layer.bias.data.copy_(bias)
    want = layer(x)
    for k, p in layer.named_parameters():
        p.data.copy_(old[k])
    error = ((got - want).norm() / want.norm()).item()
    if not error < 1e-5:
        raise RuntimeError(f"{type(m).__name__}: its forward is not its weight: {error}")


def lycoris2(name, cls, paths, key, **options):
    """Modules of LyCORIS 2.0, whose OFT and GLoRA have older forms."""
    def case(pipe, generator):
        made = getattr(load("lycoris2/lycoris/modules", "lycoris2", name), cls)
        state, merged = {}, {}
        for path in paths:
            layer = module(pipe, path)
            m = made(kohya_name(path, True), layer, **options)
            randomise(m.parameters(), generator)
            weight = m.make_weight()
            if name == "glora":
                weight = layer.weight + weight.view(layer.weight.shape)
            for k, v in m.state_dict().items():
                state[f"{m.lora_name}.{k}"] = v.detach().clone().contiguous()
            if not any(k.endswith(key) for k in state):
                raise RuntimeError(f"{name}: {list(state)}")
            merged["unet", path + ".weight"] = weight.detach().clone()
        return state, {}, merged
    return case


def lycoris_wrapper(pipe, generator):
    """LyCORIS around a whole UNet, as SimpleTuner trains and saves it: names begin with lycoris_."""
    from lycoris import LycorisNetwork, create_lycoris
    LycorisNetwork.apply_preset({"target_name": [Q, K, OUT], "target_module": []})
    network = create_lycoris(pipe.unet, 1.0, linear_dim=2, linear_alpha=1, algo="lokr", factor=4)
    merged = {}
    for m in network.loras:
        randomise(m.parameters(), generator)
        path = next(p for p in (Q, K, OUT) if m.lora_name.endswith(p.replace(".", "_")))
        merged["unet", path + ".weight"] = lycoris_weight(m)[0].detach().clone()
    network.apply_to()  # from then on it is saved with its modules
    return {k: v.detach().clone().contiguous() for k, v in network.state_dict().items()}, {}, merged


def sparse(pipe, generator):
    """A LoRA with what its extraction leaves over, as lycoris.utils.extract_diff stores it."""
    from lycoris.utils import make_sparse
    state, metadata, merged = lycoris(("locon", "LoConModule"), [Q, CONV], lora_dim=2, alpha=2)(pipe, generator)
    for path in (Q, CONV):
        weight = module(pipe, path).weight
        rest = make_sparse(torch.randn(weight.shape[0], weight[0].numel(), generator=generator), 0.95).to_sparse().coalesce()
        name = kohya_name(path, True)
        state[f"{name}.bias_indices"] = rest.indices().to(torch.int16)
        state[f"{name}.bias_values"] = rest.values()
        state[f"{name}.bias_size"] = torch.tensor([weight.shape[0], weight[0].numel()]).to(torch.int16)
        merged["unet", path + ".weight"] += rest.to_dense().view(weight.shape)
    return state, metadata, merged


# ---------------------------------------------------------------- kohya's sd-scripts

def kohya(pipe, generator, alpha=(3, 1, 4)):
    """networks/lora.py on UNet and both encoders, with a rank and an alpha of each module's own."""
    lora = sd_scripts("lora")
    state, merged = {}, {}
    targets = [("unet", p, kohya_name(p, i % 2 == 0)) for i, p in enumerate((Q, K, OUT, CONV, ONE))]
    targets += [("text_encoder", TEXT, "lora_te1_text_model_" + TEXT.replace(".", "_")),
                ("text_encoder_2", TEXT, "lora_te2_text_model_" + TEXT.replace(".", "_")),
                ("text_encoder_2", MLP, "lora_te2_text_model_" + MLP.replace(".", "_"))]
    for i, (component, path, name) in enumerate(targets):
        layer = module(pipe, path, component)
        m = lora.LoRAInfModule(name, layer, 1.0, lora_dim=2 + i % 3, alpha=alpha[i % len(alpha)])
        randomise([p for k, p in m.named_parameters() if k.startswith("lora_")], generator)  # the layer is among them
        sd = {k: v.detach().clone() for k, v in m.state_dict().items() if not k.startswith("org_module")}
        state.update({f"{name}.{k}": v for k, v in sd.items()})
        old = layer.weight.data.clone()
        m.merge_to({k: v for k, v in sd.items() if k != "alpha"}, torch.float32, "cpu")
        merged[component, tensor_name(component, path) + ".weight"] = layer.weight.data.clone()
        layer.weight.data.copy_(old)
    return state, {"ss_base_model_version": "sd_v1"}, merged  # as often, the metadata is wrong


def kohya_oft(pipe, generator):
    oft = sd_scripts("oft")
    state, merged = {}, {}
    for path in (Q, CONV, ONE):
        layer = module(pipe, path)
        m = oft.OFTInfModule(kohya_name(path, True, "oft_unet"), layer, 1.0, dim=4, alpha=0.02)
        randomise(m.parameters(), generator)
        state.update({f"{m.oft_name}.{k}": v.detach().clone() for k, v in m.state_dict().items()})
        old = layer.weight.data.clone()
        m.merge_to(1.0)
        merged["unet", path + ".weight"] = layer.weight.data.clone()
        layer.weight.data.copy_(old)
    return state, {}, merged


def kohya_dylora(pipe, generator):
    dylora, lora = sd_scripts("dylora"), sd_scripts("lora")
    state, merged = {}, {}
    for path in (Q, CONV, ONE):
        layer = module(pipe, path)
        m = dylora.DyLoRAModule(kohya_name(path, True), layer, 1.0, lora_dim=4, alpha=2, unit=2)
        randomise(list(m.lora_A) + list(m.lora_B), generator)
        sd = m.state_dict()
        state[f"{m.lora_name}.alpha"] = sd["alpha"].clone()
        for part in ("lora_down.weight", "lora_up.weight"):
            state[f"{m.lora_name}.{part}"] = sd[f"{m.lora_name}.{part}"].detach().clone()
        whole = lora.LoRAInfModule(m.lora_name, layer, 1.0, lora_dim=4, alpha=2)
        old = layer.weight.data.clone()
        whole.merge_to({p: state[f"{m.lora_name}.{p}"] for p in ("lora_down.weight", "lora_up.weight")}, torch.float32, "cpu")
        merged["unet", path + ".weight"] = layer.weight.data.clone()
        layer.weight.data.copy_(old)
    return state, {}, merged
