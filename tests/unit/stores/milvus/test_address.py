"""Tests of `milvus:` URLs, whose passwords no message shows."""

from __future__ import annotations

import pytest

from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.stores.milvus.engine.address import MilvusAddress


def test_url_names_server_collection_and_options():
    """The port has a default, and a credential in the URL goes before the argument."""
    address = MilvusAddress.of("milvus://ann:s%40cret@db:19531/notes?tls=true&database=d&consistency=strong")
    assert (address.host, address.port, address.collection, address.database) == ("db", 19531, "notes", "d")
    assert (address.tls, address.strong, address.token) == (True, True, "ann:s@cret")
    assert address.uri == "https://db:19531"
    plain = MilvusAddress.of("milvus://[::1]/notes", api_key="key")
    assert (plain.uri, plain.token, plain.strong) == ("http://[::1]:19530", "key", False)


@pytest.mark.parametrize(
    "url",
    [
        "milvus://ann:secret@/notes",
        "milvus://ann:secret@db",
        "milvus://ann:secret@db/1notes",
        "milvus://ann:secret@db/no-tes",
        "milvus://ann:secret@db:port/notes",
        "milvus://ann:secret@db/notes?colour=red",
        "milvus://ann:secret@db/notes?tls=yes",
        "milvus://ann:secret@db/notes?consistency=bounded",
        "milvus://ann:secret@[db/notes",
    ],
)
def test_malformed_url_is_refused_without_showing_its_password(url: str):
    """The error says what is wrong and how a URL looks."""
    with pytest.raises(ConfigurationError) as refused:
        MilvusAddress.of(url)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_representation_shows_no_password():
    """An address may reach a log."""
    assert "secret" not in repr(MilvusAddress.of("milvus://ann:secret@db/notes"))
