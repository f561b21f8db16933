"""Random numbers against an exact reference on unsigned words, and their statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.fx.experimental.proxy_tensor import make_fx

from neoteny.units import noise, random


def mix(x):
    x = np.asarray(x, np.uint32)
    with np.errstate(over="ignore"):
        x = x ^ (x >> np.uint32(16))
        x = x * np.uint32(0xEB352D)
        x = x ^ (x >> np.uint32(15))
        x = x * np.uint32(0x6CA68B)
        return x ^ (x >> np.uint32(16))


def words(tensor):
    return tensor.numpy().view(np.uint32)


def reference_key(seed):
    low, high = np.uint32(seed & 0xFFFFFFFF), np.uint32((seed >> 32) & 0xFFFFFFFF)
    with np.errstate(over="ignore"):
        return np.stack([mix(low + np.uint32(0x9E3779)), mix(mix(high ^ low) + np.uint32(1))])


def reference_fold(key, data):
    with np.errstate(over="ignore"):
        word = mix(np.uint32(data & 0xFFFFFFFF) * np.uint32(0x9E3779) + np.uint32(1))
        first = mix(key[0] ^ (word & np.uint32(0xFFFFFF)))
        return np.stack([first, mix((key[1] + (word >> np.uint32(8))) ^ first)])


def reference_bits(key, count):
    with np.errstate(over="ignore"):
        return mix(mix(np.arange(count, dtype=np.uint32) + key[0]) ^ key[1])


@given(st.integers(0, 2**64 - 1), st.integers(-(2**31), 2**31 - 1), st.integers(1, 300))
def test_words_are_those_of_unsigned_arithmetic(seed, data, count):
    key = random.key(seed)
    assert (words(key) == reference_key(seed)).all()
    folded = random.fold_in(key, data)
    assert torch.equal(folded, random.fold_in(key, torch.tensor(data)))
    assert (words(folded) == reference_fold(reference_key(seed), data)).all()
    assert (words(random.bits(folded, count)) == reference_bits(words(folded), count)).all()
    expected = (reference_bits(words(folded), count) >> 8).astype(np.float32) + np.float32(0.5)
    assert (random.uniform(folded, (count,)).numpy() == expected * np.float32(2**-24)).all()


def reference_normal(key, count):
    half = (count + 1) // 2
    a, b = np.split(reference_bits(key, 2 * half), 2)
    radius = np.sqrt(-2 * np.log(((a >> 8) + 0.5) * 2.0**-24))
    angle = ((b.view(np.int32) >> 8) + 0.5) * (np.pi / 4 * 2.0**-23)
    pair = np.stack([np.cos(angle), np.sin(angle)])
    first, second = np.where(b & 1, pair[::-1], pair)
    first, second = first * np.where(b & 2, -1, 1), second * np.where(b & 4, -1, 1)
    return np.concatenate([radius * first, radius * second])[:count]


def test_normal_numbers_are_box_and_muller_s():
    key = random.key(5)
    np.testing.assert_allclose(random.normal(key, (1001,)).numpy(), reference_normal(words(key), 1001), atol=2e-6)


def test_compiled_and_mapped_draws_equal_eager_ones():
    keys = torch.stack([random.key(seed) for seed in range(4)])

    def draw(key, step):
        key = random.fold_in(key, step)
        return random.bits(key, 70), random.uniform(key, (7, 10)), random.normal(key, (7, 11))

    def mapped(keys, step):
        return torch.func.vmap(draw, in_dims=(0, None))(keys, step)

    step = torch.tensor(3, dtype=torch.int32)
    alone = [torch.stack(draws) for draws in zip(*(draw(key, step) for key in keys), strict=True)]
    together = mapped(keys, step)
    torch.compiler.reset()
    compiled = torch.compile(mapped, fullgraph=True)(keys, step)
    for draws in (together, compiled):
        assert torch.equal(draws[0], alone[0]) and torch.equal(draws[1], alone[1])
        torch.testing.assert_close(draws[2], alone[2], rtol=0, atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_distributions(seed):
    key = random.fold_in(random.key(seed), 9)
    uniform, normal = random.uniform(key, (200_000,)).numpy(), random.normal(key, (200_000,)).numpy()
    assert uniform.min() > 0 and uniform.max() < 1
    assert stats.kstest(uniform, "uniform").pvalue > 1e-4
    assert stats.kstest(normal, "norm").pvalue > 1e-4
    assert abs(np.corrcoef(uniform[1:], uniform[:-1])[0, 1]) < 0.01
    assert abs(np.corrcoef(normal[:100_000], normal[100_000:])[0, 1]) < 0.015
    assert abs(np.corrcoef(normal[:100_000] ** 2, normal[100_000:] ** 2)[0, 1]) < 0.015


def test_neighbouring_keys_draw_independently():
    draws = torch.stack(
        [random.uniform(random.fold_in(random.key(seed), step), (2000,)) for seed in range(6) for step in range(6)]
    ).numpy()
    correlations = np.corrcoef(draws) - np.eye(36)
    assert abs(correlations).max() < 5 / np.sqrt(2000)
    first = draws[:, 0]
    assert len(np.unique(first)) == 36 and 0.25 < first.mean() < 0.75


def test_no_draw_touches_the_global_generator():
    state = torch.get_rng_state()
    random.normal(random.key(1), (100,))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("count", [1, 2, 7, 1001])
def test_the_kernel_draws_the_same_numbers(count, monkeypatch):
    keys = torch.stack([random.key(seed) for seed in range(3)])
    at = torch.tensor([5, 2**31 - 2, 0], dtype=torch.int32)

    def drawn():
        return (
            noise.normals(keys, count, (3, -1), at, 4),
            noise.normals(keys[0], count),
            noise.normals(keys[1], count, (8,)),
        )

    assert noise.at_once(keys)
    kernel = drawn()
    monkeypatch.setattr(noise.compiling, "optional", lambda source: None)
    assert not noise.at_once(keys)
    for own, torchs in zip(kernel, drawn(), strict=True):
        assert own.shape == torchs.shape
        torch.testing.assert_close(own, torchs, rtol=0, atol=1e-6)
    for run, step in ((0, 1), (1, 3), (2, 0)):
        key = random.fold_in(random.fold_in(random.fold_in(keys[run], int(at[run]) + step), 3), -1)
        np.testing.assert_allclose(kernel[0][run, step], reference_normal(words(key), count), atol=2e-6)


@pytest.mark.parametrize("shape", [(), (3, 5), (2**20 + 3,)])
def test_the_kernel_draws_the_same_uniform_numbers(shape, monkeypatch):
    key = random.fold_in(random.key(5), 2)
    drawn = random.uniform(key, shape)
    monkeypatch.setattr(random, "_uniform", lambda: None)
    assert torch.equal(drawn, random.uniform(key, shape)) and drawn.shape == shape


@pytest.mark.parametrize("compiled", [True, False])
def test_many_keys_draw_what_each_draws_alone(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(random, "_uniform", lambda: None)
    keys = torch.stack([random.key(seed) for seed in range(3)])
    drawn = random.uniform(keys, (4, 5))
    assert torch.equal(drawn, torch.stack([random.uniform(key, (4, 5)) for key in keys]))


def test_the_kernel_stays_out_of_graphs_and_transforms():
    keys = torch.stack([random.key(seed) for seed in range(3)])
    mapped = torch.func.vmap(lambda key: noise.normals(key, 6)[0])(keys)
    torch.testing.assert_close(mapped, noise.normals(keys, 6)[:, 0], rtol=0, atol=1e-6)
    graph = make_fx(lambda key: noise.normals(key, 6))(keys[0])
    torch.testing.assert_close(graph(keys[1]), noise.normals(keys[1], 6), rtol=0, atol=1e-6)
