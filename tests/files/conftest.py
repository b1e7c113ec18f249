from __future__ import annotations

from pathlib import Path

import pytest

from tests.files import NPZ, SAFETENSORS


@pytest.fixture(params=[NPZ, SAFETENSORS])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"state{request.param}"
