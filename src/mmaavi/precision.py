"""Precision of the large matrix products of a training: as low as leaves the scores alone, where the hardware gains by it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

# Features. On two cores of an AMD EPYC (Zen 4) a step of 128 cells takes 6% less by MKL with 1,200, 10% less by oneDNN with
# 24,200, and as long by either with 9,900.
ONEDNN_FROM = 10_000


@contextmanager
def fast_products(n_features: int) -> Iterator[None]:
    """Let products of float32 matrices run as the hardware is quickest.

    A GPU rounds the factors to TF32, which its tensor cores take. A CPU with AVX-512 for bfloat16 multiplies by oneDNN, on AMD in
    half of MKL's time and as exactly, where the largest modality has so many features that this outweighs its slower start; but
    where oneDNN would round all factors (Intel's AMX, ARM), what was set stays. It holds for the whole process: not for trainings
    in several threads.
    """
    fast = {torch.backends.cuda.matmul: "tf32"}
    capabilities = torch.cpu.get_capabilities()
    exact = capabilities.get("avx512_bf16", False) and not capabilities.get("amx_tile", False)
    if exact and n_features >= ONEDNN_FROM:
        fast[torch.backends.mkldnn.matmul] = "bf16"
    before = {products: products.fp32_precision for products in fast}
    try:
        for products, precision in fast.items():
            products.fp32_precision = precision
        yield
    finally:
        for products, precision in before.items():
            products.fp32_precision = precision


@cache
def multiplies_bfloat16(kind: str) -> bool:
    """Whether devices of this kind, "cpu" or "cuda", have instructions for it; others can do it too, but slowly."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False)


def sum_of_products(pairs: Sequence[tuple[Tensor, Tensor]], may_round: bool) -> Tensor:
    """Sum of left @ right.T over pairs of shapes (n, k) and (G, k), of shape (n, G).

    With ``may_round`` in bfloat16, factors, result and gradients, where that is faster; sums run in float32 all the same.
    """
    if may_round and multiplies_bfloat16(pairs[0][0].device.type):
        left, right = (torch.cat([x.bfloat16() for x in side], dim=1) for side in zip(*pairs, strict=True))
        return left @ right.T
    (left, right), *others = pairs
    out = left @ right.T
    for left, right in others:
        out = out.addmm_(left, right.T)
    return out
