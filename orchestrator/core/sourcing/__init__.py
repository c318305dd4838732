"""Sourcing: which nodes ship which units, when, by which service, for how much, and why."""
