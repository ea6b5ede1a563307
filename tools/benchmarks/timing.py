"""How PyTorch is timed: device events around CUDA graphs, random data, medians."""

import statistics

import torch


def events(f, n, warm):
    """Milliseconds of each of n calls of f, on the device."""
    for _ in range(warm):
        f()
    torch.cuda.synchronize()
    out = []
    for _ in range(n):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        f()
        end.record()
        end.synchronize()
        out.append(start.elapsed_time(end))
    return out


def graph_of(f, repeats=1, warm=3):
    """A call that replays a graph of f, repeats times over. Warming up happens on a stream of its own, as capture demands."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(warm):
            f()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(repeats):
            f()
    return graph.replay


def summary(times):
    return {"runs": len(times), "ms": statistics.median(times), "min_ms": min(times)}


def kernel(f):
    """Milliseconds of one f among many in a graph, where no launch is waited for: median and least of five graphs of about 20 ms, as goxl bench kernels does it."""
    once = min(events(graph_of(f), 3, 1))
    repeats = max(2, min(1024, int(20 / max(once, 1e-3))))
    times = [t / repeats for t in events(graph_of(f, repeats, 1), 5, 2)]
    return {**summary(times), "runs": repeats * len(times)}
