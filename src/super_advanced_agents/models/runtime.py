"""Import of ONNX Runtime without its telemetry."""

from __future__ import annotations

import importlib
import os
from typing import Any


def load_onnxruntime() -> Any:
    """Import `onnxruntime` with its telemetry disabled, and return the module.

    All code of this package that needs `onnxruntime` imports it through this function. Recent builds (1.32) open a
    database in the user's cache folder, start threads and send events to the vendor as soon as they are imported,
    unless `ORT_DISABLE_TELEMETRY` is set by then. `disable_telemetry_events()` comes too late for that (see ONNX
    Runtime's Privacy.md). This package sends nothing off the machine unless the user asks for it.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    return importlib.import_module("onnxruntime")
