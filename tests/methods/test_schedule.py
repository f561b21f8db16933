"""The clocks against event-by-event references that count one step at a time."""

from __future__ import annotations

import copy
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neoteny.errors import CheckpointError
from neoteny.methods.shared.schedule import Periodic, Replacements


def brute_force(rate, size, maturity, rule, steps, whole=False):
    """One layer, one step at a time, every unit with its age: what is due, and how many units are eligible after it."""
    rate, account = Fraction(str(rate)), Fraction(0)
    ages, due, eligible = [0] * size, [], []
    for _ in range(steps):
        ages = [age + 1 for age in ages]
        mature = [unit for unit in range(size) if ages[unit] > maturity]
        account += rate * (size if whole and mature else len(mature))
        count = min(int(account), len(mature), *([1] if rule == "account" else []))
        account -= count
        for unit in mature[:count]:
            ages[unit] = 0
        due.append(count)
        eligible.append(len(mature) - count)
    return np.array(due), eligible


rates = st.one_of(st.sampled_from([0.0, 1.0, 0.1, 0.29, 1e-3, 0.07, 0.5]), st.floats(0, 1).map(lambda x: round(x, 4)))


@settings(deadline=None, max_examples=60)
@given(
    rates,
    st.integers(1, 12),
    st.integers(0, 30),
    st.sampled_from(["account", "accumulate"]),
    st.lists(st.integers(0, 90)),
    st.booleans(),
)
def test_account_rules_agree_step_by_step_however_the_range_is_cut(rate, size, maturity, rule, cuts, whole):
    steps = sum(cuts)
    expected, eligible = brute_force(rate, size, maturity, rule, steps, whole)
    clock = Replacements(rate, [size], maturity, rule, whole=whole)
    got = np.concatenate([clock.take(cut)[:, 0] for cut in cuts] or [np.zeros(0, int)])
    assert np.array_equal(got, expected)
    assert clock.replaced == [expected.sum()]
    assert clock.eligible == [eligible[-1] if eligible else 0]


def test_no_float_drift():
    """0.1 added up a million times is not 100,000; the account is."""
    clock = Replacements(0.1, [1], maturity=0, rule="account")
    due = clock.take(1_000_000)[:, 0]
    assert due.sum() == 100_000
    assert np.array_equal(np.flatnonzero(due), np.arange(9, 1_000_000, 10))


def test_account_does_not_grow_while_nothing_is_eligible():
    clock = Replacements(0.5, [4], maturity=1000, rule="accumulate")
    due = clock.take(1010)[:, 0]
    assert not due[:1000].any()
    assert due[1000] == 2  # 0.5 * 4 at the first step at which all four are mature, and no more
    assert due.max() == 2


def test_the_authors_draw_no_further_unit_beyond_one():
    """Where at least one unit is due at each step, the share beyond whole units is left out; below one it is drawn."""
    due = Replacements(0.45, [5], 0, "drawn", np.random.default_rng(0), whole=True).take(100)[:, 0]
    assert set(due.tolist()) <= {1, 2}
    assert due[0] == 2  # 0.45 * 5 is 2.25
    rare = Replacements(0.1, [5], 0, "drawn", np.random.default_rng(0), whole=True).take(2_000)[:, 0]
    assert 0.4 < rare.mean() < 0.55


@pytest.mark.parametrize("rule", ["account", "accumulate", "drawn"])
def test_never_more_due_than_eligible(rule):
    due = Replacements(1.0, [7], maturity=3, rule=rule, generator=np.random.default_rng(0)).take(200)[:, 0]
    ages = np.zeros(7, int)
    for count in due:
        ages += 1
        mature = np.flatnonzero(ages > 3)
        assert count <= len(mature)
        ages[mature[:count]] = 0


@pytest.mark.parametrize(("rate", "size", "maturity"), [(0.02, 10, 20), (0.3, 10, 5), (0.001, 100, 50)])
def test_drawn_agrees_with_one_lot_a_step_in_distribution(rate, size, maturity):
    """The mean number and the chance of two in neighbouring steps, against a literal lot at every step."""
    steps, runs = 600, 150
    ours = np.stack(
        [
            Replacements(rate, [size], maturity, "drawn", np.random.default_rng(run)).take(steps)[:, 0]
            for run in range(runs)
        ]
    )
    theirs, rng = np.zeros((runs, steps), int), np.random.default_rng(77)
    for run in range(runs):
        ages = np.zeros(size, int)
        for step in range(steps):
            ages += 1
            mature = np.flatnonzero(ages > maturity)
            n = rate * len(mature)
            count = int(n) + int(rng.random() < n - int(n))
            ages[mature[:count]] = 0
            theirs[run, step] = count
    for statistic in (
        lambda x: x.mean(1),
        lambda x: (x[:, 1:] * x[:, :-1]).mean(1),
        lambda x: x[:, : maturity + 40].mean(1),
    ):
        a, b = statistic(ours), statistic(theirs)
        error = np.sqrt(a.var() / runs + b.var() / runs) + 1e-12
        assert abs(a.mean() - b.mean()) < 4 * error


@pytest.mark.parametrize(("rate", "size", "maturity"), [(0.02, 10, 20), (0.3, 10, 5), (0.9, 3, 0)])
def test_drawn_given_the_same_lots(rate, size, maturity):
    lots = np.random.default_rng(5).spawn(1)[0]
    expected = drawn_with_lots(rate, size, maturity, 500, lots)
    clock = Replacements(rate, [size], maturity, "drawn", np.random.default_rng(5))
    assert np.array_equal(np.concatenate([clock.take(n)[:, 0] for n in (1, 0, 199, 300)]), expected)
    assert expected.sum() > 20


def drawn_with_lots(rate, size, maturity, steps, lots):
    """A lot u is drawn when units mature and after each success; success where 1 - (1 - p)^k exceeds u, k steps on."""
    rate, ages, due = Fraction(str(rate)), [0] * size, []

    def new_lot(units):
        return lots.random() if rate * units % 1 else 0.0

    lot, waited = 0.0, 0
    for _ in range(steps):
        ages = [age + 1 for age in ages]
        mature = [unit for unit in range(size) if ages[unit] > maturity]
        if any(age == maturity + 1 for age in ages):
            lot, waited = new_lot(len(mature)), 0
        waited += 1
        whole, chance = divmod(rate * len(mature), 1)
        count = int(whole) + int(lot < chance if whole else 1 - (1 - float(chance)) ** waited > lot)
        for unit in mature[:count]:
            ages[unit] = 0
        if count:
            lot, waited = new_lot(len(mature) - count), 0
        due.append(count)
    return np.array(due)


@pytest.mark.parametrize("rule", ["account", "accumulate", "drawn"])
def test_state_survives_a_pickle(rule):
    def make():
        return Replacements(0.05, [5, 30], 10, rule, np.random.default_rng(3))

    clock, other = make(), make()
    clock.take(137)
    state = pickle.loads(pickle.dumps(copy.deepcopy(clock.state_dict())))
    expected = clock.take(500)
    other.load_state_dict(state)
    assert np.array_equal(other.take(500), expected)
    assert other.replaced == clock.replaced
    with pytest.raises(CheckpointError, match="2 layers"):
        Replacements(0.05, [5], 10, rule).load_state_dict(state)


def test_layers_do_not_share_lots():
    """A layer's lots depend on neither the other layers nor the cuts."""
    alone = Replacements(0.05, [30], 10, "drawn", np.random.default_rng(3)).take(500)[:, 0]
    both = Replacements(0.05, [30, 7], 10, "drawn", np.random.default_rng(3))
    assert np.array_equal(np.concatenate([both.take(100)[:, 0] for _ in range(5)]), alone)


def test_nothing_ever_due_costs_nothing():
    clock = Replacements(0.0, [100, 100], 10, "account")
    assert not clock.take(1_000_000).any()
    assert clock.quiet == float("inf")
    assert clock.mature_share == [1.0, 1.0]


def test_periodic():
    clock = Periodic(4)
    assert np.array_equal(np.flatnonzero(np.concatenate([clock.take(3), clock.take(6), clock.take(4)])), [3, 7, 11])
    assert not Periodic(None).take(100).any()
    state, expected = clock.state_dict(), clock.take(9)
    again = Periodic(4)
    again.load_state_dict(state)
    assert np.array_equal(again.take(9), expected)
    with pytest.raises(CheckpointError, match="every 4 updates"):
        Periodic(5).load_state_dict(state)
