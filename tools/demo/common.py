"""What the training commands share: the clock, checkpoints, optimizer with averaged weights, CUDA graphs, image grids."""
import glob
import io
import json
import os
import time
import traceback

import numpy as np
import torch
from PIL import Image

START = time.time()
SHARD = 15 << 20  # bytes of one shard of a compact checkpoint


def log(work, *words):
    line = f"{time.time() - START:7.1f} " + " ".join(str(w) for w in words)
    print(line, flush=True)
    with open(os.path.join(work, "log.txt"), "a") as f:
        f.write(line + "\n")


def device():
    d = "cuda" if torch.cuda.is_available() else "cpu"
    if d == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    return d


def save(work, name, state):
    path = os.path.join(work, name + ".pt")
    torch.save(state, path + ".new")
    os.replace(path + ".new", path)


def load(work, name, device="cpu"):
    """The checkpoint of a model, or None: the full one of this machine, else the compact one that join() put there."""
    path = os.path.join(work, name + ".pt")
    return torch.load(path, map_location=device, weights_only=True) if os.path.exists(path) else None


def compact(state, averaged=False):
    """Half precision, without the optimizer: what travels between machines. averaged: without the raw weights too."""
    if torch.is_tensor(state):
        return state.detach().cpu().half() if state.is_floating_point() else state.cpu()
    if isinstance(state, dict):
        return {k: compact(v, averaged) for k, v in state.items() if k != "optimizer" and not (averaged and k == "params")}
    return state


def split(work, names, out, averaged=False):
    """Writes the compact checkpoints of models into shards out/state.0, out/state.1 ..."""
    buf = io.BytesIO()
    torch.save({n: compact(s, averaged) for n in names if (s := load(work, n)) is not None}, buf)
    data = buf.getvalue()
    for i in range(0, len(data), SHARD):
        with open(os.path.join(out, f"state.{i // SHARD}"), "wb") as f:
            f.write(data[i : i + SHARD])


def join(work, folder):
    """The reverse of split: models that have no checkpoint in work get the one of the shards, in single precision."""
    shards = sorted(glob.glob(os.path.join(folder, "state.*")), key=lambda p: int(p.rsplit(".", 1)[1]))
    if not shards:
        return []
    wide = lambda s: s.float() if torch.is_tensor(s) and s.is_floating_point() else {k: wide(v) for k, v in s.items()} if isinstance(s, dict) else s
    states = torch.load(io.BytesIO(b"".join(open(p, "rb").read() for p in shards)), weights_only=True)
    done = [n for n in states if not os.path.exists(os.path.join(work, n + ".pt"))]
    for n in done:
        save(work, n, wide(states[n]))
    return done


def grid(path, images, columns):
    """images (n, 3, h, w) in [-1, 1]."""
    n, _, h, w = images.shape
    rows = -(-n // columns)
    sheet = np.full((rows * h, columns * w, 3), 255, np.uint8)
    px = ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    for i, im in enumerate(px):
        sheet[i // columns * h : (i // columns + 1) * h, i % columns * w : (i % columns + 1) * w] = im
    Image.fromarray(sheet).save(path)


def canonical(name):
    return name.replace("text_model.", "")


def put(model, weights):
    """Copies named weights into the model's parameters of those canonical names; what has no weights keeps its own."""
    with torch.no_grad():
        for n, p in model.named_parameters():
            if canonical(n) in weights:
                p.copy_(weights[canonical(n)])


class Learner:
    """AdamW on float32 parameters with an exponential moving average of them; all of a step can be held in a CUDA graph."""

    def __init__(self, named, decay, device, weight_decay=0.01):
        # transformers puts CLIP's layers under text_model, or does not, as its version goes.
        self.names, self.params = zip(*[(canonical(n), p) for n, p in named if p.requires_grad])
        self.ema = [p.detach().clone() for p in self.params]
        self.decay, self.steps = decay, 0
        cuda = device == "cuda"
        self.rate = torch.tensor(1e-8, device=device)
        self.keep = torch.zeros((), device=device)
        self.total = torch.zeros((), device=device)
        matrices = [p for p in self.params if p.ndim > 1]
        vectors = [p for p in self.params if p.ndim <= 1]
        groups = [dict(params=matrices, weight_decay=weight_decay), dict(params=vectors, weight_decay=0.0)]
        self.optimizer = torch.optim.AdamW(groups, lr=self.rate if cuda else 1e-8, betas=(0.9, 0.99), fused=cuda, capturable=cuda)
        self.cuda = cuda
        if cuda:
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate

    def set(self, rate):
        self.rate.fill_(rate)
        self.keep.fill_(1 - min(self.decay, (1 + self.steps) / (10 + self.steps)))
        if not self.cuda:
            for g in self.optimizer.param_groups:
                g["lr"] = rate
        self.steps += 1

    def learn(self, loss):
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.params, 1.0)
        self.optimizer.step()
        with torch.no_grad():
            d = torch._foreach_sub([p.detach() for p in self.params], self.ema)
            torch._foreach_mul_(d, self.keep)
            torch._foreach_add_(self.ema, d)
            self.total += loss.detach()

    def state(self):
        return dict(params=dict(zip(self.names, [p.detach() for p in self.params])), ema=dict(zip(self.names, self.ema)), steps=self.steps,
                    optimizer=self.optimizer.state_dict())

    def restore(self, state):
        with torch.no_grad():
            for n, p, e in zip(self.names, self.params, self.ema):
                p.copy_(state.get("params", state["ema"])[n])
                e.copy_(state["ema"][n])
        self.steps = state["steps"]
        if "optimizer" in state:
            for group, saved in zip(self.optimizer.param_groups, state["optimizer"]["param_groups"]):
                saved["lr"] = group["lr"]  # the tensor that set() fills
            self.optimizer.load_state_dict(state["optimizer"])
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate if self.cuda else group["lr"]

    def averaged(self):
        """Puts the averaged weights into the models; there is no way back."""
        with torch.no_grad():
            for p, e in zip(self.params, self.ema):
                p.copy_(e)


class Step:
    """Runs fn(); on a GPU the first calls run it as it is and then record it in a CUDA graph, which later calls replay: no launch costs.
    fn must read and write only tensors that live on. Where recording fails, fn runs as it is, and the log says why."""

    def __init__(self, fn, work, name, device):
        self.fn, self.work, self.name = fn, work, name
        self.graph, self.calls, self.record = None, 0, device == "cuda" and not os.environ.get("DEMO_NO_GRAPH")

    def __call__(self):
        self.calls += 1
        if self.graph is not None:
            self.graph.replay()
        elif not self.record or self.calls < 4:
            self.fn()
        else:
            self.capture()

    def capture(self):
        t = time.time()
        try:
            torch.cuda.synchronize()
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                self.fn()
            torch.cuda.current_stream().wait_stream(side)
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.fn()
            self.graph = graph
            self.graph.replay()
            log(self.work, f"{self.name}: recorded in {time.time() - t:.1f} s, {torch.cuda.memory_reserved() >> 20} MiB reserved")
        except Exception:
            traceback.print_exc()
            self.record = False
            torch.cuda.synchronize()
            log(self.work, f"{self.name}: could not be recorded; it runs uncaptured")


def compiled(fn, device):
    """fn through torch.compile on a GPU, unless DEMO_NO_COMPILE is set; where the compiler fails, fn runs as it is."""
    if device != "cuda" or os.environ.get("DEMO_NO_COMPILE"):
        return fn
    torch._dynamo.config.suppress_errors = True
    return torch.compile(fn, dynamic=False)


def schedule(peak, fraction, steps, warm=300, flat=0.5, floor=0.01):
    """Learning rate: warm-up by steps, constant, then falling to floor * peak at the end of the time budget."""
    fall = 1.0 if fraction < flat else max(0.0, 1 - (fraction - flat) / (1 - flat))
    return peak * min(1.0, (steps + 1) / warm) * max(floor, fall)


def write_json(path, value):
    with open(path, "w") as f:
        json.dump(value, f, indent=1)
