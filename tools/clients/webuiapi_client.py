"""Uses every method of the webuiapi client that goxl's /sdapi/v1 serves, and checks what comes back."""

import sys
import threading
import time

import requests
import webuiapi
from PIL import Image

SIZE = {"width": 64, "height": 64}


def wait_for(address):
    for _ in range(600):
        try:
            if requests.get(f"http://{address}/readyz", timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.1)
    sys.exit(f"no server is ready at {address}")


def refused(status, part, call):
    """The call must fail with a status, and name part."""
    try:
        call()
    except RuntimeError as e:
        assert e.args[0] == status and part in e.args[1], e.args
        return
    raise AssertionError(f"not refused: {part}")


def same(a, b):
    return a.size == b.size and a.tobytes() == b.tobytes()


def lists(api):
    assert {"Euler", "Euler a", "DPM++ 2M", "DDIM"} <= set(api.util_get_sampler_names())
    assert {"automatic", "karras", "sgm_uniform"} <= set(api.util_get_scheduler_names())
    models = api.util_get_model_names()
    assert models and api.util_get_current_model() in models
    for get in (api.get_sd_vae, api.get_upscalers, api.get_latent_upscale_modes, api.get_loras, api.get_hypernetworks,
                api.get_face_restorers, api.get_realesrgan_models, api.get_prompt_styles):
        assert isinstance(get(), list), get
    for get in (api.get_scripts, api.get_embeddings, api.get_memory, api.get_cmd_flags, api.get_options):
        assert isinstance(get(), dict), get
    assert api.get_memory()["ram"]["used"] > 0
    api.util_wait_for_ready(check_interval=0.1)
    assert api.refresh_checkpoints() is not None
    print("lists ok:", ", ".join(models))


def options(api):
    api.set_options({"CLIP_stop_at_last_layers": 2, "samples_format": "png"})
    assert api.get_options()["CLIP_stop_at_last_layers"] == 2
    api.util_set_model(api.util_get_model_names()[0])
    answer = api.set_options({"sd_model_checkpoint": "none such"})
    assert "none such" in answer["detail"] and api.util_get_model_names()[0] in answer["detail"], answer
    print("options ok")


def text_to_image(api):
    one = api.txt2img(prompt="a (red:1.2) circle", negative_prompt="blue", seed=7, steps=4, cfg_scale=5,
                      sampler_name="Euler a", scheduler="Karras", **SIZE)
    info = one.info
    assert one.image.size == (64, 64) and info["seed"] == 7 and info["all_seeds"] == [7]
    assert info["sampler_name"] == "Euler a" and info["extra_generation_params"]["Schedule type"] == "Karras"
    assert one.image.info["parameters"] == info["infotexts"][0]
    assert one.parameters["steps"] == 4 and one.parameters["negative_prompt"] == "blue"
    again = api.txt2img(prompt="a (red:1.2) circle", negative_prompt="blue", seed=7, steps=4, cfg_scale=5,
                        sampler_name="Euler a Karras", **SIZE)
    assert same(one.image, again.image)
    many = api.txt2img(prompt="a (red:1.2) circle", negative_prompt="blue", seed=5, steps=4, cfg_scale=5,
                       sampler_name="Euler a", scheduler="Karras", batch_size=2, n_iter=2, **SIZE)
    assert many.info["all_seeds"] == [5, 6, 7, 8] and len(many.images) == 4
    assert same(many.images[2], one.image), "an image of a batch is not that of its seed"
    assert not same(many.images[1], one.image)
    random = api.txt2img(prompt="x", steps=1, **SIZE)
    assert random.info["seed"] >= 0
    print("txt2img ok:", info["infotexts"][0].splitlines()[-1])
    return one


def image_to_image(api, one):
    out = api.img2img(images=[one.image], prompt="a circle", seed=1, steps=4, cfg_scale=5, denoising_strength=0.5,
                      sampler_name="Euler", resize_mode=1, width=96, height=64)
    assert out.image.size == (96, 64) and out.info["denoising_strength"] == 0.5
    assert out.parameters["init_images"] is None
    several = api.img2img(images=[one.image, one.image.transpose(Image.Transpose.ROTATE_90)], batch_size=2, prompt="a circle", seed=1,
                          steps=4, cfg_scale=5, denoising_strength=0.5, sampler_name="Euler", **SIZE)
    alone = api.img2img(images=[one.image.transpose(Image.Transpose.ROTATE_90)], prompt="a circle", seed=2, steps=4, cfg_scale=5,
                        denoising_strength=0.5, sampler_name="Euler", **SIZE)
    assert len(several.images) == 2 and several.info["all_seeds"] == [1, 2] and same(several.images[1], alone.image)
    print("img2img ok")


def half(size, left, right):
    """An image of two halves, each of a colour."""
    out = Image.new("RGBA", size, right)
    out.paste(left, (0, 0, size[0] // 2, size[1]))
    return out


def inpainting(api, one):
    """White is repainted, or by a mask with transparent pixels what is opaque; the rest keeps its pixels."""
    width, height = one.image.size
    kept = (width // 2, 0, width, height)
    white, black, clear = (255, 255, 255, 255), (0, 0, 0, 255), (0, 0, 0, 0)

    def inpaint(mask, **more):
        fields = {"inpainting_fill": 1, "inpaint_full_res": False, "mask_blur": 0, **more}
        return api.img2img(images=[one.image], mask_image=mask, prompt="a blue square", seed=3, steps=6, cfg_scale=5,
                           denoising_strength=0.9, sampler_name="Euler", **SIZE, **fields)

    masked = inpaint(half((width, height), white, black))
    assert same(masked.image.crop(kept), one.image.convert("RGB").crop(kept)), "what the mask does not cover is changed"
    assert not same(masked.image, one.image)
    assert masked.image.info["parameters"] == masked.info["infotexts"][0] and "Denoising strength: 0.9" in masked.info["infotexts"][0]
    assert masked.parameters["mask"] is None
    assert same(masked.image, inpaint(half((width, height), black, clear)).image), "the alpha of a mask counts another way"
    assert same(masked.image, inpaint(half((width, height), black, white), inpainting_mask_invert=1).image)
    images = {fill: inpaint(half((width, height), white, black), inpainting_fill=fill).image.tobytes() for fill in range(4)}
    assert len(set(images.values())) == 4, "the fills are alike"
    part = inpaint(half((width, height), white, black), inpaint_full_res=True, inpaint_full_res_padding=8, mask_blur=4)
    for text in ("Mask blur: 4", "Inpaint area: Only masked", "Masked area padding: 8"):
        assert text in part.info["infotexts"][0], part.info["infotexts"]
    assert part.info["extra_generation_params"]["Masked area padding"] == 8
    again = api.custom_post("img2img", baseurl=True, payload={
        "init_images": [webuiapi.b64_img(one.image)], "mask": webuiapi.b64_img(half((width, height), white, black)),
        "infotext": part.info["infotexts"][0]})
    assert same(again.image, part.image), "the infotext makes another image"
    print("inpainting ok:", part.info["infotexts"][0].splitlines()[-1])


def hires(api):
    first = {"prompt": "a circle", "seed": 7, "steps": 4, "cfg_scale": 5, "sampler_name": "Euler", **SIZE}
    out = api.txt2img(**first, enable_hr=True, hr_scale=1.5, hr_upscaler=webuiapi.HiResUpscaler.Latent, denoising_strength=0.6)
    assert out.image.size == (96, 96) and out.info["denoising_strength"] == 0.6
    assert "Hires upscale: 1.5, Hires steps: 4, Hires upscaler: Latent" in out.info["infotexts"][0], out.info["infotexts"]
    parsed = api.png_info(out.image).parameters
    assert parsed["Hires upscale"] == "1.5" and parsed["Hires upscaler"] == "Latent", parsed
    sized = api.txt2img(**first, enable_hr=True, hr_resize_x=128, hr_resize_y=96, hr_upscaler="Lanczos", hr_second_pass_steps=2)
    assert sized.image.size == (128, 96)
    other = api.txt2img(**first, enable_hr=True, hr_scale=1.5, denoising_strength=0.6, hr_prompt="a square", hr_sampler_name="Heun")
    assert not same(out.image, other.image) and "Hires sampler: Heun, Hires prompt: a square" in other.info["infotexts"][0], other.info["infotexts"]
    assert "Latent (bicubic)" in [m["name"] for m in api.get_latent_upscale_modes()]
    if "compact4" in [u["name"] for u in api.get_upscalers()]:
        assert api.txt2img(**first, enable_hr=True, hr_scale=2, hr_upscaler="compact4").image.size == (128, 128)
    refused(422, "Latent (nearest-exact)", lambda: api.txt2img(**first, enable_hr=True, hr_upscaler="none such"))
    print("hires ok")


class UnionUnit(webuiapi.ControlNetUnit):
    """A unit of a union, which has to say what its image is; the client's has no such field."""

    def to_dict(self):
        return {**super().to_dict(), "union_control_type": "Depth"}


def controlnet(api, one):
    assert api.controlnet_version() > 0 and {"none", "canny", "ip-adapter-auto"} <= set(api.controlnet_module_list())
    edges = api.controlnet_detect([one.image], module="canny", processor_res=64, threshold_a=10, threshold_b=20)
    assert edges.image.size == (64, 64) and edges.info == "Success" and {c for _, c in edges.image.convert("RGB").getcolors()} == {(0, 0, 0), (255, 255, 255)}
    models = api.controlnet_model_list()
    if "controlnet" not in models:
        print("controlnet: routes ok; the server has no models of this script's")
        return
    union, adapter = "controlnet-union", "t2i-adapter"
    prompt = next(m for m in models if m.endswith("ip-adapter_sdxl"))
    assert {union, adapter} <= set(models), models
    fields = {"prompt": "a circle", "seed": 7, "steps": 3, "cfg_scale": 5, "sampler_name": "Euler",
              "override_settings": {"sd_model_checkpoint": "tiny"}, **SIZE}

    def unit(model="controlnet", image=one.image, kind=webuiapi.ControlNetUnit, **more):
        return kind(image=image, model=model, **{"threshold_a": 10, "threshold_b": 20, "pixel_perfect": True, **more})

    def text(*units):
        return api.txt2img(**fields, controlnet_units=list(units), alwayson_scripts={})

    plain = text()
    images = {"none": plain.image}
    for name, units in {
        "ControlNet": [unit()], "weight": [unit(weight=0.25)], "module": [unit(module="canny")], "mode": [unit(control_mode=2)],
        "half the steps": [unit(guidance_end=0.4)], "union": [unit(union, kind=UnionUnit)], "T2I-Adapter": [unit(adapter)],
        "image prompt": [unit(prompt, module="ip-adapter-auto")], "two units": [unit(), unit(adapter)],
    }.items():
        out = text(*units)
        assert not any(same(out.image, other) for other in images.values()), f"{name} changes nothing"
        assert all(f"ControlNet {i}: " in out.info["infotexts"][0] for i in range(len(units))), out.info["infotexts"]
        assert out.image.info["parameters"] == out.info["infotexts"][0]
        images[name] = out.image
    assert same(text(unit(enabled=False)).image, plain.image), "a unit that is off counts"
    assert same(text(unit(image=edges.image)).image, images["module"]), "the module makes another image than /controlnet/detect"
    assert any("guess mode" in w for w in text(unit(control_mode=2)).info["goxl_warnings"])
    # Of img2img a unit without an image has that of img2img.
    again = {**fields, "images": [one.image], "denoising_strength": 0.8, "alwayson_scripts": {}}
    assert same(api.img2img(**again, controlnet_units=[unit(image=None)]).image, api.img2img(**again, controlnet_units=[unit()]).image)
    mask = half(one.image.size, (255, 255, 255, 255), (0, 0, 0, 255))
    both = api.img2img(**again, controlnet_units=[unit(image=None)], mask_image=mask, inpaint_full_res=False, mask_blur=0, inpainting_fill=1)
    assert same(both.image.crop((32, 0, 64, 64)), one.image.convert("RGB").crop((32, 0, 64, 64)))
    twice = api.txt2img(**fields, controlnet_units=[unit(module="canny")], alwayson_scripts={}, enable_hr=True, hr_scale=1.5)
    assert twice.image.size == (96, 96)
    refused(422, "controlnet-union", lambda: text(unit("none such")))
    refused(422, "depth_midas needs a model", lambda: text(unit(module="depth_midas")))
    refused(422, "openpose", lambda: text(unit(union)))
    refused(422, "alwayson_scripts", lambda: api.txt2img(**fields, controlnet_units=[unit(image=None)], alwayson_scripts={}))
    print("controlnet ok:", ", ".join(models))


def refusals(api):
    refused(400, "DPM++ 2M", lambda: api.txt2img(prompt="x", sampler_name="none such", steps=1, **SIZE))
    refused(501, "tiling", lambda: api.txt2img(prompt="x", tiling=True, steps=1, **SIZE))
    refused(422, "styles", lambda: api.txt2img(prompt="x", styles=["none such"], steps=1, **SIZE))
    refused(422, "steps", lambda: api.txt2img(prompt="x", steps=100000, **SIZE))
    refused(422, "width", lambda: api.txt2img(prompt="x", steps=1, width=65, height=64))
    # The client adds scripts to the dictionary that is the default of all its calls, unless it is given one.
    refused(422, "ADetailer", lambda: api.txt2img(prompt="x", steps=1, adetailer=[webuiapi.ADetailer()], alwayson_scripts={}, **SIZE))
    print("refusals ok")


def extras(api, one):
    for name in ("None", "Lanczos", "Nearest"):
        out = api.extra_single_image(image=one.image, upscaler_1=name, upscaling_resize=2)
        side = 64 if name == "None" else 128
        assert out.image.size == (side, side), name
        if name != "None":
            kind = Image.Resampling.LANCZOS if name == "Lanczos" else Image.Resampling.NEAREST
            assert same(out.image, one.image.resize((side, side), resample=kind)), name
    assert len(api.extra_batch_images(images=[one.image, one.image], upscaler_1="Nearest").images) == 2
    info = api.png_info(one.image)
    assert info.info.startswith("a (red:1.2) circle\nNegative prompt: blue\nSteps: 4"), info.info
    assert info.parameters["Seed"] == "7" and info.parameters["Size-1"] == "64", info.parameters
    print("extras and png-info ok")


def progress(api):
    answers, out = [], []
    thread = threading.Thread(target=lambda: out.append(
        api.txt2img(prompt="a circle", seed=1, steps=100, n_iter=20, override_settings={"show_progress_every_n_steps": 1},
                    sampler_name="Euler", **SIZE)))
    thread.start()
    while not any(a["current_image"] for a in answers):
        answers.append(api.get_progress())
        assert thread.is_alive(), "no preview was seen"
    api.interrupt()
    thread.join()
    seen = [a for a in answers if a["state"]["job_count"]]
    assert seen[-1]["state"]["job_count"] == 20 and 0 < seen[-1]["progress"] <= 1 and seen[-1]["state"]["sampling_steps"] > 0
    assert len(out[0].images) < 20 and out[0].info["goxl_interrupted"], out[0].info
    assert api.get_progress()["state"]["job_count"] == 0
    assert api.skip() is None
    print(f"progress, preview and interrupt ok: {len(out[0].images)} of 20 images were done")


def main():
    address = sys.argv[1]
    wait_for(address)
    host, port = address.rsplit(":", 1)
    api = webuiapi.WebUIApi(host=host, port=int(port), sampler="Euler a", steps=20)
    lists(api)
    options(api)
    one = text_to_image(api)
    image_to_image(api, one)
    inpainting(api, one)
    hires(api)
    controlnet(api, one)
    refusals(api)
    extras(api, one)
    progress(api)
    print("webuiapi", "runs against", address)


if __name__ == "__main__":
    main()
