"""Flights and electricity: look-alikes are decoded, others are refused."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from neoteny.data import DATA_SETS, electricity, flights
from neoteny.data.flights import Flights
from neoteny.errors import DataError

FLIGHTS, ELECTRICITY = (importlib.import_module(f"neoteny.data.{name}") for name in ("flights", "electricity"))


def look_alike(path, rows=50):
    rng = np.random.default_rng(0)
    airports = np.array(["ATL", "ABE", "YAK", "LAX"])
    table = pl.DataFrame(
        {
            "date": [datetime(2001, 1, 1, 0, 1) + timedelta(minutes=3 * row) for row in range(rows)],
            "delay": rng.integers(-30, 300, rows),
            "distance": rng.integers(50, 3_000, rows),
            "origin": rng.choice(airports[:3], rows),
            "destination": rng.choice(airports[1:], rows),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    table.write_parquet(path)
    return table, hashlib.sha256(path.read_bytes()).hexdigest()


def test_flights_are_decoded_once(tmp_path, cache, monkeypatch):
    path = tmp_path / "flights" / "flights-3m.parquet"
    table, checksum = look_alike(path)
    with pytest.raises(DataError, match=r"checksum is wrong. Fetch it again: `npm pack vega-datasets@3\.2\.1`"):
        flights(tmp_path)
    monkeypatch.setattr(FLIGHTS, "_REMOTE", replace(FLIGHTS._REMOTE, sha256=checksum))
    found = flights(tmp_path)
    assert isinstance(found, Flights)
    assert found.airports == ("ABE", "ATL", "LAX", "YAK")
    assert found.minute.tolist() == [1 + 3 * row for row in range(50)]
    for name in ("delay", "distance"):
        assert getattr(found, name).tolist() == table[name].to_list()
    for name in ("origin", "destination"):
        assert [found.airports[place] for place in getattr(found, name)] == table[name].to_list()
    assert DATA_SETS["flights"].load(tmp_path) == "50 flights between 4 airports"
    assert DATA_SETS["flights"].find(tmp_path) == str(path)
    monkeypatch.setattr(pl, "read_parquet", lambda path: pytest.fail("decoded twice"))
    assert flights(tmp_path).delay.tolist() == found.delay.tolist()


def test_flights_that_are_missing(tmp_path, cache):
    assert DATA_SETS["flights"].find(tmp_path) is None
    with pytest.raises(DataError, match=r"flights-3m.parquet is missing.*By hand: `npm pack"):
        flights(tmp_path)


def test_electricity(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install statsmodels"):
        electricity(tmp_path)
    path = tmp_path / "mstl_elec_vic.csv"
    path.write_text("ds,y\n2012-01-01 00:00:00,7926.5\n2012-01-01 01:00:00,7901.25\n")
    with pytest.raises(DataError, match="checksum is wrong"):
        electricity(tmp_path)
    monkeypatch.setattr(ELECTRICITY, "_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    assert electricity(tmp_path).tolist() == [7926.5, 7901.25]
    assert DATA_SETS["electricity"].load(tmp_path) == "2 hours"
    assert DATA_SETS["electricity"].find(tmp_path) == str(path)


def test_electricity_of_an_installed_package(tmp_path, monkeypatch):
    package = tmp_path / "statsmodels"
    path = package / "tsa" / "stl" / "tests" / "results" / "mstl_elec_vic.csv"
    path.parent.mkdir(parents=True)
    path.write_text("ds,y\n2012-01-01 00:00:00,1.0\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: type("Spec", (), {"origin": package / "__init__.py"}))
    monkeypatch.setattr(ELECTRICITY, "_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    assert electricity(tmp_path / "elsewhere").tolist() == [1.0]
