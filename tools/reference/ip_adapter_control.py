"""Writes testdata/goldens/ip_adapter_control.safetensors: runs with a ControlNet and IP-Adapters together.

    python tools/reference/ip_adapter_control.py

The adapters, the encoder and the reference images are ip_adapter.py's, the net "full" and the control image "a" are
controlnet.py's.
"""

import diffusers
import torch

import common
import controlnet
import ip_adapter


def run(adapters, images, scale):
    net = controlnet.net("full")
    drawn, stored = controlnet.images({}), ip_adapter.pictures()
    pipe = diffusers.StableDiffusionXLControlNetPipeline(
        **{k: v for k, v in common.pipeline("tiny").components.items() if k not in ("image_encoder", "feature_extractor")},
        controlnet=net, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    pipe.register_modules(image_encoder=ip_adapter.vision("encoder-a"),
                          feature_extractor=ip_adapter.CLIPImageProcessorPil(size=32, crop_size=32))
    pipe.load_ip_adapter([ip_adapter.adapter(a) for a in adapters], subfolder=[""] * len(adapters),
                         weight_name=[""] * len(adapters), image_encoder_folder=None, low_cpu_mem_usage=False)
    pipe.set_ip_adapter_scale(scale)
    return pipe("a lighthouse", image=drawn["a"], ip_adapter_image=[[ip_adapter.pil(stored["image/" + i]) for i in of] for of in images],
                width=48, height=40, num_inference_steps=4, generator=torch.Generator().manual_seed(7), output_type="latent").images


def main():
    diffusers.logging.set_verbosity_error()
    out = {"base": run(["base"], [["a"]], [1.0]), "both": run(["base", "plus"], [["a"], ["b", "c"]], [0.7, 0.6])}
    common.write("goldens/ip_adapter_control.safetensors", out, common.metadata("ip_adapter_control.py"))


if __name__ == "__main__":
    main()
