from __future__ import annotations

import io
import math
from dataclasses import replace

from rich.console import Console

from neoteny.lab.execution import Progress
from neoteny.progress import Rate, bar, bars, describe, hearing, live, stage
from neoteny.progress.curves import Curves, dots


def at(examples, value=float("nan")):
    return Progress("cbp", examples, 1_000_000, 30, "loss", value)


def test_in_a_log_each_stack_is_one_line_when_it_is_done():
    text = io.StringIO()
    with live(["cbp"], console=Console(file=text, width=40)) as notify:
        for examples in (0, 500_000, 1_000_000, 1_000_000):
            notify(at(examples, 0.25))
    assert text.getvalue() == "cbp  done  loss 0.250\n"


def test_on_a_terminal_the_line_shows_speed_and_error():
    text = io.StringIO()
    with live(["cbp"], console=Console(file=text, width=120, force_terminal=True)) as notify:
        notify(at(0))
        notify(at(500_000, 0.25))
    assert "cbp" in text.getvalue() and "50%" in text.getvalue() and "examples/s" in text.getvalue()


def test_what_is_waited_for_is_said_and_for_how_long(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    text = io.StringIO()
    with live(["cbp"], console=Console(file=text, width=120, force_terminal=True)) as notify:
        for doing in ("reading data", "", "compiling", "", "compiling"):
            notify(replace(at(0), doing=doing))
            clock[0] += 3
    assert "0% compiling, 9 s" in text.getvalue()  # since it first began
    assert describe(replace(at(10), doing="compiling"), 5.0) == "compiling"


def test_stages_are_told_only_where_somebody_hears():
    said: list[str] = []
    with stage("alone"), hearing(said.append), stage("reading"), bar("decoding", 4) as advance:
        for _ in range(4):
            advance()
    assert said == ["reading", "decoding 25%", "decoding 50%", "decoding 75%", "decoding 100%", "", ""]


def test_the_curves_of_a_few_stacks_are_below_their_lines():
    text, shown = io.StringIO(), io.StringIO()
    curves = Curves(["cbp", "l2"])
    with live(["cbp", "l2"], console=Console(file=text, width=60, force_terminal=True)) as notify:
        for share in range(1, 11):
            for name, slope in (("cbp", 1), ("l2", -1)):
                told = replace(at(100_000 * share, 5 + slope * 0.1 * share), label=name)
                notify(told)
                curves.add(name, told)
    Console(file=shown, width=60).print(curves)
    top, *_, bottom, names = shown.getvalue().rstrip().splitlines()
    assert (top.split()[0], bottom.split()[0], names.split()) == ("6", "4", ["loss:", "cbp", "l2"])
    assert top[-1] > "\u2800" and bottom[-1] > "\u2800" and max(map(len, (top, bottom))) <= 60
    assert "loss: " in text.getvalue() and top[-1] in text.getvalue()
    assert not Curves([str(number) for number in range(7)])


def test_a_curve_is_its_values():
    heights = [math.nan, 0.0, 0.5, 1.0]
    cells = dots(heights, 2, 0, 1)
    lit = [
        (2 * x + column, 7 - (4 * row + line))
        for row, line_of_cells in enumerate(cells)
        for x, bits in enumerate(line_of_cells)
        for column, lines in enumerate(((1, 2, 4, 64), (8, 16, 32, 128)))
        for line, bit in enumerate(lines)
        if bits & bit
    ]
    highest = {x: max(y for place, y in lit if place == x) for x, _ in lit}
    assert highest == {1: 0, 2: 4, 3: 7}
    assert len(lit) == 1 + 4 + 3  # steep parts are one line
    assert dots([1.0, 1.0], 1, 1, 1) == [[sum((0x2, 0x10))]]


def test_nothing_is_claimed_before_it_is_known():
    assert describe(at(0), None) == "first steps"
    assert describe(at(10, 0.5), None) == "loss 0.500"
    assert describe(at(10, 0.00042), None) == "loss 4.20e-04"


def test_the_rate_forgets_the_time_spent_compiling():
    rate = Rate(window=10)
    rate.update(0, now=0)
    assert rate.update(100, now=60) == 100 / 60
    for second in range(61, 80):
        found = rate.update(100 * (second - 59), now=second)
    assert found == 100


def test_a_bar_comes_only_late_and_only_in_a_terminal(monkeypatch):
    def shown(patience, terminal):
        monkeypatch.setattr(bars, "PATIENCE", patience)
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, width=60)
        with bar("trainability", 3, late=True, console=console) as advance:
            for _ in range(3):
                advance()
        return out.getvalue()

    assert "trainability" in shown(-1, True)
    assert shown(-1, False) == ""
    assert shown(100, True) == ""


def test_a_bar_of_what_takes_long_is_one_line_in_a_log():
    text = io.StringIO()
    console = Console(file=text, width=80)
    with bar("file.bin", 2_000_000, done=1_000_000, unit="bytes", console=console) as advance:
        advance(500_000)
        advance(500_000)
    assert text.getvalue().count("\n") == 1
    assert "file.bin" in text.getvalue() and "2.0/2.0 MB" in text.getvalue()
    nothing = io.StringIO()
    with bar("file.bin", 10, console=Console(file=nothing)):
        pass
    assert nothing.getvalue() == ""


def test_a_sweep_counts_its_stacks_in_a_log():
    text = io.StringIO()
    work = {"digits cbp tuning": 30_000_000, "digits l2 tuning": 15_000_000}  # of l2 half was done before
    with live(sweep=work, console=Console(file=text, width=40)) as notify:
        for examples in (0, 1_000_000, 1_000_000):
            notify(at(examples), "digits cbp tuning")
        notify(at(500_000), "digits l2 tuning")
        notify(at(1_000_000, 0.25), "digits l2 tuning")
    first, second = text.getvalue().splitlines()
    assert first.startswith("digits cbp tuning  done  1 of 2 stacks  about 0 h 00 min to go")
    assert second.startswith("digits l2 tuning  done  loss 0.250  2 of 2 stacks")


def test_a_sweep_that_grows_counts_what_came_later():
    text = io.StringIO()
    with live(sweep={"digits cbp tuning": 30_000_000}, console=Console(file=text, width=40)) as notify:
        notify(at(1_000_000), "digits cbp tuning")
        notify(at(1_000_000), "digits cbp tuning 2")
    first, second = text.getvalue().splitlines()
    assert "1 of 1 stacks" in first and "2 of 2 stacks" in second


def test_a_sweep_on_a_terminal_has_a_line_for_all_of_it():
    text = io.StringIO()
    with live(sweep={"one": 30_000_000}, console=Console(file=text, width=120, force_terminal=True)) as notify:
        notify(at(500_000), "one")
    assert "all stacks" in text.getvalue() and "0 of 1 stacks" in text.getvalue() and "50%" in text.getvalue()


def test_nothing_is_shown_where_nothing_was_asked_for():
    for terminal in (True, False):
        text = io.StringIO()
        with live(sweep={"one": 1.0}, show=False, console=Console(file=text, force_terminal=terminal)) as notify:
            notify(at(1_000_000, math.nan), "one")
        assert text.getvalue() == ""
