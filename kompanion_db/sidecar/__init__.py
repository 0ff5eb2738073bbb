"""Vectors in files beside the database. SQLite says which of them live; these say what they are."""
