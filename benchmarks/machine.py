"""The machine and the package versions that a table was measured with."""

from __future__ import annotations

import platform
from datetime import date
from pathlib import Path

from winnow.common.threads import processors
from winnow.common.versions import installed_version
from winnow.workflow.int8 import has_vnni


def machine(*packages: str) -> str:
    """Describe the date, the processor, and the versions of Python and of the installed packages."""
    name, file = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    name = next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), name)
    vnni = {True: "with VNNI", False: "without VNNI", None: "VNNI unknown"}[has_vnni()]
    versions = [f"{package} {installed_version(package)}" for package in packages if installed_version(package)]
    python = f"Python {platform.python_version()}"
    return f"{date.today()}, {processors()} processors ({name}, {vnni}), {', '.join([python, *versions])}"
