"""Test the bound on the bytes of long answers that are being sent."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from super_advanced_agents.errors import OverloadedError
from super_advanced_agents.server.limits.sending import SendingAnswers


def test_tenant_that_does_not_read_leaves_half_of_the_room_to_others():
    """It is refused beyond its half; another tenant is not, and room that comes free is given again."""
    sending = SendingAnswers(100)
    with ExitStack() as answers:
        for _ in range(5):
            answers.enter_context(sending.hold("a", 10))
        with pytest.raises(OverloadedError), sending.hold("a", 1):
            pass
        for _ in range(5):
            answers.enter_context(sending.hold("b", 10))
        with pytest.raises(OverloadedError), sending.hold("b", 1):
            pass
        assert sending.held_bytes == 100
    with sending.hold("a", 50):
        assert sending.held_bytes == 50
    assert sending.held_bytes == 0


def test_single_answer_of_a_tenant_is_sent_whatever_others_hold():
    """Room for one answer each does not depend on other tenants."""
    sending = SendingAnswers(100)
    with sending.hold("a", 1_000), sending.hold("b", 1_000):
        assert sending.held_bytes == 2_000
