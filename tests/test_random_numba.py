"""Random numbers that Numba compiles, against the distributions that they are meant to have."""

import numpy as np
import pytest
import torch
from scipy import stats

from mmaavi.random_numba import random_bits, standard_normal


def splitmix64(seed: int, n: int) -> list[int]:
    """As published (Steele et al. 2014), but that the first number is that of the seed itself."""
    numbers, mask = [], 2**64 - 1
    for i in range(n):
        x = (seed + i * 0x9E3779B97F4A7C15) & mask
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & mask
        x = (x ^ x >> 27) * 0x94D049BB133111EB & mask
        numbers.append(x ^ x >> 31)
    return numbers


def test_bits_are_those_of_splitmix64_with_a_seed_of_torch():
    torch.manual_seed(3)
    seed = torch.empty(1, dtype=torch.int64).random_(-(2**63), None).item() % 2**64
    torch.manual_seed(3)
    assert random_bits(100).tolist() == splitmix64(seed, 100)


def test_numbers_are_normal_and_independent():
    torch.manual_seed(0)
    x = standard_normal(torch.Size([2, 200_001])).double().numpy()
    flat = x.ravel()
    assert stats.kstest(flat, "norm").pvalue > 1e-3
    assert stats.kstest(np.abs(flat[np.abs(flat) > 3]), stats.truncnorm(3, np.inf).cdf).pvalue > 1e-3
    half = len(flat) // 2
    for a, b in ((flat[:-1], flat[1:]), (flat[:half], flat[half:]), (x[0], x[1])):  # neighbours, the pairs, two rows
        for f in (np.asarray, np.abs, np.sign):
            assert abs(np.corrcoef(f(a), f(b))[0, 1]) < 4 / np.sqrt(len(a))
    assert len(np.unique(flat)) > 0.95 * len(flat)


@pytest.mark.parametrize("shape", [(1,), (3, 3), (2, 2048), (7, 333)])
def test_numbers_depend_on_the_seed_alone(shape):
    def drawn(seed: int, threads: int) -> torch.Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            torch.manual_seed(seed)
            return standard_normal(torch.Size(shape))
        finally:
            torch.set_num_threads(before)

    one, same, two, other = drawn(0, 1), drawn(0, 1), drawn(0, 2), drawn(1, 1)
    assert one.shape == shape
    assert torch.equal(one, same)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert not torch.equal(one, standard_normal(torch.Size(shape)))  # the next call
