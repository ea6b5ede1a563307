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
    refused(501, "mask", lambda: api.img2img(images=[one.image], mask_image=one.image, prompt="x", steps=2, **SIZE))
    print("img2img ok")


def refusals(api):
    refused(400, "DPM++ 2M", lambda: api.txt2img(prompt="x", sampler_name="none such", steps=1, **SIZE))
    refused(501, "enable_hr", lambda: api.txt2img(prompt="x", enable_hr=True, steps=1, **SIZE))
    refused(422, "styles", lambda: api.txt2img(prompt="x", styles=["none such"], steps=1, **SIZE))
    refused(422, "steps", lambda: api.txt2img(prompt="x", steps=100000, **SIZE))
    refused(422, "width", lambda: api.txt2img(prompt="x", steps=1, width=65, height=64))
    # The client adds scripts to the dictionary that is the default of all its calls, unless it is given one.
    unit = webuiapi.ControlNetUnit(image=Image.new("RGB", (8, 8)))
    refused(501, "ControlNet", lambda: api.txt2img(prompt="x", steps=1, controlnet_units=[unit], alwayson_scripts={}, **SIZE))
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
    refusals(api)
    extras(api, one)
    progress(api)
    print("webuiapi", "runs against", address)


if __name__ == "__main__":
    main()
