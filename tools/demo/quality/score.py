"""Judges pictures: python quality/score.py --data DATA --judge WORK/judge.pt --prompts quality/prompts.json FOLDER ... . A folder holds 001.png, 002.png ... in the prompts'
order (fewer are fine). Prints a Markdown table with a column for each folder. --clean adds a column of real scenes: what the judge itself can do."""
import argparse
import json
import os
import sys

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import captions as cap
import scenes
from judge import Judge

ROWS = [("single", "single object top-1"), ("top5", "single object top-5"), ("both", "both objects of two"), ("beside", "left/right right, of those"), ("above", "above/below right, of those"),
        ("background", "background"), ("two", "exactly two"), ("three", "exactly three"), ("white", "white where none is asked for"), ("sure", "judge's probability of the object, singles")]


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


def judge_one(result, c, p, background):
    put = lambda key, ok: result.setdefault(key, []).append(float(ok))
    found = instances(p)
    kind, objects = c["kind"], c["objects"]
    put("background", background == cap.BACKGROUNDS.index(c["background"])) if kind != "bare" else put("white", background == 0)
    if kind in ("single", "landscape", "bare"):
        q = found[0][0] if found else np.zeros(p.shape[0] - 1)
        order = np.argsort(-q)
        put("single", bool(found) and order[0] == objects[0])
        put("top5", bool(found) and objects[0] in order[:5])
        put("sure", q[objects[0]])
    elif kind in ("beside", "above"):
        best = {}
        for o in found:
            best.setdefault(int(o[0].argmax()), o)
        both = all(o in best for o in objects)
        put("both", both)
        if both:
            a, b = best[objects[0]], best[objects[1]]
            put(kind, a[1] < b[1] - 1 and abs(a[1] - b[1]) > abs(a[2] - b[2]) if kind == "beside" else a[2] < b[2] - 1 and abs(a[2] - b[2]) > abs(a[1] - b[1]))
    else:
        put(kind, sum(o[0].argmax() == objects[0] for o in found) == len(objects))


def clean_scene(c, composer, i):
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


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", required=True)
    p.add_argument("--judge", required=True)
    p.add_argument("--prompts", required=True)
    p.add_argument("--clean", action="store_true")
    p.add_argument("folders", nargs="*")
    a = p.parse_args()
    rgba, objects = scenes.load_world(os.path.join(a.data, "atlas.npz"))
    prompts = json.load(open(a.prompts))
    net = Judge(len(objects))
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in torch.load(a.judge, map_location="cpu", weights_only=True).items()})
    net.eval()
    composer = scenes.Composer(rgba, "cpu") if a.clean else None

    def run(picture):
        result = {}
        for i, c in enumerate(prompts):
            x = picture(i, c)
            if x is None:
                continue
            with torch.no_grad():
                cells, back = net(x)
            judge_one(result, c, cells[0].softmax(0).numpy(), int(back[0].argmax()))
        return result

    def file(folder):
        def picture(i, _):
            path = os.path.join(folder, f"{i + 1:03d}.png")
            if not os.path.exists(path):
                return None
            return torch.from_numpy(np.asarray(Image.open(path).convert("RGB").resize((256, 256))).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1

        return picture

    columns = [(os.path.basename(f.rstrip("/")), run(file(f))) for f in a.folders]
    if a.clean:
        columns.append(("composed scenes", run(lambda i, c: clean_scene(c, composer, i))))
    print("| | " + " | ".join(n for n, _ in columns) + " |\n|---|" + "---|" * len(columns))
    for key, words in ROWS:
        cells = [f"{100 * np.mean(r[key]):.1f} % ({len(r[key])})" if r.get(key) else "" for _, r in columns]
        print(f"| {words} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
