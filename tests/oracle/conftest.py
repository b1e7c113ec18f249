"""PyTorch and MONAI are oracles, no dependencies: without them, no tests of theirs."""

import importlib.util
import sys

import pytest

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py", "networks.py", "pytorch_tables.py"]
elif importlib.util.find_spec("monai") is None:
    collect_ignore_glob = ["test_*_monai.py", "test_models_*.py", "test_programs_*.py"]
    collect_ignore_glob += ["test_layers_*.py", "test_port_*.py", "test_training_*.py"]


@pytest.fixture(autouse=True)
def torch_draws_the_same_numbers_every_run() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
