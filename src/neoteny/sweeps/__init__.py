"""Sweeps: on each benchmark and for each row first the tuning, on seeds of its own, then the runs that are reported.

A row is one way of learning with settings to choose from. `rows` says what it is, `searching` which points are tried
(`optuna` by Optuna's samplers), `choosing` which point is taken, `planning` turns all this into stacks of runs,
`running` has an executor train those that are not finished, `estimating` says what is left, `budget` refuses what would
cost too much, `reading` and `collecting` make one tidy table of the run folders, and `showing` a text of the table.

`neoteny sweep FILE.yaml` runs what a file says (`file`), `neoteny leaderboard` the rows of `neoteny.leaderboard`.
"""
