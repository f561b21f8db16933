"""The table of all methods on the fast benchmarks: what is run, how hyper-parameters are chosen, what is recorded.

`neoteny leaderboard` is this room's command. `rows` says which rows there are, `sweep` turns them into stacks of runs
and has the laboratory train those that are not finished, `collecting` makes one tidy table of the run folders. From
that table alone `neoteny.report.leaderboard` draws the figure and the page.
"""
