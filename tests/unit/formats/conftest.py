"""Files in memory, parsed by the format that their content shows."""

from __future__ import annotations

import io
import json

import pytest

from super_advanced_agents.formats import Content, Part, detect


class Parser:
    """Parse a text, bytes or a JSON value as a file of some name."""

    def content(self, data, name, beside=None, named=True):
        """Return the content of a file."""
        raw = data if isinstance(data, bytes) else data.encode() if isinstance(data, str) else json.dumps(data).encode()
        files = {path: self.content(other, path) for path, other in (beside or {}).items()}
        return Content(name, lambda: io.BytesIO(raw), beside=files.get, named=named)

    def format(self, data, name, **options):
        """Return the name of a file's format, or None."""
        found = detect(self.content(data, name, **options))
        return None if found is None else found.name

    def items(self, data, name, **options):
        """Return all that a file holds."""
        content = self.content(data, name, **options)
        found = detect(content)
        assert found is not None, f"{name} is not understood"
        return list(found.read(content))

    def parts(self, data, name, **options):
        """Return the parts of a file that holds nothing else."""
        items = self.items(data, name, **options)
        assert all(isinstance(item, Part) for item in items), items
        return items


@pytest.fixture
def parse():
    """Parse files."""
    return Parser()
