"""The noise has the distribution that is booked, and nobody can make it repeat.

Statistical tests draw from the secure source, so they are set to fail by chance less than once in
a million runs (five standard errors, p-values below 1e-7).
"""

from __future__ import annotations

import copy
import math
import multiprocessing
import os
import pickle
from importlib.util import find_spec
from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

from fl.privacy import variates, variates_compiled
from fl.privacy.noise import (
    InsecureNoiseForTests,
    NoiseSource,
    SecureRandom,
    grid_of,
    noised,
)
from fl.privacy.variates import BLOCK, LARGEST_NORMAL, Stream, radius32

COMPILED = find_spec("numba") is not None
needs_numba = pytest.mark.skipif(not COMPILED, reason="the extra [compiled] is not installed")
N = 1_000_000
FLOATS = (torch.float32, torch.float64)


# ------------------------------------------------------------------------------- distribution


def sources() -> list[SecureRandom]:
    """A secure source, and where numba is installed one with compiled loops."""
    return [SecureRandom(compiled=loops) for loops in (False, True)[: 1 + COMPILED]]


@pytest.mark.parametrize(("rng", "dtype"), list(product(sources(), FLOATS)))
def test_normal_variates_are_normal(rng: SecureRandom, dtype: torch.dtype) -> None:
    x = rng.normal((N,), 2.0, dtype)
    assert x.dtype == dtype
    z = x.double().numpy() / 2
    assert abs(z.mean()) < 5 / math.sqrt(N)
    assert abs(z.std() - 1) < 5 / math.sqrt(2 * N)
    assert abs((z**4).mean() - 3) < 5 * math.sqrt(96 / N)
    assert stats.kstest(z, "norm").pvalue > 1e-7
    for lag in (1, 2, N // 2, BLOCK):  # BLOCK: between the two halves of a Box-Muller pair
        assert abs((z[lag:] * z[:-lag]).mean()) < 5 / math.sqrt(N - lag)
        assert abs((z[lag:] ** 2 * z[:-lag] ** 2).mean() - 1) < 5 * math.sqrt(8 / (N - lag))


@pytest.mark.parametrize(("rng", "dtype"), list(product(sources(), FLOATS)))
def test_normal_tails_have_the_right_weight(rng: SecureRandom, dtype: torch.dtype) -> None:
    z = rng.normal((4 * N,), 1.0, dtype).double().numpy()
    for edge in (2.0, 3.0, 4.0, 4.8):
        for side in (z > edge, z < -edge):
            expected = len(z) * stats.norm.sf(edge)
            assert abs(side.sum() - expected) < 5 * math.sqrt(expected) + 3


def test_the_largest_radii_are_fine_and_within_the_stated_limit() -> None:
    """2^22 radii hold about 64 with u < 2^-16; 32 bits alone would make them coarse."""
    stream = Stream(bytes(32))
    edge = math.sqrt(2 * math.log(2) * 16)
    far = [r[r > edge] for r in (radius32(stream, 16384) for _ in range(256))]
    radii = np.concatenate(far)
    assert abs(len(radii) - 64) < 5 * 8
    assert len(np.unique(radii)) == len(radii)
    assert radii.max() < LARGEST_NORMAL


@needs_numba
def test_compiled_variates_are_those_of_the_same_bits() -> None:
    """4 million of them, about 30 pairs of which have one of the largest radii."""
    fast = np.empty(4 * N, np.float32)
    variates_compiled.fill(Stream(bytes(32)), fast, 3.0)
    slow = variates.normal(Stream(bytes(32)), (4 * N,), 3.0, torch.float32).numpy()
    far = np.abs(slow) > 3 * 4.8
    assert far.any() and np.abs(fast - slow)[far].max() < 3 * 2e-6
    assert np.abs(fast - slow).max() < 3 * 2e-6  # 2 units in the last place at 8 std


@needs_numba
@pytest.mark.parametrize("power", range(32))
def test_compiled_radii_and_angles_are_right_to_the_last_bits(power: int) -> None:
    """Each radius from 0 to 6.7 that 32 bits can say, by its power of two, on all angles."""
    n = 256
    low = 2**power if power else 0
    radius = np.linspace(low, 2 ** (power + 1) - 1, n).astype(np.uint32)
    angle = (np.arange(n, dtype=np.uint64) * 2654435761 % 2**32).astype(np.uint32)
    angle[:9] = [0, 1, 2**29 - 1, 2**29, 2**30, 2**31 - 1, 2**31, 3 * 2**30, 2**32 - 1]
    out, far = np.empty((2, n), np.float32), np.empty((3, n), np.int64)
    found = variates_compiled._loops()[0](np.stack([angle, radius]), out, np.float32(1), far)
    assert found == int((radius < 2**16).sum())
    u = (radius.astype(np.float32) + np.float32(0.5)).astype(float) * 2.0**-32
    true = np.sqrt(-2 * np.log(u)), angle * (2 * np.pi / 2**32)
    for got, expected in zip(out, (np.cos(true[1]), np.sin(true[1])), strict=True):
        np.testing.assert_allclose(got, true[0] * expected, rtol=0, atol=4e-7 * (1 + true[0].max()))


@needs_numba
def test_compiled_radii_beyond_32_bits_are_fine_to_the_stated_limit() -> None:
    words = np.array([0, 2, 2**20, 2**40, 2**63, 2**64 - 1], np.uint64)
    far = np.stack([np.arange(6), np.zeros(6), [0, 0, 1, 7, 100, 65535]]).astype(np.int64)
    pair = np.empty((2, 6), np.float32)
    variates_compiled._loops()[1](pair, far, words, 1.0)
    u = (far[2] + variates.unit(words)) * 2.0**-32
    np.testing.assert_allclose(pair[0], np.sqrt(-2 * np.log(u)), rtol=1e-7)
    assert pair.max() <= np.float32(LARGEST_NORMAL) and not pair[1].any()
    assert len(np.unique(pair[0])) == 6


@pytest.mark.parametrize("sigma", [0.3, 1.0, 7.5, 1000.0])
def test_discrete_gaussian_has_its_probabilities(sigma: float) -> None:
    x = SecureRandom().discrete_gaussian((N,), sigma)
    assert x.dtype == np.int64
    reach = math.ceil(6 * sigma)
    k = np.arange(-reach, reach + 1)
    p = np.exp(-(k**2) / (2 * sigma**2))
    p /= p.sum()
    variance = (p * k**2).sum()
    assert abs(x.mean()) < 5 * math.sqrt(variance / N)
    assert abs((x.astype(float) ** 2).mean() - variance) < 5 * math.sqrt(
        (p * (k**2 - variance) ** 2).sum() / N
    )
    bins = [p_k > 20 / N for p_k in p]
    counts = np.array([(x == k_i).sum() for k_i in k[bins][:60]])
    expected = N * p[bins][:60]
    assert stats.chi2.sf(((counts - expected) ** 2 / expected).sum(), len(counts)) > 1e-7


@pytest.mark.parametrize("rate", [1e-4, 0.01, 0.5, 0.999])
def test_coins_fall_at_their_rate(rate: float) -> None:
    coins = SecureRandom().bernoulli(N, rate)
    assert coins.dtype == torch.bool
    assert abs(int(coins.sum()) - N * rate) < 5 * math.sqrt(N * rate * (1 - rate)) + 1
    both = (coins[1:] & coins[:-1]).sum()
    assert abs(int(both) - N * rate**2) < 5 * math.sqrt(3 * N * rate**2) + 3


def test_coins_that_48_further_bits_decide_fall_at_their_rate() -> None:
    for rate in (2.0**-17, 3 * 2.0**-18):  # below 2^-16: a word of 16 bits alone never says True
        coins = SecureRandom().bernoulli(16 * N, rate)
        assert abs(int(coins.sum()) - 16 * N * rate) < 5 * math.sqrt(16 * N * rate)


def test_coins_of_rate_zero_and_one_are_certain() -> None:
    rng = SecureRandom()
    assert not rng.bernoulli(10_000, 0.0).any() and rng.bernoulli(10_000, 1.0).all()


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (16384 * 2 + 1,)])
def test_any_shape_is_filled(shape: tuple[int, ...]) -> None:
    rng = SecureRandom()
    for dtype in FLOATS:
        x = rng.normal(shape, 1.0, dtype)
        assert x.shape == shape and bool((x != 0).all())
    assert rng.discrete_gaussian(shape, 1e6).shape == shape


def test_numbers_out_of_range_are_refused() -> None:
    rng = SecureRandom()
    for std in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="std"):
            rng.normal((1,), std)
    with pytest.raises(ValueError, match="out_dtype"):
        rng.normal((1,), 1.0, torch.float16)
    for rate in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="rate"):
            rng.bernoulli(1, rate)
    for sigma in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="sigma"):
            rng.discrete_gaussian((1,), sigma)


# ------------------------------------------------------------------------------- nobody repeats


def drawn(rng: NoiseSource) -> list[object]:
    """Something of every kind."""
    return [
        rng.normal((8,), 1.0).tolist(),
        rng.bernoulli(64, 0.5).tolist(),
        rng.discrete_gaussian((8,), 1e6).tolist(),
    ]


def disturb() -> None:
    """Seed everything that others may seed."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002


def test_no_seed_makes_two_runs_equal() -> None:
    """Trap T5: Opacus' noise repeats after ``torch.manual_seed``."""
    runs = []
    for _ in range(2):
        disturb()
        rng = SecureRandom()
        disturb()
        runs.append(drawn(rng))
    assert all(a != b for a, b in zip(*runs, strict=True))


def test_drawing_does_not_move_the_global_generators() -> None:
    disturb()
    expected = (torch.rand(3).tolist(), np.random.random(3).tolist())  # noqa: NPY002
    disturb()
    drawn(SecureRandom())
    assert (torch.rand(3).tolist(), np.random.random(3).tolist()) == expected  # noqa: NPY002


def test_one_instance_never_repeats() -> None:
    rng = SecureRandom()
    seen = [tuple(rng.normal((4,), 1.0).tolist()) for _ in range(1000)]
    assert len(set(seen)) == 1000


def test_the_insecure_source_repeats_and_says_so() -> None:
    assert drawn(InsecureNoiseForTests(1)) == drawn(InsecureNoiseForTests(1))
    assert drawn(InsecureNoiseForTests(1)) != drawn(InsecureNoiseForTests(2))
    assert InsecureNoiseForTests(1).name == "insecure_noise_for_tests"
    assert SecureRandom().name == "secure"


def test_a_forked_child_has_a_stream_of_its_own() -> None:
    rng = SecureRandom()
    rng.normal((4,), 1.0)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, rng.normal((4,), 1.0).numpy().tobytes())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = np.frombuffer(os.read(read, 16), np.float32)
    os.close(read)
    os.close(write)
    assert len(theirs) == 4
    assert not np.isin(theirs, rng.normal((4,), 1.0).numpy()).any()


def test_two_forked_workers_differ() -> None:
    rng = SecureRandom()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    workers = [context.Process(target=lambda: queue.put(drawn(rng))) for _ in range(2)]
    for worker in workers:
        worker.start()
    first, second = queue.get(), queue.get()
    for worker in workers:
        worker.join()
    mine = drawn(rng)
    assert first != second and first != mine and second != mine


def test_a_secure_source_is_not_printed_copied_or_stored() -> None:
    rng = SecureRandom()
    assert "redacted" in repr(rng) and "redacted" in repr(rng._stream)
    assert "redacted" in repr(InsecureNoiseForTests(5))
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="never copied"):
            attempt(rng)


# ------------------------------------------------------------------------------- noised sums


def test_a_noised_sum_has_noise_of_multiplier_times_clip() -> None:
    sums = [torch.full((500, 1000), 3.0), torch.full((N // 2,), -7.0)]
    got = noised(sums, 0.5, 1.7, SecureRandom())
    assert [g.shape for g in got] == [s.shape for s in sums]
    z = torch.cat([(g - s).flatten() for g, s in zip(got, sums, strict=True)]).double() / 0.85
    assert abs(float(z.mean())) < 5 / math.sqrt(N)
    assert abs(float(z.std()) - 1) < 5 / math.sqrt(2 * N)
    assert stats.kstest(z[:10_000].numpy(), "norm").pvalue > 1e-7
    assert bool((sums[0] == 3).all()), "the sums are not changed"


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("clip_norm", "multiplier"), [(1.0, 1.0), (0.3, 5.0), (1e-3, 0.4)])
def test_a_noised_sum_lies_on_the_public_grid(
    clip_norm: float, multiplier: float, dtype: torch.dtype
) -> None:
    sums = [torch.linspace(-1, 1, 999, dtype=dtype) * clip_norm]
    grid = grid_of(clip_norm * multiplier)
    steps = noised(sums, clip_norm, multiplier, SecureRandom())[0].double() / grid
    assert bool((steps == steps.round()).all())
    assert math.log2(grid).is_integer() and clip_norm * multiplier / grid < 2048


@pytest.mark.parametrize(
    ("clip_norm", "multiplier"), [(0.0, 1.0), (1.0, 0.0), (math.inf, 1.0), (1.0, math.nan)]
)
def test_a_sum_without_noise_is_refused(clip_norm: float, multiplier: float) -> None:
    with pytest.raises(ValueError, match="noise_multiplier"):
        noised([torch.zeros(1)], clip_norm, multiplier, SecureRandom())
