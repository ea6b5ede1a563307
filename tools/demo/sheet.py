"""Writes models/demo/sheet.png: a contact sheet of 16 uncurated images by goxl. The prompts are diffuse.PROMPTS in order, the seeds 1 to 16.

    go build -o goxl ./cmd/goxl
    python tools/demo/sheet.py ./goxl models/demo/sheet.png
"""
import os
import subprocess
import sys
import tempfile
import time

from PIL import Image

from diffuse import PROMPTS

CELL, COLUMNS, GAP = 192, 4, 4


def main():
    program, out = sys.argv[1:]
    rows = -(-len(PROMPTS) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (CELL + GAP) - GAP, rows * (CELL + GAP) - GAP), "white")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for i, prompt in enumerate(PROMPTS):
            file = os.path.join(folder, "image.png")
            subprocess.run([program, "generate", "-model", "demo", "-prompt", prompt, "-seed", str(i + 1), "-quiet", "-o", file], check=True)
            with Image.open(file) as image:
                cell = image.convert("RGB").resize((CELL, CELL), Image.Resampling.LANCZOS)
            sheet.paste(cell, (i % COLUMNS * (CELL + GAP), i // COLUMNS * (CELL + GAP)))
    sheet.save(out, optimize=True)
    print(f"{len(PROMPTS)} images in {time.monotonic() - started:.1f} s; {out}: {os.path.getsize(out)} bytes")


if __name__ == "__main__":
    main()
