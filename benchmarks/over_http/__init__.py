"""Storms over real HTTP: the router beside its peers, one process each, against the same simulated service."""
