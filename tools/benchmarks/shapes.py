"""The operations that are compared, under the names that `goxl bench kernels` gives them, as PyTorch computes them.

A case yields ways: pairs of a library's name and a call. The fastest counts. "alone" ways are the matrix product, convolution or attention with its bias and nothing else; "whole" ways compute
all that goxl's operation does (residual, activation), with whatever kernels eager PyTorch takes for it. All data is random, fp16, channels last.
"""

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

device, dtype = "cuda", torch.float16


def randn(*shape):
    return torch.randn(*shape, device=device, dtype=dtype)


def image(n, c, side):
    return randn(n, c, side, side).to(memory_format=torch.channels_last)


def attention(batch, heads, queries, keys, size):
    def attend(backend, q, k, v):
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, v)

    def ways():
        # Tokens first, as a model has them, and heads first, which some libraries are faster on.
        tokens = [randn(batch, n, heads, size).transpose(1, 2) for n in (queries, keys, keys)]
        packed = [x.contiguous() for x in tokens]
        backends = {"flash attention": SDPBackend.FLASH_ATTENTION, "cuDNN": SDPBackend.CUDNN_ATTENTION, "efficient attention": SDPBackend.EFFICIENT_ATTENTION}
        for name, backend in backends.items():
            for layout in (tokens, packed):
                yield "alone", name, lambda: attend(backend, *layout)

    return ways, 4 * batch * heads * queries * keys * size


def conv(n, side, c, o, extra=None, k=3, stride=1):
    def ways():
        x, w, b = image(n, c, side), randn(o, c, k, k).mul_((c * k * k) ** -0.5).to(memory_format=torch.channels_last), randn(o)
        convolve = lambda: F.conv2d(x, w, b, stride=stride, padding=k // 2)
        yield "alone", "cuDNN", convolve
        if extra == "residual":
            r = image(n, o, side // stride)
            yield "whole", "cuDNN and add", lambda: convolve() + r
        if extra == "row bias":
            r = randn(n, o, 1, 1)
            yield "whole", "cuDNN and add", lambda: convolve() + r

    return ways, 2 * n * (side // stride) ** 2 * c * o * k * k


def linear(m, k, n, extra=None, bias=True):
    def ways():
        x, w = randn(m, k), randn(n, k).mul_(k**-0.5)
        b = randn(n) if bias else None
        multiply = lambda: F.linear(x, w, b)
        yield "alone", "cuBLAS", multiply
        if extra == "residual":
            r = randn(m, n)
            yield "whole", "cuBLAS and add", lambda: multiply() + r
        if extra == "geglu":

            def gated():
                value, gate = multiply().chunk(2, dim=-1)
                return value * F.gelu(gate)

            yield "whole", "cuBLAS, gelu and multiply", gated

    return ways, 2 * m * k * n


def group_norm(n, side, c, silu=True):
    def ways():
        x, g, b = image(n, c, side), randn(c), randn(c)
        norm = lambda: F.group_norm(x, 32, g, b, 1e-5)
        yield "whole", "PyTorch", (lambda: F.silu(norm())) if silu else norm

    return ways, 0


def layer_norm(rows, c):
    def ways():
        x, g, b = randn(rows, c), randn(c), randn(c)
        yield "whole", "PyTorch", lambda: F.layer_norm(x, (c,), g, b, 1e-5)

    return ways, 0


CASES = {
    "attention/base 1024 level 1": attention(2, 10, 4096, 4096, 64),
    "attention/base 1024 level 2": attention(2, 20, 1024, 1024, 64),
    "attention/base 1024 level 1 context": attention(2, 10, 4096, 77, 64),
    "attention/base 1024 level 2 context": attention(2, 20, 1024, 77, 64),
    "attention/vae 1024": attention(1, 1, 16384, 16384, 512),
    "conv/base 1024 level 0": conv(2, 128, 320, 320, "row bias"),
    "conv/base 1024 down 0": conv(2, 128, 320, 320, stride=2),
    "conv/base 1024 level 1": conv(2, 64, 640, 640, "residual"),
    "conv/base 1024 level 2": conv(2, 32, 1280, 1280, "residual"),
    "conv/base 1024 level 2 wide": conv(2, 32, 2560, 1280),
    "conv/base 1024 in": conv(2, 128, 4, 320),
    "conv/base 1024 out": conv(2, 128, 320, 4),
    "conv/vae 1024 level 0": conv(1, 128, 512, 512, "residual"),
    "conv/vae 1024 level 1": conv(1, 512, 512, 512),
    "conv/vae 1024 level 2": conv(1, 1024, 256, 256),
    "conv/vae 1024 level 3": conv(1, 1024, 128, 128),
    "conv/vae 1024 out": conv(1, 1024, 128, 3),
    "linear/base 1024 level 1 query": linear(8192, 640, 640, bias=False),
    "linear/base 1024 level 1 query, key, value": linear(8192, 640, 1920, bias=False),
    "linear/base 1024 level 1 geglu": linear(8192, 640, 5120, "geglu"),
    "linear/base 1024 level 1 down": linear(8192, 2560, 640, "residual"),
    "linear/base 1024 level 2 query": linear(2048, 1280, 1280, bias=False),
    "linear/base 1024 level 2 query, key, value": linear(2048, 1280, 3840, bias=False),
    "linear/base 1024 level 2 wide": linear(2048, 1280, 10240),
    "linear/base 1024 level 2 geglu": linear(2048, 1280, 10240, "geglu"),
    "linear/base 1024 level 2 down": linear(2048, 5120, 1280, "residual"),
    "linear/8192": linear(8192, 8192, 8192),
    "groupnorm/base 1024 level 0": group_norm(2, 128, 320),
    "groupnorm/base 1024 level 1": group_norm(2, 64, 640, silu=False),
    "groupnorm/vae 1024 level 3": group_norm(1, 1024, 128),
    "layernorm/base 1024 level 1": layer_norm(8192, 640),
    "layernorm/base 1024 level 2": layer_norm(2048, 1280),
}
