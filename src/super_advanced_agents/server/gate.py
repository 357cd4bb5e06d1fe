"""What every call passes on its way in, whether it came over REST or gRPC: the same objects for both."""

from __future__ import annotations

from dataclasses import dataclass

from super_advanced_agents.server.engines import Engines


@dataclass(slots=True, kw_only=True)
class Gate:
    """Made once for a server, before it listens.

    Attributes:
        engines: what answers.
        draining: the server was told to stop: it answers, and says that it is not ready for more.
    """

    engines: Engines
    draining: bool = False
