"""Scenes: what is where (made on the CPU by the hundred thousand) and how they look (composed in batches on the GPU).

A spec says which objects stand where on which background, the caption, and SDXL's micro-conditioning, which is real: some scenes are composed on a larger canvas and
cropped, some are composed small and scaled up, and their time ids say so.
"""
import json
import random
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F

import captions as cap

BUCKETS = [(256, 256), (192, 320), (320, 192), (224, 288)]  # height, width
SHARES = [0.76, 0.08, 0.08, 0.08]
CHUNK = 128  # specs that are composed together: same bucket, number of objects and sharpness
BLURS = [1.0, 0.75, 0.5, 0.375]
PAINTED = 0.4  # of the objects that can be painted
COUNTED, COUNTED_PAINTED = [2, 2, 2, 3, 3, 3, 4], [2, 2, 3, 3, 3, 3, 3, 4]
COLOUR_HUES = {"red": [(0, 12), (345, 360)], "orange": [(20, 36)], "yellow": [(40, 62)], "green": [(80, 160)], "blue": [(195, 235)], "purple": [(262, 290)]}


def hsv(rgb):
    """rgb (..., 3) in [0, 1] to hue in degrees, what lies between the largest and the smallest channel, and the largest: value."""
    hi, spread = rgb.max(-1), np.maximum(rgb.max(-1) - rgb.min(-1), 1e-6)
    r, g, b = np.moveaxis(rgb, -1, 0)
    return np.where(hi == r, (g - b) / spread % 6, np.where(hi == g, (b - r) / spread + 2, (r - g) / spread + 4)) * 60, spread, hi


def load_objects(path):
    """Returns (rgba uint8 (objects, 128, 128, 4), the objects; those of one clear colour have it under "colour")."""
    z = np.load(path)
    objects, rgba = json.loads(z["objects"].tobytes()), z["rgba"]
    for o, px in zip(objects, rgba):
        hue, spread, value = hsv(px[px[..., 3] > 200][:, :3].astype(np.float32) / 255)
        vivid = (spread > 0.35) & (value > 0.45)
        for name, ranges in COLOUR_HUES.items():
            if sum((vivid & (hue >= a) & (hue <= z)).mean() for a, z in ranges) > 0.62:
                o["colour"] = name
    return rgba, objects


def dressed(rng, objects, o):
    """The number of an image of object o, and the object as a caption names it: painted sometimes, if paint.load gave it images for that."""
    obj = objects[o]
    if "paints" not in obj or rng.random() >= PAINTED:
        return o, obj
    colour = rng.choice(list(obj["paints"]))
    return obj["paints"][colour], {**obj, "paint": colour}


def layout(rng, objects, h, w):
    """Returns (image numbers, x, y, size in pixels; the caption without its background) on a canvas of h x w."""
    m, r = min(h, w), rng.random()
    pick = lambda: rng.randrange(len(objects))
    wear = lambda o: dressed(rng, objects, o)
    jit = lambda k: (rng.random() * 2 - 1) * k * m
    spread = lambda length, n: [length * (i + 0.5) / n for i in range(n)]

    def row(n, size, horizontal=True):
        long = w if horizontal else h
        size = min(size * m, long / n * 0.96)
        # Neighbours stand about a size and a quarter apart, not at the ends of a long canvas.
        step = min(long / n, size * (1.1 + 0.25 * rng.random()))
        along = [long / 2 + (i - (n - 1) / 2) * step + jit(0.015) for i in range(n)]
        across = [(h if horizontal else w) / 2 + jit(0.05) for _ in range(n)]
        sizes = [size * (0.94 + 0.08 * rng.random()) for _ in range(n)]
        return (along, across, sizes) if horizontal else (across, along, sizes)

    if r < 0.48:
        o, s = pick(), rng.random()
        if s < 0.70:
            k, adj = 0.56 + 0.22 * rng.random(), ""
        elif s < 0.84:
            k, adj = 0.82 + 0.14 * rng.random(), rng.choice(cap.BIG)
        else:
            k, adj = 0.26 + 0.12 * rng.random(), rng.choice(cap.SMALL)
        o, obj = wear(o)
        return [o], [w / 2 + jit(0.05)], [h / 2 + jit(0.05)], [k * m], noun_phrase(rng, obj, adj)
    if r < 0.80:
        a, b = pick(), pick()
        while b == a:
            b = pick()
        horizontal = rng.random() < 0.6
        xs, ys, ss = row(2, 0.43, horizontal)
        adj = ["", ""]
        if rng.random() < 0.15:
            big = rng.randrange(2)
            adj[big], adj[1 - big] = rng.choice(cap.BIG), rng.choice(cap.SMALL)
            ss[big], ss[1 - big] = 0.48 * m, 0.26 * m
        (a, first), (b, second) = wear(a), wear(b)
        A, B = cap.noun(rng, first, adj[0]), cap.noun(rng, second, adj[1])
        if horizontal:
            text = rng.choice([f"{A} and {B}", f"{A} and {B}", f"{A} next to {B}", f"{A} left of {B}", f"{A} to the left of {B}", f"{B} right of {A}",
                               f"{B} to the right of {A}", f"{A} on the left and {B} on the right"])
        else:
            text = rng.choice([f"{A} above {B}", f"{A} above {B}", f"{A} over {B}", f"{B} below {A}", f"{B} below {A}", f"{B} under {A}", f"{A} on top of {B}",
                               f"{A} at the top and {B} at the bottom"])
        return [a, b], xs, ys, ss, text
    if r < 0.92:
        n = rng.choice(COUNTED_PAINTED if any("paints" in o for o in objects) else COUNTED)
        o, obj = wear(pick())
        adj = rng.choice(["", "", "", rng.choice(cap.SMALL) + " ", rng.choice(cap.NICE) + " "]) if rng.random() < 0.4 else ""
        text = f"{rng.choice(cap.NUMBERS[n])} {adj}{cap.plural(cap.word_for(rng, obj))}"
        size = {2: 0.43, 3: 0.32, 4: 0.36}[n] * (0.75 if adj.strip() in cap.SMALL else 1)
        if n == 4:
            c = 0.25 * m
            xs = [w / 2 + s * c + jit(0.02) for s in (-1, 1, -1, 1)]
            ys = [h / 2 + s * c + jit(0.02) for s in (-1, -1, 1, 1)]
            return [o] * 4, xs, ys, [size * m] * 4, text
        xs, ys, ss = row(n, size)
        if rng.random() < 0.3:
            text += rng.choice([" in a row", " side by side", " next to each other"])
        return [o] * n, xs, ys, ss, text
    n = 3 if r < 0.98 else 4
    chosen, named = zip(*[wear(o) for o in rng.sample(range(len(objects)), n)])
    chosen, words = list(chosen), [cap.noun(rng, obj) for obj in named]
    if n == 4:
        c = 0.25 * m
        xs = [w / 2 + s * c + jit(0.02) for s in (-1, 1, -1, 1)]
        ys = [h / 2 + s * c + jit(0.02) for s in (-1, -1, 1, 1)]
        return chosen, xs, ys, [0.36 * m] * 4, ", ".join(words[:3]) + " and " + words[3]
    xs, ys, ss = row(3, 0.32)
    text = rng.choice([", ".join(words[:2]) + " and " + words[2], ", ".join(words[:2]) + " and " + words[2] + " in a row",
                       f"{words[1]} between {words[0]} and {words[2]}"])
    return chosen, xs, ys, ss, text


def noun_phrase(rng, obj, adjective):
    text = cap.noun(rng, obj, adjective)
    return rng.choice(cap.MEDIUM) + text if rng.random() < 0.2 else text


def make(seed, count, objects, cropped=True):
    """Returns a list of count specs: dicts. Held-out captions are never among them."""
    rng = random.Random(seed)
    colours = {number: c for o in objects for c, number in o.get("paints", {}).items() if number >= len(objects)}
    out = []
    while len(out) < count:
        bucket = rng.choices(range(4), SHARES)[0]
        h, w = BUCKETS[bucket]
        top = left = 0
        ch, cw = h, w
        if cropped and rng.random() < 0.2:
            ch, cw = h + rng.randrange(h // 2), w + rng.randrange(w // 2)
            top, left = rng.randrange(ch - h + 1), rng.randrange(cw - w + 1)
        blur = rng.choice([1, 2, 3]) if cropped and rng.random() < 0.1 else 0
        scale = BLURS[blur] if blur else (1 + rng.random() if rng.random() < 0.2 else 1)
        objs, xs, ys, sizes, text = layout(rng, objects, ch, cw)
        bg = rng.choices(cap.BACKGROUNDS, [1] * len(cap.PLAIN) + [0.8] * len(cap.GRADED))[0]
        if rng.random() < 0.22:  # not said: white mostly
            bg = "white" if rng.random() < 0.8 else bg
        else:
            text += cap.background(rng, bg)
        if cap.held_out(text) or bg in [colours.get(o) for o in objs]:  # nobody would see what is painted as its background
            continue
        n = len(objs)
        pad = [0] * (4 - n)
        out.append(dict(bucket=bucket, n=n, blur=blur, obj=objs + pad, x=[v - left for v in xs] + pad, y=[v - top for v in ys] + pad, size=sizes + [1] * len(pad),
                        turn=[(rng.random() * 2 - 1) * 0.12 for _ in range(4)], bg=cap.BACKGROUNDS.index(bg), tone=[rng.random() for _ in range(4)],
                        canvas=[ch, top], ids=[round(ch * scale), round(cw * scale), top, left, h, w], text=text))
    return out


def _part(args):
    seed, count, objects = args
    return make(seed, count, objects)


def make_many(count, objects, workers, seed=1):
    step = 5000
    jobs = [(seed * 100003 + i, min(step, count - i), objects) for i in range(0, count, step)]
    if workers <= 1:
        return [s for j in jobs for s in _part(j)]
    with ProcessPoolExecutor(workers) as pool:
        return [s for part in pool.map(_part, jobs) for s in part]


def pack(specs, tokens):
    """Sorts specs into chunks that compose together and returns arrays: every key of a spec, tokens (n, TOKENS) int16, and text."""
    key = lambda s: (s["bucket"], s["n"], s["n"] == 1 and s["size"][0] > 110, s["blur"])
    order = sorted(range(len(specs)), key=lambda i: key(specs[i]))
    chunks, run = [], []
    for i in order:
        if run and key(specs[run[0]]) != key(specs[i]):
            run = []
        run.append(i)
        if len(run) == CHUNK:
            chunks.append(run)
            run = []
    keep = [i for c in chunks for i in c]
    if not keep:
        raise SystemExit(f"{len(specs)} specs are too few for one chunk of {CHUNK} alike: ask for more")
    types = dict(bucket=np.int8, n=np.int8, blur=np.int8, obj=np.int16, x=np.float32, y=np.float32, size=np.float32, turn=np.float32, bg=np.int8, tone=np.float32,
                 canvas=np.int16, ids=np.int16)
    out = {k: np.array([specs[i][k] for i in keep], t) for k, t in types.items()}
    out["tokens"] = tokens[keep].astype(np.int16)
    return out


class Composer:
    """Draws packed specs. All of it runs on one device; images are (n, 3, h, w) in [-1, 1]."""

    def __init__(self, rgba, device):
        self.device = device
        bank = torch.from_numpy(rgba).to(device).permute(0, 3, 1, 2).float() / 255
        bank[:, :3] *= bank[:, 3:]
        half = F.interpolate(bank, scale_factor=0.5, mode="area")
        kind = torch.float16 if device == "cuda" else torch.float32
        # Small sprites come from a copy without fine detail, or they would alias. Single large ones come from an enlarged copy.
        self.bank = torch.cat([bank, F.interpolate(half, scale_factor=2, mode="bilinear")]).to(kind)
        self.large = torch.cat([F.interpolate(b, scale_factor=2, mode="bicubic").clamp(0, 1).to(kind) for b in bank.split(64)])
        self.count = len(rgba)
        stops, horizon = [], []
        for name in cap.BACKGROUNDS:
            g = cap.GRADED.get(name)
            stops.append(g[:4] if g else (cap.PLAIN[name],) * 4)
            horizon.append(g[4] if g else 0.5)
        self.stops = torch.tensor(stops, device=device, dtype=torch.float32) / 255
        self.horizon = torch.tensor(horizon, device=device)
        self.night = cap.BACKGROUNDS.index("night sky")

    def backdrop(self, s, h, w):
        bg, tone = s["bg"].long(), s["tone"]
        n = len(bg)
        stops = (self.stops[bg] + (tone[:, None, 1:] - 0.5) * 0.04).clamp(0, 1)
        y = (torch.arange(h, device=self.device)[None] + s["canvas"][:, 1:].float() + 0.5) / s["canvas"][:, :1].float()
        edge = (self.horizon[bg] + (tone[:, 0] - 0.5) * 0.12)[:, None]
        above, below = (y / edge).clamp(0, 1)[..., None], ((y - edge) / (1 - edge)).clamp(0, 1)[..., None]
        upper = stops[:, None, 0] + (stops[:, None, 1] - stops[:, None, 0]) * above
        lower = stops[:, None, 2] + (stops[:, None, 3] - stops[:, None, 2]) * below
        mix = ((y - edge) * 40 + 0.5).clamp(0, 1)[..., None]
        canvas = (upper + (lower - upper) * mix).permute(0, 2, 1)[..., None].expand(n, 3, h, w).contiguous()
        stars = F.interpolate((torch.rand(n, 1, h // 2, w // 2, device=self.device) > 0.997).float(), size=(h, w), mode="bilinear")
        return canvas + (1 - canvas) * stars * (bg == self.night)[:, None, None, None] * 0.9

    def __call__(self, packed, specs, start, stop, h, w):
        """Specs start..stop of one chunk: packed holds them as arrays (read without waiting for the device), specs as tensors on the device."""
        n, blur, large = int(packed["n"][start]), BLURS[int(packed["blur"][start])], packed["n"][start] == 1 and packed["size"][start, 0] > 110
        s = {k: v[start:stop] for k, v in specs.items()}
        canvas = self.backdrop(s, h, w)
        for k in range(n):
            obj, size, turn = s["obj"][:, k].long(), s["size"][:, k], s["turn"][:, k]
            x, y = s["x"][:, k], s["y"][:, k]
            cos, sin = torch.cos(turn) * 2 / size, torch.sin(turn) * 2 / size
            dx, dy = w / 2 - x, h / 2 - y
            theta = torch.stack([torch.stack([cos * w / 2, sin * h / 2, cos * dx + sin * dy], -1),
                                 torch.stack([-sin * w / 2, cos * h / 2, -sin * dx + cos * dy], -1)], 1)
            sprites = self.large[obj] if large else self.bank[obj + self.count * (size < 80)]
            layer = F.grid_sample(sprites.float(), F.affine_grid(theta, (len(obj), 4, h, w), align_corners=False), mode="bilinear", align_corners=False)
            canvas = canvas * (1 - layer[:, 3:]) + layer[:, :3]
        if blur < 1:
            small = F.interpolate(canvas, size=(round(h * blur), round(w * blur)), mode="bilinear", antialias=True)
            canvas = F.interpolate(small, size=(h, w), mode="bicubic").clamp(0, 1)
        return canvas * 2 - 1


def to_device(packed, device):
    return {k: torch.from_numpy(v).to(device) for k, v in packed.items()}
