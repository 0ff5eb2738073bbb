"""Generators for the files under sql/ and sqlite/ that are made, not written: install.psql, schema.sql, API.md.

Each runs as ``python -m kompanion_db.dev.<name>`` and with ``--check`` only compares.
"""
