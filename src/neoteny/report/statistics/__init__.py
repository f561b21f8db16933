"""Numbers over runs: means with intervals, differences of samples, and the table of first and last windows."""
