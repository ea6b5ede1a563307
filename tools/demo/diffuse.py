"""What base and refiner training share: the pool of latents, the loss, and drawing sample grids with diffusers' Euler scheduler."""
import os

import torch
from diffusers import EulerDiscreteScheduler

import models
import scenes

STEPS, GUIDANCE = 18, 4.0
PROMPTS = ["a red apple and a blue book on a green background", "two cats", "three red hearts", "a tasty burger", "a rocket in the night sky", "pizza on a blue background",
           "a small frog on the grass", "a car to the left of a bus", "a crown above a lion on a purple background", "an octopus in the sea", "sunflower",
           "a snowman in the snow", "grinning face on a black background", "a guitar on a pink background", "a big strawberry on a yellow background",
           "a dog and a cat on a teal background"]


def scheduler():
    return EulerDiscreteScheduler(**models.BETAS, prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing", steps_offset=1)


def load_pool(work, key, device):
    """One entry of latents.pt on the device; half precision stays."""
    pool = torch.load(os.path.join(work, "latents.pt"), weights_only=True, mmap=True)
    return {k: v.to(device) for k, v in pool[key].items()} if key in pool else None


class Conditioned(torch.nn.Module):
    """Text encoders and a UNet as one function of (noisy latents, time, tokens, time ids, keep); encoder1 may be None (the refiner)."""

    def __init__(self, encoder1, encoder2, unet):
        super().__init__()
        self.encoder1, self.encoder2, self.unet = encoder1, encoder2, unet

    def text(self, tokens):
        h, pooled = models.encode_text(self.encoder2, tokens)
        if self.encoder1 is not None:
            h = torch.cat([models.encode_text(self.encoder1, tokens)[0], h], -1)
        return h, pooled

    def forward(self, z, t, tokens, ids, keep):
        """keep (n): 0 puts zeros in the place of the text, as SDXL does for a negative prompt that is not given."""
        h, pooled = self.text(tokens)
        return self.unet(z, t, encoder_hidden_states=h * keep[:, None, None], added_cond_kwargs=dict(text_embeds=pooled * keep[:, None], time_ids=ids), return_dict=False)[0]


def times(n, top, device):
    """n whole steps of 0..top-1, one in each n-th of the range."""
    u = (torch.arange(n, device=device) + torch.rand(n, device=device)) / n
    return (u * top).long().clamp(max=top - 1)


@torch.no_grad()
def sample(net, tokens, seed, h=256, w=256, steps=STEPS, guidance=GUIDANCE, negative=None):
    """Base images' latents; negative tokens or None (zeros)."""
    d = tokens.device
    n = len(tokens)
    s = scheduler()
    s.set_timesteps(steps, device=d)
    g = torch.Generator(d).manual_seed(seed)
    z = torch.randn(n, 4, h // 8, w // 8, device=d, generator=g) * s.init_noise_sigma
    ids = torch.tensor([[h, w, 0, 0, h, w]], device=d, dtype=torch.float32).expand(2 * n, 6)
    both = torch.cat([tokens if negative is None else negative, tokens])
    keep = torch.ones(2 * n, device=d)
    if negative is None:
        keep[:n] = 0
    for t in s.timesteps:
        zi = s.scale_model_input(torch.cat([z, z]), t)
        u, c = net(zi, t.expand(2 * n), both, ids, keep).float().chunk(2)
        z = s.step(u + guidance * (c - u), t, z).prev_sample
    return z


@torch.no_grad()
def refine(net, z, tokens, empty, seed, strength=0.25, steps=20, guidance=2.0, score=6.0, negative_score=2.5):
    """Adds noise and takes it away again with the refiner: image to image in latents."""
    d, n = z.device, len(z)
    s = scheduler()
    s.set_timesteps(steps, device=d)
    first = steps - int(steps * strength)
    g = torch.Generator(d).manual_seed(seed)
    s.set_begin_index(first)
    z = s.add_noise(z, torch.randn(z.shape, device=d, generator=g), s.timesteps[first : first + 1])
    h, w = z.shape[-2] * 8, z.shape[-1] * 8
    ids = torch.tensor([[h, w, 0, 0, negative_score]] * n + [[h, w, 0, 0, score]] * n, device=d, dtype=torch.float32)
    both = torch.cat([empty.expand(n, -1), tokens])
    keep = torch.ones(2 * n, device=d)
    for t in s.timesteps[first:]:
        zi = s.scale_model_input(torch.cat([z, z]), t)
        u, c = net(zi, t.expand(2 * n), both, ids, keep).float().chunk(2)
        z = s.step(u + guidance * (c - u), t, z).prev_sample
    return z


def decode(vae, z):
    return torch.cat([vae.decode(b).sample for b in (z.float() / vae.config.scaling_factor).split(32)])
