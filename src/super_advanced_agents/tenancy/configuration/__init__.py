"""The forms of settings, and where secret ones come from."""

from __future__ import annotations
