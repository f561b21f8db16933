"""The zoo: networks of every kind, shared by the tests and the table in the documentation."""
