"""What OpenAI's Python client does with a goxl server whose model is demo. Run by openai.sh.

    python openai_client.py http://127.0.0.1:8000
"""

import base64
import io
import sys
import time
import urllib.request

import openai
from PIL import Image

address = sys.argv[1]
client = openai.OpenAI(base_url=address + "/v1", api_key="none", max_retries=0)
PROMPT = "a red lighthouse on a cliff"


def decoded(b64):
    return Image.open(io.BytesIO(base64.b64decode(b64)))


def comment(image):
    """A1111's infotext of an image, wherever its format has it."""
    if "parameters" in image.info:
        return image.info["parameters"]
    raw = image.getexif().get_ifd(0x8769)[0x9286]
    assert raw[:8] == b"UNICODE\0", raw[:8]
    return raw[8:].decode("utf-16-be")


def refused(kind, param, code, call):
    try:
        call()
    except kind as e:
        assert (e.param, e.code) == (param, code), (e.param, e.code, e.message)
        return str(e)[:150]
    raise AssertionError("nothing was raised")


def until_ready():
    while True:
        try:
            urllib.request.urlopen(address + "/readyz").read()
            return
        except urllib.error.HTTPError:
            time.sleep(0.2)


def models():
    listed = client.models.list().data
    assert [m.id for m in listed][0] == "demo" and listed[0].object == "model", listed
    assert client.models.retrieve("demo").owned_by == "goxl"
    return ", ".join(m.id for m in listed), refused(openai.NotFoundError, "model", "model_not_found", lambda: client.models.retrieve("nope"))


def generate_url():
    result = client.images.generate(model="demo", prompt=PROMPT, n=2, size="128x128", extra_body={"seed": 7, "num_inference_steps": 4})
    images = [Image.open(urllib.request.urlopen(d.url)) for d in result.data]
    assert [i.size for i in images] == [(128, 128)] * 2 and [i.format for i in images] == ["PNG"] * 2
    assert [d.seed for d in result.data] == [7, 8] and result.created > 1_700_000_000 and result.usage.total_tokens == 0
    assert images[0].tobytes() != images[1].tobytes()
    return result.data[0].url


def generate_formats():
    sizes = []
    for name, format in (("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")):
        result = client.images.generate(
            prompt=PROMPT, response_format="b64_json", output_format=name, output_compression=80,
            extra_body={"seed": 7, "steps": 1, "num_inference_steps": 4, "negative_prompt": "fog", "guidance_scale": 3, "scheduler": "euler"})
        image = decoded(result.data[0].b64_json)
        said = comment(image)
        assert image.format == format and result.output_format == name, (image.format, result.output_format)
        assert said.startswith(PROMPT + "\nNegative prompt: fog\nSteps: 4, Sampler: Euler,") and "CFG scale: 3, Seed: 7" in said, said
        assert any("steps" in w for w in result.warnings), result.warnings
        sizes.append(f"{name} {len(result.data[0].b64_json) * 3 // 4} bytes")
    return ", ".join(sizes)


def ignored():
    raw = client.images.with_raw_response.generate(prompt=PROMPT, quality="hd", style="vivid", user="u", extra_body={"num_inference_steps": 1})
    assert raw.headers["x-goxl-ignored"] == "quality, style, user", raw.headers
    return raw.headers["x-goxl-ignored"]


def stream():
    events = list(client.images.generate(prompt=PROMPT, stream=True, partial_images=3, extra_body={"seed": 7, "num_inference_steps": 8}))
    names = [e.type for e in events]
    assert names == ["image_generation.partial_image"] * 3 + ["image_generation.completed"], names
    assert [e.partial_image_index for e in events[:-1]] == [0, 1, 2]
    sizes = [decoded(e.b64_json).size for e in events]
    plain = client.images.generate(prompt=PROMPT, response_format="b64_json", extra_body={"seed": 7, "num_inference_steps": 8})
    assert plain.data[0].b64_json == events[-1].b64_json, "previews change the image"
    return f"{sizes}, {events[-1].usage}"


def edit():
    made = client.images.generate(prompt=PROMPT, response_format="b64_json", extra_body={"num_inference_steps": 4, "seed": 7}).data[0]
    source = base64.b64decode(made.b64_json)
    one = client.images.edit(image=("a.png", source, "image/png"), prompt="a blue lighthouse", response_format="b64_json",
                             extra_body={"strength": 0.6, "seed": 1, "num_inference_steps": 8})
    listed = client.images.edit(image=[("a.png", source, "image/png")], prompt="a blue lighthouse", response_format="b64_json",
                                extra_body={"strength": 0.6, "seed": 1, "num_inference_steps": 8})
    assert decoded(one.data[0].b64_json).tobytes() == decoded(listed.data[0].b64_json).tobytes()  # their texts name two uploads
    assert one.parameters["strength"] == 0.6 and decoded(one.data[0].b64_json).size == decoded(made.b64_json).size
    names = [e.type for e in client.images.edit(image=("a.png", source, "image/png"), prompt="b", stream=True, partial_images=1,
                                                extra_body={"strength": 1, "num_inference_steps": 4})]
    assert names == ["image_edit.partial_image", "image_edit.completed"], names
    return [refused(openai.BadRequestError, "image", "invalid_value", lambda: client.images.edit(
                image=[("a.png", source, "image/png")] * 2, prompt="b"))]


def edit_mask():
    """What a mask has transparent is edited, the rest keeps its pixels."""
    made = client.images.generate(prompt=PROMPT, response_format="b64_json", extra_body={"num_inference_steps": 4, "seed": 7}).data[0]
    source, image = base64.b64decode(made.b64_json), decoded(made.b64_json).convert("RGB")
    width, height = image.size

    def mask(width, height):
        out = Image.new("RGBA", (width, height), (0, 0, 0, 255))
        out.paste((0, 0, 0, 0), (0, 0, width // 2, height))
        data = io.BytesIO()
        out.save(data, "PNG")
        return ("m.png", data.getvalue(), "image/png")

    def masked(mask, **more):
        return client.images.edit(image=("a.png", source, "image/png"), mask=mask, prompt="a blue lighthouse", response_format="b64_json",
                                  extra_body={"seed": 1, "num_inference_steps": 8, **more})

    one = masked(mask(width, height))
    kept, edited = (width // 2, 0, width, height), (0, 0, width // 2, height)
    result = decoded(one.data[0].b64_json).convert("RGB")
    assert result.crop(kept).tobytes() == image.crop(kept).tobytes(), "what is opaque in the mask is changed"
    assert result.crop(edited).tobytes() != image.crop(edited).tobytes(), "what is transparent in the mask is not"
    assert one.parameters["task"] == "inpaint" and one.parameters["strength"] == 0.9999, one.parameters
    other = masked(mask(width // 2, height // 2))
    assert any("is resized" in w for w in other.warnings), other.warnings
    blurred = masked(mask(width, height), mask_blur=4, strength=0.5)
    assert (blurred.parameters["mask_blur"], blurred.parameters["strength"]) == (4, 0.5)
    return refused(openai.BadRequestError, "mask", "invalid_mask_image_format", lambda: masked(("m.png", source, "image/png")))


def errors():
    return [
        refused(openai.NotFoundError, "model", "model_not_found", lambda: client.images.generate(model="dall-e-3", prompt=PROMPT)),
        refused(openai.BadRequestError, "scheduler", "invalid_value", lambda: client.images.generate(prompt=PROMPT, extra_body={"scheduler": "nope"})),
        refused(openai.BadRequestError, "size", "invalid_value", lambda: client.images.generate(prompt=PROMPT, size="large")),
        refused(openai.BadRequestError, "n", "invalid_value", lambda: client.images.generate(prompt=PROMPT, n=11)),
    ]


def cancel():
    began = time.monotonic()
    try:
        client.with_options(timeout=1.5).images.generate(prompt=PROMPT, size="512x512", extra_body={"num_inference_steps": 200})
        raise AssertionError("it was faster than the time limit")
    except openai.APITimeoutError:
        pass
    while b'"computing":0' not in urllib.request.urlopen(address + "/v1/queue").read():
        assert time.monotonic() < began + 20, "the job goes on after its client has gone"
        time.sleep(0.05)
    return f"free {time.monotonic() - began - 1.5:.2f} s after the client left"


print("openai", openai.__version__)
until_ready()
for check in (models, generate_url, generate_formats, ignored, stream, edit, edit_mask, errors, cancel):
    began = time.monotonic()
    said = check()
    print(f"{check.__name__}: ok, {time.monotonic() - began:.1f} s")
    for line in said if isinstance(said, (list, tuple)) else [said]:
        print("   ", line)
print("all passed")
