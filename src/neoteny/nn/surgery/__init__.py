"""Change a given network before training: other activations, norms, narrower layers, room for plasticity injection."""
