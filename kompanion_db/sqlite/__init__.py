"""The SQLite engine: the functions of sql/ mirrored on one file, with its vectors in files beside it.

``functions/`` holds one function for each public SQL function, with its name, arguments and result columns.
"""
