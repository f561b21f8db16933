"""Linear learners for a user's own stream: one prediction, or action values, learned from every step once."""

from neoteny.linear.features import Sparse
from neoteny.linear.predictor import LinearPredictor
from neoteny.linear.sarsa import LinearSarsa

__all__ = ["LinearPredictor", "LinearSarsa", "Sparse"]
