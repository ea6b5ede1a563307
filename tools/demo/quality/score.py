"""Evaluates images: python quality/score.py --data DATA --judge WORK/judge.pt --prompts quality/prompts.json FOLDER ... . A folder holds 001.png, 002.png ... in the prompts'
order (fewer are fine). Prints a Markdown table with a column for each folder. --clean adds two columns of real scenes, sharp and softened: what the judge itself can do. --check ends with
status 1 where the first folder's images miss what is asked of the model."""
import argparse
import io
import json
import os
import sys

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import captions as cap
import scenes
import segment
from judge import Judge

ROWS = [("single", "single object top-1"), ("top5", "single object top-5"), ("both", "both objects of two"), ("one", "at least one of two"), ("parts", "two things found where two are asked for"), ("beside", "left/right right, of those"), ("above", "above/below right, of those"),
        ("background", "background"), ("two", "exactly two"), ("three", "exactly three"), ("number", "number of things alone right, counts"), ("white", "white where none is asked for"), ("sure", "judge's probability of the object, singles")]

# What is asked of the model: keys whose judgements count together, and the least share of right ones.
ASKED = [(["single"], 0.85), (["top5"], 0.95), (["both"], 0.65), (["beside", "above"], 0.80), (["background"], 0.97), (["two", "three"], 0.70)]


def missed(result):
    """What is asked and not reached, a line each; nothing judged is not reached."""
    for keys, least in ASKED:
        judged = sum((result.get(key, []) for key in keys), [])
        share = np.mean(judged) if judged else 0
        if share < least:
            yield f"{' or '.join(dict(ROWS)[key] for key in keys)}: {100 * share:.1f} % of {len(judged)}, {100 * least:.0f} % are asked"


def instances(p):
    """p (classes + 1, cells, cells), probabilities. Returns [(class probabilities, x, y, mass)] of connected groups of cells where something is."""
    there = p[-1] < 0.5
    out, seen = [], np.zeros_like(there)
    for y, x in zip(*np.nonzero(there)):
        if seen[y, x]:
            continue
        group, todo = [], [(y, x)]
        seen[y, x] = True
        while todo:
            j, i = todo.pop()
            group.append((j, i))
            for v, u in ((j + 1, i), (j - 1, i), (j, i + 1), (j, i - 1)):
                if 0 <= v < p.shape[1] and 0 <= u < p.shape[2] and there[v, u] and not seen[v, u]:
                    seen[v, u] = True
                    todo.append((v, u))
        j, i = np.array(group).T
        weight = 1 - p[-1, j, i]
        q = (p[:-1, j, i] * weight).sum(1)
        out.append((q / q.sum(), (i * weight).sum() / weight.sum(), (j * weight).sum() / weight.sum(), weight.sum()))
    return sorted(out, key=lambda o: -o[3])


def best(p):
    """The class probabilities of the largest thing that the judge sees; None where it sees nothing."""
    found = instances(p)
    return found[0][0] if found else None


def judge_one(result, c, x, net):
    """x (1, 3, 256, 256) in [-1, 1]. A single object is judged in the whole image; several are found by segment.parts and judged one by one."""
    put = lambda key, ok: result.setdefault(key, []).append(float(ok))
    kind, objects = c["kind"], c["objects"]
    with torch.no_grad():
        cells, back = net(x)
    background = int(back[0].argmax())
    put("background", background == cap.BACKGROUNDS.index(c["background"])) if kind != "bare" else put("white", background == 0)
    if kind in ("single", "landscape", "bare"):
        q = best(cells[0].softmax(0).numpy())
        order = np.argsort(-q) if q is not None else []
        put("single", len(order) > 0 and order[0] == objects[0])
        put("top5", objects[0] in order[:5])
        put("sure", q[objects[0]] if q is not None else 0)
        return
    rgb = ((x[0].permute(1, 2, 0).numpy() + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    found = segment.parts(rgb)
    classes = []
    for part in found[:4]:
        with torch.no_grad():
            cells, _ = net(torch.from_numpy(segment.cut(rgb, part)).permute(2, 0, 1)[None].float() / 127.5 - 1)
        q = best(cells[0].softmax(0).numpy())
        classes.append(int(q.argmax()) if q is not None else -1)
    middles = [((box[2] + box[3]) / 2, (box[0] + box[1]) / 2) for _, box, _ in found]
    if kind in ("beside", "above"):
        put("parts", len(found) == 2)
        both = sorted(classes[:2]) == sorted(objects)
        put("both", both)
        put("one", bool(set(classes[:2]) & set(objects)))
        if both:
            (ax, ay), (bx, by) = (middles[classes.index(o)] for o in objects)
            put(kind, bx - ax > abs(by - ay) if kind == "beside" else by - ay > abs(bx - ax))
    else:
        put("number", len(found) == len(objects))
        put(kind, sorted(classes) == sorted(objects))


def clean_scene(c, composer):
    """The scene that the prompt asks for, composed."""
    n = len(c["objects"])
    middle = {1: [(128, 128)], 2: [(70, 128), (186, 128)], 3: [(45, 128), (128, 128), (211, 128)]}[n]
    if c["kind"] == "above":
        middle = [(y, x) for x, y in middle]
    pad = [0] * (4 - n)
    packed = dict(bucket=[0], n=[n], blur=[0], obj=[c["objects"] + pad], x=[[m[0] for m in middle] + pad], y=[[m[1] for m in middle] + pad],
                  size=[[{1: 168, 2: 108, 3: 80}[n]] * 4], turn=[[0.0] * 4], bg=[cap.BACKGROUNDS.index(c["background"])], tone=[[0.5] * 4], canvas=[[256, 0]])
    packed = {k: np.array(v, np.float32 if k in ("x", "y", "size", "turn", "tone") else np.int16) for k, v in packed.items()}
    return composer(packed, scenes.to_device(packed, composer.device), 0, 1, 256, 256)


def soften(x):
    """x at half its sharpness and through a coarse JPEG: haze around the objects such as a small VAE leaves."""
    image = Image.fromarray(((x[0].permute(1, 2, 0).numpy() + 1) * 127.5).round().clip(0, 255).astype(np.uint8))
    file = io.BytesIO()
    image.resize((128, 128), Image.BOX).resize((256, 256), Image.BICUBIC).save(file, "JPEG", quality=50)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None].float() / 127.5 - 1


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", required=True)
    p.add_argument("--judge", required=True)
    p.add_argument("--prompts", required=True)
    p.add_argument("--clean", action="store_true")
    p.add_argument("--check", action="store_true")
    p.add_argument("folders", nargs="*")
    a = p.parse_args()
    rgba, objects = scenes.load_objects(os.path.join(a.data, "atlas.npz"))
    prompts = json.load(open(a.prompts))
    net = Judge(len(objects))
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in torch.load(a.judge, map_location="cpu", weights_only=True).items()})
    net.eval()
    composer = scenes.Composer(rgba, "cpu") if a.clean else None

    def run(image):
        result = {}
        for i, c in enumerate(prompts):
            x = image(i, c)
            if x is None:
                continue
            judge_one(result, c, x, net)
        return result

    def file(folder):
        def image(i, _):
            path = os.path.join(folder, f"{i + 1:03d}.png")
            if not os.path.exists(path):
                return None
            return torch.from_numpy(np.asarray(Image.open(path).convert("RGB").resize((256, 256))).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1

        return image

    columns = [(os.path.basename(f.rstrip("/")), run(file(f))) for f in a.folders]
    if a.clean:
        columns.append(("composed scenes", run(lambda i, c: clean_scene(c, composer))))
        columns.append(("composed, softened", run(lambda i, c: soften(clean_scene(c, composer)))))
    print("| | " + " | ".join(n for n, _ in columns) + " |\n|---|" + "---|" * len(columns))
    for key, words in ROWS:
        cells = [f"{100 * np.mean(r[key]):.1f} % ({len(r[key])})" if r.get(key) else "" for _, r in columns]
        print(f"| {words} | " + " | ".join(cells) + " |")
    if a.check and (lines := list(missed(columns[0][1]))):
        sys.exit("\n".join([f"{columns[0][0]} misses what is asked:", *lines]))


if __name__ == "__main__":
    main()
