"""Stacks of frames kept once: beside a buffer that keeps every observation, over ends of episodes and of the ring."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neoteny.errors import SettingError
from neoteny.rl import FrameBuffer, ReplayBuffer

R, E, STACK, FRAME, GAMMA, CAPACITY = 2, 3, 4, 5, 0.9, 30


def life(steps: int, ends: float = 0.15, seed: int = 0) -> list[tuple[np.ndarray, ...]]:
    """What R agents see in E environments each, one step after the other."""
    rng = np.random.default_rng(seed)

    def frame():
        return rng.integers(0, 256, FRAME, dtype=np.uint8)

    seen = np.stack([[np.tile(frame(), STACK) for _ in range(E)] for _ in range(R)])
    met = []
    for _ in range(steps):
        terminated, truncated = rng.random((2, R, E)) < ends
        after = np.stack([[np.append(seen[r, e, FRAME:], frame()) for e in range(E)] for r in range(R)])
        made = rng.integers(0, 6, (R, E)), rng.standard_normal((R, E))
        met.append((seen, *made, after, terminated, truncated))
        begins = (terminated | truncated)[..., None]
        seen = np.where(begins, np.stack([[np.tile(frame(), STACK) for _ in range(E)] for _ in range(R)]), after)
    return met


def frames(**options) -> FrameBuffer:
    return FrameBuffer(R, CAPACITY, STACK * FRAME, None, stack=STACK, environments=E, raw=True, **options)


def everything(**options) -> ReplayBuffer:
    return ReplayBuffer(R, CAPACITY, STACK * FRAME, None, environments=E, storage="uint8", raw=True, **options)


def equal(one: ReplayBuffer, other: ReplayBuffer, steps: int = 1) -> None:
    places = np.broadcast_to(np.arange(one.size), (R, one.size))
    mine, theirs = one.take(places, GAMMA, steps), other.take(places, GAMMA, steps)
    mine |= one.sequences(places, 4)
    theirs |= other.sequences(places, 4)
    for name, value in theirs.items():
        assert torch.equal(mine[name], value), name


@pytest.mark.parametrize("ends", [0.0, 0.15, 0.7])
@pytest.mark.parametrize("steps", [1, 3, 10])
def test_every_draw_is_that_of_a_buffer_that_keeps_everything(ends, steps):
    once, all_ = frames(), everything()
    for met in life(45, ends):  # four times around, looked at after every step
        once.add(*met)
        all_.add(*met)
        equal(once, all_, steps)


def test_several_steps_written_at_once_are_the_same():
    met, once, many = life(47), frames(), frames()
    for step in met:
        once.add(*step)
    for part in (met[:1], met[1:6], met[6:]):  # the last is more than it holds
        fields = (np.stack(field, axis=1) for field in zip(*part, strict=True))
        many.add(*(field.reshape(R, len(part) * E, *field.shape[3:]) for field in fields))
    equal(once, many, 3)


def test_bytes_that_are_kept():
    buffer = FrameBuffer(1, 100_000, 4 * 84 * 84, None)
    assert buffer.bytes == (100_000 + 4) * (84 * 84 + 4 + 4 + 1 + 4)
    plain = ReplayBuffer(1, 100_000, 4 * 84 * 84, None, storage="uint8")
    assert buffer.bytes < plain.bytes / 7.9


@pytest.mark.parametrize("files", [False, True])
def test_saved_and_restored_at_every_step_it_goes_on_as_before(files, tmp_path):
    folder = tmp_path if files else None
    all_, buffer = everything(), frames()
    for number, met in enumerate(life(45, 0.3)):
        buffer.add(*met)
        all_.add(*met)
        if number % 3 == 0:
            state, buffer = buffer.state_dict(folder), frames()
            buffer.load_state_dict(state, folder)
            equal(buffer, all_, 3)
    assert len(list(tmp_path.iterdir())) <= 7


def test_frames_that_later_states_need_outlast_their_transitions(tmp_path):
    met, buffer = life(20, 0.0), frames()
    for step in met:
        buffer.add(*step)
        state = buffer.state_dict(tmp_path)
    assert len(state["parts"]) == CAPACITY // E + STACK - 1
    newest = frames()
    newest.load_state_dict(state, tmp_path)
    equal(newest, buffer, 3)


def test_what_is_no_stack_of_the_last_frames_is_refused():
    met = life(6, 0.0)
    first, then = met[0], met[3]
    with pytest.raises(SettingError, match="shows something else than its last 4 frames after 0 steps"):
        frames().add(*then)  # an episode that begins in the middle
    buffer = frames()
    buffer.add(*first)
    with pytest.raises(SettingError, match="environment 0 of agent 0 .* after 3 steps"):
        buffer.add(*then)  # a step was left out
    with pytest.raises(SettingError, match="has the value 0.5"):
        frames().add(np.full((R, E, STACK * FRAME), 0.5), *first[1:])
    with pytest.raises(SettingError, match="stack = 3"):
        FrameBuffer(R, CAPACITY, 20, None, stack=3)
    with pytest.raises(SettingError, match="FrameBuffer"):
        ReplayBuffer(R, CAPACITY, 20, None, storage="frames")


def test_rewards_are_clipped_before_they_are_shifted():
    buffer = frames(clip=1.0, shift=-1.0)
    states, actions, _, *rest = life(1)[0]
    buffer.add(states, actions, np.array([[-7.0, 0.5, 3.0], [0.0, 1.0, -0.25]]), *rest)
    drawn = buffer.take(np.array([[0, 1, 2]] * R), GAMMA)["rewards"]
    torch.testing.assert_close(drawn, torch.tensor([[-2.0, -0.5, 0.0], [-1.0, 0.0, -1.25]]))


@pytest.mark.parametrize("kind", [frames, everything])
def test_a_buffer_that_does_not_fit_says_how_much_it_needs_and_there_is(kind, monkeypatch):
    monkeypatch.setattr("neoteny.rl.memory.memory_left", lambda device: 1_000)
    with pytest.raises(SettingError, match=r"capacity = 30 for 2 agent\(s\) needs 0.0 GB .* 0.0 GB are left on cpu"):
        kind()
