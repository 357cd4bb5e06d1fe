"""Load ONNX Runtime without its telemetry."""

from __future__ import annotations

import importlib
import os
from typing import Any


def load_onnxruntime() -> Any:
    """Import and return `onnxruntime`; every part of this package that needs it calls this first.

    Recent builds (1.32) open a database in the user's cache folder, start threads and send events to their maker
    when they are imported, unless this variable says otherwise by then; its `disable_telemetry_events()` comes too late
    for that (its Privacy.md). Nothing this package does may leave the machine unasked.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    return importlib.import_module("onnxruntime")
