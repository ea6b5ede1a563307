"""Objects in colours that their artwork does not have: python paint.py DATA/atlas.npz SHEET.png draws some of them.

An object can be painted if one vivid colour covers most of it. What has about that hue turns to the new colour and keeps its shading; wheels, windows and faces stay as they are.
"""
import os
import random
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from PIL import Image

import scenes

# hue in degrees, saturation, value
PAINTS = {"red": (2, 0.80, 0.86), "orange": (28, 0.86, 0.97), "yellow": (50, 0.80, 0.98), "green": (125, 0.60, 0.68), "blue": (215, 0.75, 0.86), "purple": (275, 0.58, 0.74),
          "pink": (335, 0.42, 0.97), "brown": (25, 0.58, 0.48), "black": (220, 0.08, 0.17), "white": (220, 0.02, 0.96), "gray": (220, 0.03, 0.60)}
COVERED = 0.45  # of the opaque pixels, within WIDE degrees of the most frequent hue
WIDE = 25
# What stays as it is: people and hands, whose colour would be a skin's; faces, which lose eyes or tongue; and what has every colour.
LEFT = set("""baby|princess|fairy|vampire|zombie|ogre|goblin|waving hand|thumbs up|thumbs down|clapping hands|flexed biceps|star-struck|rolling on the floor laughing|
exploding head|smiling cat with heart-eyes|rainbow""".replace("\n", "").split("|"))


def hsv(rgb):
    """Hue in degrees, saturation and value."""
    hue, spread, value = scenes.hsv(rgb)
    return hue, spread / np.maximum(value, 1e-6), value


def rgb_of(hue, saturation, value):
    k = (np.array([5, 3, 1]) + hue / 60) % 6
    return value[..., None] * (1 - saturation[..., None] * np.clip(np.minimum(k, 4 - k), 0, 1))


def apart(hue, other):
    return np.abs((hue - other + 180) % 360 - 180)


def own_colour(image):
    """(hue, the median saturation and value of what has about that hue, whether it can be painted) of rgba uint8 (h, w, 4)."""
    solid = image[image[..., 3] > 200][:, :3].astype(np.float32) / 255
    hue, saturation, value = hsv(solid)
    vivid = (saturation > 0.3) & (value > 0.25)
    counts = [(vivid & (apart(hue, h) < WIDE)).mean() for h in range(0, 360, 6)]
    h = 6 * int(np.argmax(counts))
    near = vivid & (apart(hue, h) < WIDE)
    if not near.any():
        return h, 0.0, 0.0, False
    return h, float(np.median(saturation[near])), float(np.median(value[near])), max(counts) > COVERED


def painted(image, own, colour):
    h, s, v = own
    hue, saturation, value = hsv(image[..., :3].astype(np.float32) / 255)
    # Full strength within the hue's width and where there is colour; less towards their ends, or edges would show.
    amount = np.clip((WIDE + 20 - apart(hue, h)) / 15, 0, 1) * np.clip((saturation - 0.12) / 0.15, 0, 1)
    target = PAINTS[colour]
    # Highlights are as much paler and shadows as much darker as they were.
    new = rgb_of(target[0], np.clip(target[1] + (saturation - s) * min(1.0, target[1] * 1.5), 0, 1), np.clip(target[2] * (1 + (value - v) * 0.9), 0, 1))
    out = image.astype(np.float32)
    out[..., :3] += amount[..., None] * (new * 255 - out[..., :3])
    return np.clip(out.round(), 0, 255).astype(np.uint8)


def paints(job):
    """(image, object) to the object's images by colour: None where the artwork has that colour; {} for what can't be painted."""
    image, o = job
    *own, possible = own_colour(image)
    if not possible or o["name"] in LEFT or "face" in o["name"] or any(c in o["name"].split() for c in [*PAINTS, "grey", "violet"]):
        return {}
    return {c: None if c == o.get("colour") else painted(image, own, c) for c in PAINTS}


def load(path, workers=os.cpu_count()):
    """load_objects's images with the painted ones behind them, and its objects: what can be painted has the number of an image for each colour under "paints", the
    artwork's own among them."""
    rgba, objects = scenes.load_objects(path)
    images = list(rgba)
    with ProcessPoolExecutor(workers) as pool:
        for i, (o, made) in enumerate(zip(objects, pool.map(paints, zip(rgba, objects), chunksize=8))):
            for colour, image in made.items():
                o.setdefault("paints", {})[colour] = i if image is None else len(images)
                if image is not None:
                    images.append(image)
    return np.stack(images), objects


def needed(path, numbers):
    """What scenes of these images need: load's images and objects if painted ones are among them, else load_objects's; and the object that each image is of."""
    rgba, objects = scenes.load_objects(path)
    if numbers.max() >= len(objects):
        rgba, objects = load(path)
    owner = np.arange(len(rgba))
    for i, o in enumerate(objects):
        owner[list(o.get("paints", {}).values())] = i
    return rgba, objects, owner


def main():
    rgba, objects = load(sys.argv[1])
    able = [o for o in objects if "paints" in o]
    print(f"{len(able)} of {len(objects)} objects can be painted, {len(rgba)} images")
    rng, columns = random.Random(1), 1 + len(PAINTS)
    rows = rng.sample(able, min(16, len(able)))
    sheet = Image.new("RGB", (128 * columns, 128 * len(rows)), (120, 170, 170))
    for y, o in enumerate(rows):
        for x, i in enumerate([objects.index(o), *(o["paints"].get(c) for c in PAINTS)]):
            if i is not None:
                p = Image.fromarray(rgba[i])
                sheet.paste(p, (128 * x, 128 * y), p)
    sheet.save(sys.argv[2])


if __name__ == "__main__":
    main()
