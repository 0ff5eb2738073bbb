"""The operations of a store, by theme: each is one call of the SQL function of the same name.

This is the one place where a signature is spelled; ``Store`` and ``AsyncStore`` bind what stands here.
"""
