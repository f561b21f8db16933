"""The leaderboard drawn from its table: standings (`board`), figure, page, and the claims that it decides.

The room `neoteny.leaderboard` runs the methods and makes the table.
"""
