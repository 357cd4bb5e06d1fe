"""Test the bound on the bytes of long answers that are being sent."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from super_advanced_agents.errors import OverloadedError
from super_advanced_agents.server.limits.sending import SendingAnswers


def test_tenant_that_does_not_read_leaves_half_of_the_bytes_to_others():
    """It is refused beyond its half; another tenant is not, and bytes that come free are given again."""
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


async def test_long_answer_waits_for_bytes_until_another_one_is_built():
    """What the first answer does not need after all is given to the second one."""
    sending = SendingAnswers(100)
    first, second = sending.reservation("a"), sending.reservation("a")
    await first.acquire()
    assert sending.reserved_bytes == 150
    waiting = asyncio.ensure_future(second.acquire())
    await asyncio.sleep(0)
    assert not waiting.done()
    first.shrink(40)
    await waiting
    assert sending.reserved_bytes == 190
    kept = first.transfer()
    first.release()
    second.release()
    assert sending.reserved_bytes == 40
    kept.release()
    assert sending.reserved_bytes == 0


async def test_tenant_whose_clients_do_not_read_gets_no_reservation_and_another_does():
    """Its wait has an end, at which it holds nothing more; another tenant's first answer fits beside it."""
    sending = SendingAnswers(100)
    unread, further, other = sending.reservation("a"), sending.reservation("a"), sending.reservation("b")
    await unread.acquire()
    unread.shrink(80)
    with pytest.raises(OverloadedError):
        await further.acquire()
    assert sending.reserved_bytes == 80
    await other.acquire()
    other.release()
    unread.release()
    assert sending.reserved_bytes == 0
