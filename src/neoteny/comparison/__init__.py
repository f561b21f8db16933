"""Which method? Your network, your optimizer and your stream, without any method and with each of some.

`neoteny.compare` and `neoteny recommend` are this room's. `given` checks what was given, `stream` reads the batches,
`learning` learns from them once, `tuning` chooses settings, `comparing` puts these together, and `result` says what
came out: table, figure, and the lines for a script.
"""
