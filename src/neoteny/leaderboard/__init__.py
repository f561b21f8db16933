"""The rows of the table of all methods on its benchmarks; `neoteny leaderboard` runs them as a sweep.

From the sweep's table alone `neoteny.report.leaderboard` draws the figure and the page.
"""
