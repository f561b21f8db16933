"""Data sets of transitions: written and read in place, D4RL's and Minari's files, and what is refused."""

from __future__ import annotations

import os

import numpy as np
import pytest

from neoteny.data import load_transitions, save_transitions
from neoteny.errors import DataError


def made_up(count=7):
    rng = np.random.default_rng(0)
    return {
        "observations": rng.normal(size=(count, 3)).astype(np.float32),
        "actions": rng.normal(size=(count, 2)).astype(np.float32),
        "rewards": rng.normal(size=count).astype(np.float32),
        "next_observations": rng.normal(size=(count, 3)).astype(np.float32),
        "terminals": np.arange(count) == 2,
        "timeouts": np.arange(count) == count - 1,
    }


def test_what_is_written_is_read_in_place(tmp_path):
    made = made_up()
    path = save_transitions(tmp_path / "there" / "set.npz", made)
    loaded = load_transitions(path)
    with np.load(path) as plain:
        for name, values in made.items():
            assert isinstance(loaded[name], np.memmap) and loaded[name].dtype == values.dtype
            np.testing.assert_array_equal(loaded[name], values)
            np.testing.assert_array_equal(plain[name], values)
    assert [file.name for file in path.parent.iterdir()] == ["set.npz"]


def test_a_number_that_was_damaged_is_noticed(tmp_path):
    path = save_transitions(tmp_path / "set.npz", made_up())
    content, place = bytearray(path.read_bytes()), load_transitions(path)["rewards"].offset
    content[place + 2] ^= 0x40  # still a finite number
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"set.npz is damaged: the checksum of rewards.npy is wrong. Copy the file"):
        load_transitions(path)


def test_processes_that_write_the_same_file_do_not_mix(tmp_path, monkeypatch):
    path, write, other = tmp_path / "set.npz", np.savez, made_up(900)

    def while_another_writes(file, **arrays):
        write(file, **arrays)
        monkeypatch.setattr(np, "savez", write)
        monkeypatch.setattr(os, "getpid", lambda: -1)
        save_transitions(path, other)
        monkeypatch.undo()

    monkeypatch.setattr(np, "savez", while_another_writes)
    save_transitions(path, made_up())
    np.testing.assert_array_equal(load_transitions(path)["rewards"], made_up()["rewards"])
    assert [file.name for file in tmp_path.iterdir()] == ["set.npz"]


@pytest.mark.skipif(os.name == "nt", reason="Windows does not replace a file that is open")
def test_a_file_that_is_replaced_while_it_is_read_is_one_of_both(tmp_path, monkeypatch):
    path, new = save_transitions(tmp_path / "set.npz", made_up()), save_transitions(tmp_path / "new.npz", made_up(900))
    read = np.lib.format.read_magic

    def replaced_then(file):
        new.replace(path) if new.exists() else None
        return read(file)

    monkeypatch.setattr(np.lib.format, "read_magic", replaced_then)
    np.testing.assert_array_equal(load_transitions(path)["rewards"], made_up()["rewards"])


@pytest.fixture
def h5py():
    return pytest.importorskip("h5py")


def test_d4rl_without_next_observations_loses_the_steps_that_were_cut_off(tmp_path, h5py):
    seen = np.arange(8, dtype=np.float32)[:, None]
    flags = {"terminals": [0, 0, 1, 0, 0, 0, 0, 0], "timeouts": [0, 0, 0, 0, 0, 1, 0, 0]}
    with h5py.File(tmp_path / "d4rl.hdf5", "w") as file:
        file["observations"], file["actions"], file["rewards"] = seen, -seen, 10 * seen[:, 0]
        for name, values in flags.items():
            file[name] = np.array(values, bool)
    loaded = load_transitions(tmp_path / "d4rl.hdf5")
    kept = [0, 1, 2, 3, 4, 6]  # 5 was cut off and 7 is the last: where they led is not known
    np.testing.assert_array_equal(loaded["observations"][:, 0], kept)
    np.testing.assert_array_equal(loaded["next_observations"][:, 0], [1, 2, 2, 4, 5, 7])
    np.testing.assert_array_equal(loaded["rewards"], 10.0 * np.array(kept))
    np.testing.assert_array_equal(loaded["terminals"], [0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(loaded["timeouts"], [0, 0, 0, 0, 1, 1])
    with h5py.File(tmp_path / "d4rl.hdf5", "a") as file:
        file["next_observations"] = seen + 100
    loaded = load_transitions(tmp_path / "d4rl.hdf5")
    np.testing.assert_array_equal(loaded["next_observations"], seen + 100)
    np.testing.assert_array_equal(loaded["timeouts"], np.array(flags["timeouts"], bool))


def test_minaris_episodes_with_observations_in_parts(tmp_path, h5py):
    (tmp_path / "set" / "data").mkdir(parents=True)
    with h5py.File(tmp_path / "set" / "data" / "main_data.hdf5", "w") as file:
        for number, length in ((10, 2), (2, 3)):  # in the order of their numbers
            group = file.create_group(f"episode_{number}")
            for part, first in (("achieved_goal", 0), ("observation", 100)):
                group[f"observations/{part}"] = first + np.arange(length + 1.0)[:, None]
            group["actions"], group["rewards"] = np.ones((length, 2)), np.full(length, float(number))
            group["terminations"] = np.arange(length) == (length - 1 if number == 2 else -1)
            group["truncations"] = np.zeros(length, bool)
    loaded = load_transitions(tmp_path / "set", keys=("observation", "achieved_goal"))
    np.testing.assert_array_equal(loaded["observations"], [[100, 0], [101, 1], [102, 2], [100, 0], [101, 1]])
    np.testing.assert_array_equal(loaded["next_observations"], loaded["observations"] + 1)
    np.testing.assert_array_equal(loaded["rewards"], [2, 2, 2, 10, 10])
    np.testing.assert_array_equal(loaded["terminals"], [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(loaded["timeouts"], [0, 0, 0, 0, 1])
    with pytest.raises(DataError, match="episode_2: its observations have the parts achieved_goal, observation"):
        load_transitions(tmp_path / "set")


def test_what_is_refused(tmp_path, h5py):
    made, path = made_up(), tmp_path / "set.npz"
    with pytest.raises(DataError, match="is missing"):
        load_transitions(path)
    with pytest.raises(DataError, match=r"written as \.npz"):
        save_transitions(tmp_path / "set.npy", made)
    with pytest.raises(DataError, match="has no array 'actions'"):
        save_transitions(path, {name: values for name, values in made.items() if name != "actions"})
    with pytest.raises(DataError, match="has no transitions"):
        save_transitions(path, {name: values[:0] for name, values in made.items()})
    with pytest.raises(DataError, match="rewards is not finite"):
        save_transitions(path, made | {"rewards": np.full(7, np.nan)})
    with pytest.raises(DataError, match=r"actions is float32 \[6, 2\], it must be float32 of 2 dimensions with 7 rows"):
        save_transitions(path, made | {"actions": made["actions"][1:]})
    with pytest.raises(DataError, match="different sizes"):
        save_transitions(path, made | {"next_observations": made["actions"]})
    assert not list(tmp_path.iterdir())
    np.savez_compressed(path, **made)
    with pytest.raises(DataError, match="is compressed"):
        load_transitions(path)
    np.savez(path, pixels=np.zeros(3))
    with pytest.raises(DataError, match=r"has no array 'observations' \(it has: pixels\)"):
        load_transitions(path)
    path.write_bytes(b"something else")
    with pytest.raises(DataError, match="damaged or of another kind"):
        load_transitions(path)
    (tmp_path / "other.hdf5").write_bytes(b"something else")
    with pytest.raises(DataError, match="damaged or of another kind"):
        load_transitions(tmp_path / "other.hdf5")
    with h5py.File(tmp_path / "foreign.hdf5", "w") as file:
        file["frames"] = np.zeros(3)
    with pytest.raises(DataError, match=r"has no observations \(it has: frames\).*nor Minari's"):
        load_transitions(tmp_path / "foreign.hdf5")
    with pytest.raises(DataError, match="it is no data set of Minari"):
        load_transitions(tmp_path)
