"""PyTorch is a second oracle and no dependency: without it, its tests do not exist."""

import importlib.util

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py"]
