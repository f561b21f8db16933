"""Without the packages of reinforcement learning there is nothing here to test."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("gymnasium") and find_spec("mujoco") else ["test_*.py"]
