"""Replay buffers: beside an obvious reference, over episodes and the end of the ring; saved in appended files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neoteny.errors import CheckpointError, DataError, SettingError
from neoteny.rl import ReplayBuffer

R, E, OBS, ACT, GAMMA = 2, 3, 4, 2, 0.9


def life(steps: int, seed: int = 0):
    """What R agents meet in E environments each, [R, steps, E, ...]; episodes end now and then, in both ways."""
    rng = np.random.default_rng(seed)
    shape = (R, steps, E)
    return {
        "states": rng.standard_normal((*shape, OBS)).astype(np.float32),
        "actions": rng.standard_normal((*shape, ACT)).astype(np.float32),
        "rewards": rng.standard_normal(shape).astype(np.float32),
        "next_states": rng.standard_normal((*shape, OBS)).astype(np.float32),
        "terminated": rng.random(shape) < 0.15,
        "truncated": rng.random(shape) < 0.15,
    }


def filled(met, steps: range, buffer: ReplayBuffer | None = None, capacity: int = 10 * E) -> ReplayBuffer:
    buffer = buffer or ReplayBuffer(R, capacity, OBS, ACT, environments=E)
    for step in steps:
        buffer.add(*(value[:, step] for value in met.values()))
    return buffer


def reference(met, run: int, env: int, step: int, newest: int, steps: int):
    """n rewards of one environment, one after the other; then whose value counts, and how much."""
    total, factor = 0.0, 1.0
    for now in range(step, min(step + steps, newest + 1)):
        total += factor * float(met["rewards"][run, now, env])
        factor *= GAMMA
        if met["terminated"][run, now, env] or met["truncated"][run, now, env]:
            break
    return total, met["next_states"][run, now, env], 0.0 if met["terminated"][run, now, env] else factor


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("length", [7, 10, 24])  # half full, full, and twice around
def test_every_place_equals_the_obvious_reference(steps, length):
    met = life(length)
    buffer = filled(met, range(length))
    places = np.broadcast_to(np.arange(buffer.size), (R, buffer.size))
    drawn = buffer.take(places, GAMMA, steps)
    oldest = max(length - 10, 0)
    assert buffer.size == (length - oldest) * E
    for run in range(R):
        for step in range(oldest, length):
            for env in range(E):
                place = (step % 10) * E + env
                total, reached, factor = reference(met, run, env, step, length - 1, steps)
                for name in ("states", "actions"):
                    np.testing.assert_array_equal(drawn[name][run, place], met[name][run, step, env])
                np.testing.assert_array_equal(drawn["next_states"][run, place], reached)
                np.testing.assert_allclose(drawn["rewards"][run, place], total, rtol=1e-5, atol=1e-6)
                np.testing.assert_allclose(drawn["discounts"][run, place], factor, rtol=1e-6)


def test_several_steps_written_at_once_are_the_same():
    met = life(17)
    one, many = filled(met, range(17)), ReplayBuffer(R, 10 * E, OBS, ACT, environments=E)
    many.add(*(value[:, :4].reshape(R, 4 * E, *value.shape[3:]) for value in met.values()))
    many.add(*(value[:, 4:].reshape(R, 13 * E, *value.shape[3:]) for value in met.values()))  # more than it holds
    for name, value in one._kept.items():
        assert torch.equal(many._kept[name], value)


@pytest.mark.parametrize("storage", ["uint8", "bits"])
def test_small_numbers_come_back_as_they_were(storage):
    rng = np.random.default_rng(0)
    seen = rng.integers(0, 2 if storage == "bits" else 256, (1, 6, 11)).astype(np.float32)
    buffer = ReplayBuffer(1, 6, 11, None, storage=storage)
    no = np.zeros((1, 6), bool)
    buffer.add(seen, rng.integers(0, 3, (1, 6)), np.zeros((1, 6)), seen[:, ::-1], no, no)
    drawn = buffer.take(np.array([[5, 0]]), GAMMA)
    np.testing.assert_array_equal(drawn["states"][0], seen[0, [5, 0]])
    np.testing.assert_array_equal(drawn["next_states"][0], seen[0, [0, 5]])
    assert drawn["actions"].dtype == torch.int64


def test_memory_is_that_of_the_arrays():
    buffer = ReplayBuffer(1, 1_000_000, 27, 8)
    assert buffer.bytes == 1_000_000 * (27 * 2 * 4 + 8 * 4 + 4 + 1)
    # of what is not written to nothing is taken
    assert buffer._kept["states"].untyped_storage().nbytes() == 1_000_000 * 27 * 4


def test_checkpoints_append_files_and_never_write_old_ones_again(tmp_path):
    met, buffer, written = life(40), ReplayBuffer(R, 10 * E, OBS, ACT, environments=E), {}
    for begun in range(0, 40, 4):
        filled(met, range(begun, begun + 4), buffer)
        state = buffer.state_dict(tmp_path)
        now = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        assert all(now[name] == written[name] for name in now.keys() & written.keys())
        assert len(now) <= 5  # the four that hold its last ten steps, and one that the last checkpoint needed
        written = now
        other = ReplayBuffer(R, 10 * E, OBS, ACT, environments=E)
        copy = {**state, "parts": [dict(part) for part in state["parts"]]}
        other.load_state_dict(copy, tmp_path)
        places = np.broadcast_to(np.arange(buffer.size), (R, buffer.size))
        for name, value in buffer.take(places, GAMMA, 3).items():
            assert torch.equal(other.take(places, GAMMA, 3)[name], value)


def test_a_file_written_after_the_checkpoint_is_not_read(tmp_path):
    """ACT process killed between its buffer's file and its checkpoint leaves the file behind."""
    met = life(12)
    buffer = filled(met, range(6))
    state = buffer.state_dict(tmp_path)
    filled(met, range(6, 12), buffer).state_dict(tmp_path)
    again = ReplayBuffer(R, 10 * E, OBS, ACT, environments=E)
    again.load_state_dict(state, tmp_path)
    assert again.added == 6 * E
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    state = filled(life(6), range(6)).state_dict(tmp_path)
    path = next(tmp_path.iterdir())
    if damage == "missing":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=damage):
        ReplayBuffer(R, 10 * E, OBS, ACT, environments=E).load_state_dict(state, tmp_path)


def data(count: int = 5, **changed):
    rng = np.random.default_rng(1)
    return {
        "observations": rng.standard_normal((count, OBS)),
        "actions": rng.standard_normal((count, ACT)),
        "rewards": rng.standard_normal(count),
        "next_observations": rng.standard_normal((count, OBS)),
        "terminals": np.zeros(count, bool),
        **changed,
    }


def test_a_data_set_is_taken_in():
    buffer = ReplayBuffer(1, 8, OBS, ACT)
    given = data(timeouts=np.array([0, 1, 0, 0, 0], bool))
    buffer.fill(given)
    drawn = buffer.take(np.array([[0, 1]]), GAMMA, steps=3)
    np.testing.assert_allclose(drawn["rewards"][0, 0], given["rewards"][:2] @ [1, GAMMA], rtol=1e-6)
    np.testing.assert_allclose(drawn["discounts"], [[GAMMA**2, GAMMA]], rtol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"actions": np.zeros((5, 3))}, "actions have the shape"),
        ({"rewards": np.full(5, np.nan)}, "rewards are not all finite"),
        ({"observations": np.zeros((0, OBS))}, "observations have the shape"),
    ],
)
def test_foreign_data_are_refused(wrong, said):
    with pytest.raises(DataError, match=said):
        ReplayBuffer(1, 8, OBS, ACT).fill(data(**wrong))
    with pytest.raises(DataError, match="has no 'actions'"):
        ReplayBuffer(1, 8, OBS, ACT).fill({"observations": np.zeros((5, OBS))})
    with pytest.raises(DataError, match="at least one row"):
        ReplayBuffer(1, 8, OBS, ACT).fill(data(0))


def test_what_no_agent_can_learn_from_is_refused():
    met = life(1)
    met["rewards"][1, 0, 2] = np.nan
    with pytest.raises(SettingError, match="agent 1 was given the reward nan"):
        filled(met, range(1))
    with pytest.raises(SettingError, match="give storage = 'float32'"):
        small = ReplayBuffer(1, 4, 2, None, storage="uint8")
        small.add(np.full((1, 1, 2), 0.5), [[0]], [[0.0]], np.zeros((1, 1, 2)), [[False]], [[False]])
    with pytest.raises(SettingError, match="multiple of 3"):
        ReplayBuffer(R, 10, OBS, ACT, environments=E)
