from __future__ import annotations

import io

from rich.console import Console

from neoteny.lab.execution import Progress
from neoteny.lab.progress import Rate, describe, live


def at(examples, value=float("nan")):
    return Progress("cbp", examples, 1_000_000, 30, "loss", value)


def test_in_a_log_each_stack_is_one_line_when_it_is_done():
    text = io.StringIO()
    with live(["cbp"], Console(file=text, width=40)) as notify:
        for examples in (0, 500_000, 1_000_000, 1_000_000):
            notify(at(examples, 0.25))
    assert text.getvalue() == "cbp  done  loss 0.250\n"


def test_on_a_terminal_the_line_shows_speed_and_error():
    text = io.StringIO()
    with live(["cbp"], Console(file=text, width=120, force_terminal=True)) as notify:
        notify(at(0))
        notify(at(500_000, 0.25))
    assert "cbp" in text.getvalue() and "50%" in text.getvalue() and "examples/s" in text.getvalue()


def test_nothing_is_claimed_before_it_is_known():
    assert describe(at(0), None) == "preparing"
    assert describe(at(10, 0.5), None) == "loss 0.500"


def test_the_rate_forgets_the_time_spent_compiling():
    rate = Rate(window=10)
    rate.update(0, now=0)
    assert rate.update(100, now=60) == 100 / 60
    for second in range(61, 80):
        found = rate.update(100 * (second - 59), now=second)
    assert found == 100
