"""The shapes of the demo's models, as diffusers and transformers classes, and how the training code runs their text encoders."""
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

TOKENS = 40  # positions of both text encoders
WIDTH1, WIDTH2 = 96, 128  # hidden sizes of the text encoders; the second's pooled vector has WIDTH2 values too
TIME_WIDTH = 32  # sinusoidal features of one of the time ids
BETAS = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def vae():
    # No attention in the middle: the VAE is then the same function at every size, and fast on a CPU.
    return AutoencoderKL(in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(32, 64, 80, 96), layers_per_block=1,
                         down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, norm_num_groups=16, sample_size=256,
                         mid_block_add_attention=False, force_upcast=False)


def text_encoder(vocab, number):
    """number 1: CLIPTextModel; 2: CLIPTextModelWithProjection. Padding is the end token; the pooled row is the first end token's (the largest id)."""
    width, layers, cls, act = [(WIDTH1, 3, CLIPTextModel, "quick_gelu"), (WIDTH2, 3, CLIPTextModelWithProjection, "gelu")][number - 1]
    return cls(CLIPTextConfig(vocab_size=vocab, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=width // 32,
                              max_position_embeddings=TOKENS, hidden_act=act, projection_dim=width, bos_token_id=0, eos_token_id=2, pad_token_id=1))


def _unet(channels, layers, attention, context, ids, pooled):
    n = len(channels)
    down = tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attention)
    up = tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention))
    return UNet2DConditionModel(sample_size=32, in_channels=4, out_channels=4, down_block_types=down, up_block_types=up, block_out_channels=channels,
                                layers_per_block=layers, transformer_layers_per_block=tuple(max(1, a) for a in attention),
                                attention_head_dim=tuple(c // 32 for c in channels), cross_attention_dim=context, use_linear_projection=True,
                                norm_num_groups=16, addition_embed_type="text_time", addition_time_embed_dim=TIME_WIDTH,
                                projection_class_embeddings_input_dim=pooled + ids * TIME_WIDTH)


def base_unet():
    return _unet((64, 128, 160), 1, (0, 1, 1), WIDTH1 + WIDTH2, 6, WIDTH2)


def refiner_unet():
    return _unet((64, 96), 1, (0, 1), WIDTH2, 5, WIDTH2)


def alphas_cumprod(device="cpu"):
    """SDXL's schedule rescaled to end in pure noise, float64 inside: rescale_betas_zero_snr of diffusers' schedulers."""
    betas = torch.linspace(BETAS["beta_start"] ** 0.5, BETAS["beta_end"] ** 0.5, 1000, dtype=torch.float64) ** 2
    root = torch.cumprod(1 - betas, 0).sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return (root**2).float().to(device)


def millions(*models):
    return sum(p.numel() for m in models for p in m.parameters()) / 1e6


def encode_text(model, ids):
    """Returns (output of the last layer but one, pooled or None), as the pipelines take them; no mask but the causal one. Plain tensor code without the
    library's mask handling, so that a CUDA graph can hold it; export.py checks it against the library."""
    t = getattr(model, "text_model", model)
    x = t.embeddings.token_embedding(ids) + t.embeddings.position_embedding.weight[: ids.shape[1]]
    config = model.config
    penultimate = None
    for i, layer in enumerate(t.encoder.layers):
        if i == config.num_hidden_layers - 1:
            penultimate = x
            if not hasattr(model, "text_projection"):
                return penultimate, None
        h = layer.layer_norm1(x)
        a = layer.self_attn
        split = lambda y: y.unflatten(-1, (config.num_attention_heads, -1)).transpose(1, 2)
        h = F.scaled_dot_product_attention(split(a.q_proj(h)), split(a.k_proj(h)), split(a.v_proj(h)), is_causal=True)
        x = x + a.out_proj(h.transpose(1, 2).flatten(2))
        h = layer.mlp.fc1(layer.layer_norm2(x))
        h = h * torch.sigmoid(1.702 * h) if config.hidden_act == "quick_gelu" else F.gelu(h)
        x = x + layer.mlp.fc2(h)
    x = t.final_layer_norm(x)
    end = ids.argmax(-1)
    pooled = model.text_projection(torch.gather(x, 1, end[:, None, None].expand(-1, 1, x.shape[-1]))[:, 0])
    return penultimate, pooled


def freeze_unused(encoder1):
    """The pipelines read encoder 1's last layer but one: nothing after it is ever trained."""
    t = getattr(encoder1, "text_model", encoder1)
    for m in (t.encoder.layers[-1], t.final_layer_norm):
        m.requires_grad_(False)
