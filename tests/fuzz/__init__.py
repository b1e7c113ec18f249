"""Odd calls of everything public: `python -m tests.fuzz --help` runs them by hand.

`targets` finds what can be called, `values` has what it is called with, `calls` makes a
call out of a seed and judges what came of it, `runner` has many made in child processes
and finds out which call ended one.
"""
