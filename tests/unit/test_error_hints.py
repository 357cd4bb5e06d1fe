"""Errors that a caller can do something about say what to do next."""

from __future__ import annotations

import pytest

from super_advanced_agents._runtime.concurrency.slices import SliceWorker
from super_advanced_agents.client.transports.address import Address
from super_advanced_agents.errors import ConfigurationError, OverloadedError, PermissionDeniedError
from super_advanced_agents.tenancy.context import Access, Principal, RequestContext
from super_advanced_agents.tenancy.orchestrators import _UnreachableAgent
from super_advanced_agents.tenancy.reranking import chosen_reranker


@pytest.mark.parametrize("url", ["http://[", "grpc://host:port", "https://host/?key=1", "grpc://host:50051/notes"])
def test_malformed_address_names_a_well_formed_one(url):
    """Each of the three ways in which an address is refused has the hint."""
    with pytest.raises(ConfigurationError) as refused:
        Address.parsed(url)
    assert "grpc://host:port" in refused.value.hint


async def test_full_queue_of_slices_says_to_send_fewer():
    """The name of the queue alone would tell the caller nothing."""
    worker = SliceWorker(name="conversions", max_queue=0)
    with pytest.raises(OverloadedError) as refused:
        worker.submit(iter(()), owner="acme")
    assert refused.value.hint == "try again later, or send fewer at once"
    worker.close()


async def test_reranking_without_its_scope_names_the_command_that_makes_a_key():
    """A key with `memories:read` alone may not use the language model."""
    reader = RequestContext(principal=Principal(tenant="acme", scopes=frozenset({Access.READ}), key_id="k"))
    with pytest.raises(PermissionDeniedError) as refused:
        await chosen_reranker(True, "guide", None, reader)
    assert "saa keys create --scope generate" in refused.value.hint


async def test_agent_of_another_server_says_where_it_can_be_asked():
    """A process that serves nothing, such as a command, has no clients of other servers."""
    with pytest.raises(ConfigurationError) as refused:
        await _UnreachableAgent("guide").aask("Where?")
    assert "saa serve" in refused.value.hint
