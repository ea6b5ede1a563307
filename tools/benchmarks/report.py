"""Turns the figures of run.py into tables, for a terminal and for kernels/cuda/HARDWARE.md. A figure that was not measured is a dash, never a guess."""


def number(value, digits=3):
    return "-" if value is None else f"{value:.{digits}f}"


def brief(figure):
    """A line about one figure, or about each scope of a kernel."""
    if "ms" in figure:
        text = f"{figure['ms']:.4f} ms"
        if figure.get("tflops"):
            text += f", {figure['tflops']:.0f} TFLOP/s"
        return text + (f", {figure['by']}" if "by" in figure else "")
    return "; ".join(f"{k} {brief(v) if isinstance(v, dict) else v}" for k, v in figure.items())


def table(head, rows):
    widths = [max(len(str(r[i])) for r in [head, *rows]) for i in range(len(head))]
    line = lambda r: "| " + " | ".join(str(c).ljust(w) if i == 0 else str(c).rjust(w) for i, (c, w) in enumerate(zip(r, widths))) + " |"
    return "\n".join([line(head), "| " + " | ".join("-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)) + " |", *map(line, rows)])


def ratio(theirs, ours):
    """How many times as fast goxl is."""
    return None if not theirs or not ours else theirs / ours


def kernels(result):
    pytorch = result.get("pytorch", {}).get("kernels", {})
    ours = result.get("goxl", {}).get("kernels", {})
    figures = {f["name"]: f for f in ours.get("figures", [])}
    names = list(pytorch) or list(figures)
    rows = []
    for name in names:
        f, p = figures.get(name, {}), pytorch.get(name, {})
        alone, whole = p.get("alone", {}), p.get("whole", {})
        ms = f.get("ms")
        share = f.get("peak")
        rows.append([
            name, number(ms, 4), number(f["gflops"] / 1e3, 0) if ms else "-", number(f.get("gb_s"), 0), f"{100 * share:.0f} %" if share else "-",
            number(alone.get("ms"), 4), alone.get("by", "-"), number(ratio(alone.get("ms"), ms), 2), number(whole.get("ms"), 4), number(ratio(whole.get("ms"), ms), 2),
        ])
    head = ["operation", "goxl ms", "TFLOP/s", "GB/s", "of peak", "library ms", "library", "ratio", "whole ms", "ratio"]
    return table(head, rows) if rows else ""


def models(result):
    """The step, the decoding and the image. goxl's step holds guidance and solver as well, PyTorch's is the UNet alone."""
    pytorch, ours = result.get("pytorch", {}), result.get("goxl", {})
    words = {"eager": "PyTorch eager", "graph": "PyTorch eager in a CUDA graph", "compile": "torch.compile, reduce-overhead"}
    rows = []

    def add(what, own, found):
        if own:
            rows.append([what, "goxl", number(own[0]), number(own[1]), "1.00"])
        for key, figure in found.items():
            rows.append([what, words[key], number(figure["ms"]), number(figure["min_ms"]), number(ratio(figure["ms"], own and own[0]), 2)])

    sides = sorted({*pytorch.get("step", {}), *(k.split()[1] for k in ours if k.startswith("step ") and k != "step sm_80")}, key=int, reverse=True)
    for side in sides:
        f = ours.get(f"step {side}")
        own = f and (1e3 * f["step_s"], 1e3 * f["least_step_s"])
        add(f"UNet step {side}²", own, pytorch.get("step", {}).get(side, {}))
    if f := ours.get("step sm_80"):
        add(f"UNet step {f['width']}², kernels for every card", (1e3 * f["step_s"], 1e3 * f["least_step_s"]), {})
    image = ours.get("image")
    for side, found in pytorch.get("vae", {}).items():
        own = None
        if image and str(image["width"]) == side and image["images_s"]:
            ms = 1e3 * next(s["s"] for s in image["stages"] if s["stage"] == "decode")
            own = (ms, None)
        add(f"VAE decode {side}²", own, found)
    if image and image["images_s"]:
        rows.append([f"image {image['width']}², {image['steps']} steps, request to PNG", "goxl", number(1e3 * image["image_s"]), number(1e3 * min(image["images_s"])), "-"])
    return table(["what", "by", "ms, median", "ms, least", "times goxl's"], rows) if rows else ""


def loading(result):
    ours, lines = result.get("goxl", {}), []
    for key, f in ours.items():
        if key.startswith("step "):
            pool = f.get("device_memory", {})
            lines.append(f"- {key}: from nothing to the end of the first step {f['load_s']:.2f} s (device {f['device_s']:.2f}, model {f['opened_s']:.2f}, text {f['prepared_s']:.2f}, "
                         f"first step {f['first_step_s']:.2f}), {len(f['steps_s']) * f.get('steps_together', 1)} steps timed, {f.get('steps_together', 1)} at a time" + (f", {pool['peak_bytes'] / 1e9:.2f} GB of the card at most" if pool else ""))
    return "\n".join(lines)


def markdown(result):
    m = result["machine"]
    peak = next((f["machine"]["peak_gflops"] for k, f in result.get("goxl", {}).items() if k != "failed"), None)
    limits = result.get("pytorch", {}).get("limits", {})
    about = [f"{m['card']}, driver {m['driver']}, CUDA {m['cuda']}, cuDNN {m['cudnn']}, torch {m['torch']}, diffusers {m['diffusers']}, {m['date']}", ""]
    about += [f"    {c}" for c in m["commands"]]
    if peak or limits:
        about += ["", f"Matrix units as goxl measures them: {number(peak and peak / 1e3, 0)} TFLOP/s; cuBLAS 8192³: {number(limits.get('product_tflops'), 0)} TFLOP/s; "
                  f"a copy on the card: {number(limits.get('copy_gb_s'), 0)} GB/s, read and written."]
    parts = ["\n".join(about)]
    for title, text in (("Models", models(result)), ("Loading", loading(result)), ("Kernels", kernels(result))):
        if text:
            parts.append(f"### {title}\n\n{text}")
    failed = result.get("goxl", {}).get("failed", {})
    for key, text in failed.items():
        parts.append(f"goxl {key} FAILED: {text}")
    return "\n\n".join(parts)
