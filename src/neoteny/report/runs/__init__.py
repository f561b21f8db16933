"""Run folders read back: a folder (`folders`), a series of equal runs (`series`), all series of a benchmark (`groups`).

`curve` has the values over time, `metrics` what the name of a metric tells, `archive` the small copies of folders.
"""
