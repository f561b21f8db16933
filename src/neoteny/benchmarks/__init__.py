"""One protocol a file: stream, network, schedule and measures, as typed presets with versioned ids."""
