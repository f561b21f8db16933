import math

import numpy as np
import pytest

from neoteny.errors import SettingError, UnknownNameError
from neoteny.seeds import DATA, generator
from neoteny.streams import SlowlyChangingRegression


def slow_reference(seed, flip, threshold, steps, task_length, m=20, f=15, n=100, beta=0.7):
    """One run, one example at a time, from the formula; 1 and 2 mark the problem's and the tasks' generators."""
    rng = generator(seed, DATA, 1)
    signs = [1 if bit else -1 for bit in rng.integers(0, 2, n * (m + 2) + 1)]
    weights = [signs[i * m : (i + 1) * m] for i in range(n)]
    biases, outgoing, constant = signs[n * m : n * m + n], signs[n * m + n : n * m + 2 * n], signs[-1]
    xs, ys, held = [], [], [0] * f
    for step in range(steps):
        if step % task_length == 0:
            rng = generator(seed, DATA, 2, step // task_length)
            if flip == "all" or step == 0:
                held = list(rng.integers(0, 2, f))
            else:
                bit = rng.integers(f)
                held[bit] = 1 - held[bit]
            patterns = rng.integers(0, 2 ** (m - f), task_length, np.uint8)
        pattern = int(patterns[step % task_length])
        x = [*held, *((pattern >> i) & 1 for i in range(m - f))]
        y = constant
        for w, b, v in zip(weights, biases, outgoing, strict=True):
            s = sum(weight == -1 for weight in [*w, b]) if threshold == "paper" else (m - sum(w) + b) / 2
            fires = sum(weight * bit for weight, bit in zip(w, x, strict=True)) + b > beta * (m + 1) - s
            y += v * fires
        xs.append(x)
        ys.append(y)
    return np.array(xs), np.array(ys)


@pytest.mark.parametrize("flip", ["all", "one"])
@pytest.mark.parametrize("threshold", ["authors", "paper"])
def test_against_the_formula(flip, threshold):
    stream = SlowlyChangingRegression([8, 9], flip, threshold=threshold, task_length=50)
    x, y = stream.next(220)
    for run in range(2):
        expected_x, expected_y = slow_reference(8 + run, flip, threshold, 220, 50)
        np.testing.assert_array_equal(x[run, :, 0].numpy(), expected_x)
        np.testing.assert_array_equal(y[run, :, 0, 0].numpy(), expected_y)


def test_the_learner_sees_twenty_bits():
    x, _ = SlowlyChangingRegression([0]).next(1)
    assert x.shape == (1, 1, 1, 20)


def test_flip_one_flips_exactly_one():
    stream = SlowlyChangingRegression(range(20), flip="one", task_length=10)
    x = stream.next(400)[0][:, ::10, 0, :15].numpy()
    assert (np.abs(np.diff(x, axis=1)).sum(-1) == 1).all()
    assert 0.3 < x[:, 0].mean() < 0.7  # at step 0 all are drawn
    flipped = np.abs(np.diff(x, axis=1)).argmax(-1).ravel()
    counts = np.bincount(flipped, minlength=15)
    assert (counts > 0.5 * flipped.size / 15).all()


def test_bits_are_fair_and_independent():
    stream = SlowlyChangingRegression(range(50), task_length=100)
    x = stream.next(20_000)[0][:, :, 0].numpy()
    held = x[:, ::100, :15].reshape(-1, 15)
    free = x[:, :, 15:].reshape(-1, 5)
    for bits in (held, free):
        np.testing.assert_allclose(bits.mean(0), 0.5, atol=5 * 0.5 / math.sqrt(len(bits)))
        correlation = np.corrcoef(bits.T) - np.eye(bits.shape[1])
        assert np.abs(correlation).max() < 5 / math.sqrt(len(bits))
    within = x.reshape(50, 200, 100, 20)[..., :15]
    assert (within == within[:, :, :1]).all()


@pytest.mark.parametrize("threshold", ["authors", "paper"])
def test_units_fire_as_often_as_the_binomial_says(threshold):
    """With a = agreements of x with W's signs, Binomial(20, 1/2), a unit fires iff a > 14.7 - c_b, c in closed form."""
    tail = [sum(math.comb(20, k) for k in range(a, 21)) / 2**20 for a in range(22)]
    # W x + b > 14.7 - S and W x = a - (number of -1): a > 14.7 - b - (S - number of -1).
    first = {"authors": (14, 17), "paper": (14, 15)}[threshold]  # the least a that fires, for b = +1 and b = -1
    stream = SlowlyChangingRegression(range(30), threshold=threshold, task_length=1, batch_size=10)
    x = stream.next(300)[0].numpy().reshape(30, 3000, 20)
    fires = x @ stream._w.swapaxes(1, 2) + stream._b[:, None] > stream._theta[:, None]
    for sign, least in zip((1, -1), first, strict=True):
        rate = fires.swapaxes(1, 2)[stream._b == sign].mean()
        assert rate == pytest.approx(tail[least], rel=0.1)


def test_a_unit_at_whose_inputs_the_share_alone_agrees_does_not_fire():
    problem = SlowlyChangingRegression([0], inputs=49, held_bits=45, features=500, beta=0.58, threshold="paper")
    x = np.random.default_rng(0).integers(0, 2, (1, 20, 49))
    bits = np.concatenate([x[0], np.ones((20, 1))], 1)  # the constant is an input as well
    agree = (bits[:, None] == (np.concatenate([problem._w[0], problem._b[0, :, None]], 1) > 0)).sum(-1)
    assert (agree == 29).any()  # of 50
    np.testing.assert_allclose(problem.target(x)[0], (agree > 29) @ problem._v[0] + problem._c[0])


def test_targets_are_the_function_they_say():
    stream = SlowlyChangingRegression([1, 2, 3], task_length=40)
    x, y = stream.next(200)
    np.testing.assert_array_equal(stream.target(x[:, :, 0].numpy().astype(float)), y[:, :, 0, 0].numpy())


def test_the_probe_has_the_current_held_bits():
    stream = SlowlyChangingRegression([1, 2], task_length=10)
    x = stream.next(15)[0]
    probe = stream.probe(64)
    assert (probe[:, :, :15] == x[:, -1, :, :15]).all()
    stream.next(5)  # at the boundary the task is the next one
    assert (stream.probe(64)[:, :, :15] == stream.next(1)[0][:, 0, :, :15]).all()
    assert (stream.probe(64)[:, :, 15:] == probe[:, :, 15:]).all()


def test_one_hundred_runs_stay_small():
    stream = SlowlyChangingRegression(range(100))
    stream.next(100)
    held = sum(t.numel() * t.element_size() for t in vars(stream).values() if hasattr(t, "element_size"))
    held += sum(a.nbytes for a in vars(stream).values() if isinstance(a, np.ndarray))
    assert held < 8e6


def test_bad_settings_are_refused():
    for bad in ({"held_bits": 21}, {"held_bits": 5}, {"held_bits": -1}, {"inputs": 0, "held_bits": 0}):
        with pytest.raises(SettingError, match="held_bits"):
            SlowlyChangingRegression([0], **bad)
    with pytest.raises(SettingError, match="no bit to flip"):
        SlowlyChangingRegression([0], flip="one", inputs=5, held_bits=0)
    for bad in ({"beta": 1.5}, {"beta": float("nan")}, {"features": 0}):
        with pytest.raises(SettingError, match="features"):
            SlowlyChangingRegression([0], **bad)
    with pytest.raises(SettingError, match="task_length = 0"):
        SlowlyChangingRegression([0], task_length=0)
    with pytest.raises(UnknownNameError, match=r"flip.* 'both'"):
        SlowlyChangingRegression([0], flip="both")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UnknownNameError, match=r"threshold.* 'mine'"):
        SlowlyChangingRegression([0], threshold="mine")  # pyright: ignore[reportArgumentType]
