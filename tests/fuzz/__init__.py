"""Odd calls of everything public: `python -m tests.fuzz --help` runs them by hand.

`targets` finds what can be called, `values` has what it is called with, `calls` has a
call for each number, `verdict` makes and judges it, and `runner` has many made in child
processes and finds out which call ended one.
"""
