"""Forgetting is proved for texts of many scripts and protocols, in each form that a file may hold them."""

from __future__ import annotations

import base64
import json
import secrets
import unicodedata
from urllib.parse import quote

from super_advanced_agents import RemoteAgent
from super_advanced_agents.client import DistributedVectorStore

_WAYS = ("rest", "keyed", "edited", "session", "grpc", "mcp", "chat", "collection", "question")
_LETTERS = ("äöüßéñ", "жщюяфы", "高山流水鳥魚", "مرحبانور", "🦊🐙🦉🐝🐞🦋", "ｱｶｻﾀﾅﾊ")


def _canary():
    """Return a text that no file holds by chance: twelve letters of each of six scripts, and a hexadecimal number."""
    return "".join(secrets.choice(letters) for letters in _LETTERS for _ in range(2)) + secrets.token_hex(8)


def _forms(text):
    """Return the bytes by which a text may stand in a file."""
    yield from (text.encode(code) for code in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le"))
    yield from (unicodedata.normalize(form, text).encode() for form in ("NFC", "NFD", "NFKC", "NFKD"))
    yield unicodedata.normalize("NFKC", text).casefold().encode()
    yield json.dumps(text)[1:-1].encode()
    yield quote(text).encode()
    yield text.encode().hex().encode()
    yield text[::-1].encode()
    yield text[-16:].encode()  # the word of its own that an analyzer makes of the number
    for start in range(3):
        yield base64.b64encode(text.encode()[start:])[4:-4]


def _held(folder, texts):
    """Return the texts that some file of a folder holds in any form, each with the file's name."""
    return {
        (name, str(file.relative_to(folder)))
        for file in folder.rglob("*")
        if file.is_file()
        for content in [file.read_bytes()]
        for name, text in texts.items()
        if any(form in content for form in _forms(text))
    }


def _write(client, key, texts):
    """Store each text by the way that it is named for."""
    memories = "/v1/agents/guide/memories"

    def remember(name, **headers):
        body = {"uid": name, "text": texts[name], "extra": {"again": texts[name]}, "source": texts[name]}
        client.post(memories, json=body, headers=headers).raise_for_status()

    remember("rest")
    remember("keyed", **{"Idempotency-Key": "once"})
    remember("edited")
    client.patch(f"{memories}/edited", json={"text": "nothing of it is left"}).raise_for_status()
    turns = [{"speaker": texts["session"][:9], "text": texts["session"]}] * 2
    client.post(memories, json={"turns": turns, "session": texts["session"]}).raise_for_status()
    with RemoteAgent(client.startup_info["grpc"], "guide", api_key=key) as agent:
        agent.add_text_memory(texts["grpc"], extra={"again": texts["grpc"]}, source=texts["grpc"])
    tool = {"name": "remember", "arguments": {"text": texts["mcp"]}}
    accept = {"Accept": "application/json, text/event-stream"}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": tool}
    client.post("/mcp/guide", json=call, headers=accept).raise_for_status()
    chat = {"message": texts["chat"], "session": "talk"}
    client.post("/v1/agents/guide/chat", json=chat).raise_for_status()
    client.post("/v1/collections", json={"name": "points", "dim": 3}).raise_for_status()
    with DistributedVectorStore(client.startup_info["grpc"], collection="points", api_key=key) as points:
        points.add([1, 0, 0], {"text": texts["collection"], "again": texts["collection"]}, "x")
    for text in texts.values():  # the caches of results and vectors
        client.post("/v1/agents/guide/search", json={"query": text}).raise_for_status()


def test_no_form_of_a_forgotten_text_is_left_by_whichever_way_it_came(machine):
    """Of a record that was changed nothing of its first text is left either; nor of a question."""
    texts = {way: _canary() for way in _WAYS}
    log = machine.data_dir.parent / "log"
    with machine.logged_server(log) as client:
        _write(client, machine.key, texts)
    stored = {name for name, _ in _held(machine.data_dir, texts)}
    assert stored >= set(_WAYS) - {"question", "edited"}, "they are where they would be found"
    with machine.logged_server(log) as client:
        client.post("/v1/agents/guide/memories:forget", json={"where": {}}).raise_for_status()
        client.delete("/v1/collections/points/records/x").raise_for_status()
    machine.json("compact")
    assert _held(machine.data_dir, texts) == set()
    content = log.read_bytes()
    assert [name for name, text in texts.items() if any(form in content for form in _forms(text))] == []
