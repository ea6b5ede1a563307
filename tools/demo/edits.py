"""Writes models/demo/{edited,mask,repainted}.png: what goxl makes of an image by the embedded model, by image-to-image and by inpainting.

    go build -o goxl ./cmd/goxl
    python tools/demo/edits.py ./goxl models/demo
"""
import os
import subprocess
import sys
import tempfile

from PIL import Image

BEGIN = ["-prompt", "a red apple and a blue car on a green background", "-seed", "1"]
EDITED = ["-strength", "0.6", "-prompt", "a green apple and a yellow car on a blue background", "-seed", "1"]
REPAINTED = ["-mask-blur", "6", "-strength", "0.9", "-prompt", "a red apple and a banana on a green background", "-seed", "1"]
BOX = (128, 64, 256, 224)  # of the car


def main():
    program, folder = sys.argv[1:]

    def generate(out, *args):
        subprocess.run([program, "generate", "-model", "demo", "-quiet", "-o", out, *args], check=True)

    def beside(name, *files):
        images = [Image.open(f).convert("RGB") for f in files]
        sheet = Image.new("RGB", (len(images) * 260 - 4, 256), "white")
        for i, image in enumerate(images):
            sheet.paste(image, (260 * i, 0))
        path = os.path.join(folder, name)
        sheet.save(path, optimize=True)
        print(f"{path}: {os.path.getsize(path)} bytes")

    mask = os.path.join(folder, "mask.png")
    white = Image.new("L", (256, 256), 0)
    white.paste(255, BOX)
    white.save(mask, optimize=True)
    with tempfile.TemporaryDirectory() as work:
        apple, out = os.path.join(work, "apple.png"), os.path.join(work, "out.png")
        generate(apple, *BEGIN)
        generate(out, "-image", apple, *EDITED)
        beside("edited.png", apple, out)
        generate(out, "-image", apple, "-mask", mask, *REPAINTED)
        beside("repainted.png", apple, mask, out)


if __name__ == "__main__":
    main()
