"""`RemoteAgent`: an agent of a server, used as an `AsyncLLMAgent` or an `LLMAgent` is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from types import EllipsisType
from typing import cast, get_args

from super_advanced_agents._runtime.lifecycle import Resource
from super_advanced_agents._runtime.sync_bridge import blocking, blocking_iterator
from super_advanced_agents._runtime.uids import new_uids
from super_advanced_agents.agents.agent import SearchMode
from super_advanced_agents.agents.inputs import as_memories, as_turns, memory_changes, memory_metadata, turn_memory
from super_advanced_agents.client.connection import Connection
from super_advanced_agents.client.transport import RemoteCall
from super_advanced_agents.config import LIMITS, checked_name, checked_text
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.operations import Operation
from super_advanced_agents.protocol.packing import json_bytes
from super_advanced_agents.protocol.requests import (
    AnswerEvent,
    AskRequest,
    CountMemoriesRequest,
    ForgetRequest,
    GetMemoryRequest,
    ListMemoriesRequest,
    RememberRequest,
    SearchMemoriesRequest,
    UpdateMemoryRequest,
)
from super_advanced_agents.stores.filters import parse
from super_advanced_agents.stores.validation import (
    checked_dedupe,
    checked_lifetime,
    checked_limit,
    checked_predicate,
    checked_priority,
    checked_source,
    checked_top_k,
    checked_uid,
    checked_uids,
    checked_weights,
    unless_kept,
)
from super_advanced_agents.types import Answer, Dedupe, JSONValue, Match, Memory, Metadata, Record, Turn, Weights, Where

_BATCH_BYTES = 4 * 1024 * 1024


class RemoteAgent(Resource):
    """An agent of a server, over gRPC or REST: every operation of `AsyncLLMAgent` and, blocking, of `LLMAgent`.

    Texts are embedded and answers are written by the server. Records come without their vectors. What is raised, and
    what is made again when nobody answers, is as for `DistributedVectorStore`; memories get their uids here, so none is
    stored twice.

    Args:
        url: `"grpc://host:port"`, `"grpcs://host:port"` (TLS), `"http://host:port"` or `"https://host"`.
        agent: its name there.
        api_key: an API key, or a JWT; it goes to this address only, redirects and proxies are not followed.
        timeout_s: seconds for one operation with all its attempts; in a streamed answer, for each piece.
        ca_file: certificates (PEM) that a secure server's must come from; the system's when None.

    Attributes:
        name: as given.

    Raises:
        ConfigurationError: an argument is wrong.
        InvalidInputError: `agent` is not a name.
    """

    def __init__(
        self,
        url: str,
        agent: str = "default",
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        ca_file: str | Path | None = None,
    ) -> None:
        self.name = checked_name(agent, "agent")
        self._connection = Connection(url, api_key=api_key, timeout_s=timeout_s, ca_file=ca_file)
        super().__init__()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connection.url!r}, {self.name!r})"

    # -- remembering ----------------------------------------------------------------------------------------------

    async def aadd_text_memory(
        self,
        text: str,
        memory_type: str = "fact",
        uid: str | None = None,
        extra: Mapping[str, JSONValue] | None = None,
        *,
        expires_in_s: float | None = None,
        source: str | None = None,
        priority: float | None = None,
        dedupe: Dedupe | None = None,
    ) -> str:
        """See `AsyncLLMAgent.aadd_text_memory`."""
        memory = Memory(
            text=text,
            memory_type=memory_type,
            uid=uid,
            extra=extra or {},
            expires_in_s=expires_in_s,
            source=source,
            priority=priority,
        )
        memory_metadata(memory)  # names what is wrong as an argument, not as an item
        return (await self.aadd_text_memories([memory], dedupe=dedupe))[0]

    async def aadd_text_memories(
        self, items: Sequence[str | Memory | Mapping[str, JSONValue]], *, dedupe: Dedupe | None = None
    ) -> list[str]:
        """See `AsyncLLMAgent.aadd_text_memories`; all or none are each 1,000, or less where texts are long."""
        self._check_open()
        memories = as_memories(items)
        for i, memory in enumerate(memories):
            memory_metadata(memory, field=f"items[{i}]")
        uids: list[str] = []
        for request in _batches(memories, checked_dedupe(dedupe)):
            uids += cast("list[str]", await self._acall(ops.REMEMBER, request))
        return uids

    async def aadd_turns(
        self, turns: Sequence[Turn | Mapping[str, JSONValue]], *, session: str | None = None
    ) -> list[str]:
        """See `AsyncLLMAgent.aadd_turns`."""
        if session is not None:
            checked_text(session, "session", max_bytes=LIMITS.uid_chars)
        return await self.aadd_text_memories(
            [turn_memory(turn, session, position) for position, turn in enumerate(as_turns(turns))]
        )

    async def aupdate_memory(
        self,
        uid: str,
        *,
        text: str | None = None,
        memory_type: str | None = None,
        extra: Mapping[str, JSONValue] | None = None,
        source: str | EllipsisType | None = ...,
        expires_in_s: float | EllipsisType | None = ...,
        priority: float | EllipsisType | None = ...,
    ) -> bool:
        """See `AsyncLLMAgent.aupdate_memory`."""
        self._check_open()
        memory_changes(text, memory_type, extra)
        request = UpdateMemoryRequest(
            uid=checked_uid(uid, field="uid", limits=LIMITS),
            text=text,
            memory_type=memory_type,
            extra=extra,
            source=unless_kept(source, checked_source, field="source"),
            expires_in_s=unless_kept(expires_in_s, checked_lifetime, field="expires_in_s"),
            priority=unless_kept(priority, checked_priority, field="priority"),
        )
        return cast("bool", await self._acall(ops.UPDATE_MEMORY, request))

    async def aforget(self, uids: Sequence[str] | None = None, *, where: Where | None = None) -> int:
        """See `AsyncLLMAgent.aforget`."""
        self._check_open()
        _check_where(where)
        request = ForgetRequest(uids=None if uids is None else checked_uids(uids, limits=LIMITS), where=where)
        return cast("int", await self._acall(ops.FORGET, request))

    # -- finding --------------------------------------------------------------------------------------------------

    async def asearch_text(
        self,
        query_text: str,
        top_k: int = 5,
        memory_type: str | None = None,
        filter_fn: Callable[[Metadata], bool] | None = None,
        *,
        where: Where | None = None,
        mode: SearchMode = "hybrid",
        weights: Weights | None = None,
        explain: bool = False,
        rerank: bool | None = None,
    ) -> list[Match]:
        """See `AsyncLLMAgent.asearch_text`, but for two arguments that hold code, which does not travel.

        Args:
            query_text: as there, like what is not named here.
            top_k: how many, at most.
            memory_type: only memories of this type.
            filter_fn: asked here, about the 1,000 memories most like the text; `where` is the whole and the fast way.
            where: only memories matching this filter.
            mode: `"hybrid"`, `"vector"` or `"keyword"`; by meaning with a `filter_fn`.
            weights: what counts in a hybrid search.
            explain: each match is an `ExplainedMatch`.
            rerank: True or False for the server's re-ranker or none.
        """
        self._check_open()
        checked_top_k(top_k, limits=LIMITS)
        if mode not in get_args(SearchMode):
            raise InvalidInputError(f"mode must be one of {', '.join(get_args(SearchMode))}", field="mode")
        if rerank is not None and not isinstance(rerank, bool):
            raise InvalidInputError("rerank must be True, False or None: a re-ranker cannot travel", field="rerank")
        if filter_fn is not None:
            checked_predicate(filter_fn)
            mode = "vector"
        _check_where(where)
        request = SearchMemoriesRequest(
            query=checked_text(query_text, "query_text", max_bytes=LIMITS.text_bytes),
            top_k=top_k if filter_fn is None else LIMITS.top_k,
            mode=mode,
            where=where,
            memory_type=memory_type,
            weights=None if weights is None else checked_weights(weights),
            explain=explain,
            rerank=rerank,
        )
        found = cast("list[Match]", await self._acall(ops.SEARCH_MEMORIES, request))
        return found if filter_fn is None else [match for match in found if filter_fn(match.metadata)][:top_k]

    async def ahybrid_search(
        self, query_text: str, keyword: str | None = None, top_k: int = 5, memory_type: str | None = None
    ) -> list[Match]:
        """See `AsyncLLMAgent.ahybrid_search`; the keyword is looked for in the 1,000 memories most like the text."""
        if keyword is None:
            return await self.asearch_text(query_text, top_k, memory_type)
        wanted = checked_text(keyword, "keyword", max_bytes=LIMITS.text_bytes).casefold()
        return await self.asearch_text(
            query_text, top_k, memory_type, lambda metadata: wanted in str(metadata.get("text", "")).casefold()
        )

    async def aget(self, uid: str) -> Record | None:
        """See `AsyncLLMAgent.aget`."""
        self._check_open()
        request = GetMemoryRequest(uid=checked_uid(uid, field="uid", limits=LIMITS))
        found = cast("Record | None", await self._acall(ops.GET_MEMORY, request))
        return None if found is None else self._own(found)

    async def acount(self, where: Where | None = None) -> int:
        """See `AsyncLLMAgent.acount`."""
        self._check_open()
        _check_where(where)
        return cast("int", await self._acall(ops.COUNT_MEMORIES, CountMemoriesRequest(where=where)))

    async def ascan(self, where: Where | None = None, *, after: str | None = None, limit: int = 100) -> list[Record]:
        """See `AsyncLLMAgent.ascan`."""
        self._check_open()
        _check_where(where)
        request = ListMemoriesRequest(
            where=where,
            after=None if after is None else checked_uid(after, field="after", limits=LIMITS),
            limit=checked_limit(limit, limits=LIMITS),
        )
        page = cast("list[Record]", await self._acall(ops.SCAN_MEMORIES, request))
        return [self._own(record) for record in page]

    def _own(self, record: Record) -> Record:
        """Return a memory with its namespace, which REST leaves out."""
        return record if record.namespace else replace(record, namespace=self.name)

    # -- answering ------------------------------------------------------------------------------------------------

    async def aask(self, question: str, top_k: int = 5) -> Answer:
        """See `AsyncLLMAgent.aask`. Cancelled, it frees the model's slot at the server."""
        return cast("Answer", await self._acall(ops.ASK, self._question(question, top_k)))

    async def astream_answer(self, question: str, top_k: int = 5) -> AsyncGenerator[str, None]:
        """See `AsyncLLMAgent.astream_answer`. Leaving it early frees the model's slot at the server."""
        call = RemoteCall(ops.ASK_STREAM, self.name, self._question(question, top_k))
        async with aclosing(self._connection.areceive(call, AnswerEvent)) as events:
            async for event in events:
                if event.text is not None:
                    yield event.text

    def _question(self, question: str, top_k: int) -> AskRequest:
        self._check_open()
        checked_text(question, "question", max_bytes=LIMITS.text_bytes)
        return AskRequest(question=question, top_k=checked_top_k(top_k, limits=LIMITS))

    async def _acall(self, operation: Operation, request: object) -> object:
        return await self._connection.acall(RemoteCall(operation, self.name, request))

    def _release(self) -> None:
        self._connection.close()

    add_text_memory = blocking(aadd_text_memory)
    add_text_memories = blocking(aadd_text_memories)
    add_turns = blocking(aadd_turns)
    update_memory = blocking(aupdate_memory)
    forget = blocking(aforget)
    search_text = blocking(asearch_text)
    hybrid_search = blocking(ahybrid_search)
    get = blocking(aget)
    count = blocking(acount)
    scan = blocking(ascan)
    ask = blocking(aask)
    stream_answer = blocking_iterator(astream_answer)


def _check_where(where: Where | None) -> None:
    if where is not None:  # what is no filter cannot travel
        parse(where)


def _batches(memories: Sequence[Memory], dedupe: Dedupe | None) -> Iterator[RememberRequest]:
    """Make requests to remember all `memories`, in order; each gets its uid here, so a request can be sent again.

    Raises:
        InvalidInputError: one cannot be remembered; nothing was sent.
    """
    made = iter(new_uids(sum(memory.uid is None for memory in memories)))
    named = [
        replace(_checked(memory, f"items[{i}]"), uid=memory.uid or next(made)) for i, memory in enumerate(memories)
    ]
    batch: list[Memory] = []
    size = 0
    for memory in named:
        bytes_ = len(memory.text.encode()) + len(json_bytes(memory.extra, field="extra"))
        if len(batch) == LIMITS.batch_records or (batch and size + bytes_ > _BATCH_BYTES):
            yield RememberRequest(memories=batch, dedupe=dedupe)
            batch, size = [], 0
        batch.append(memory)
        size += bytes_
    if batch:
        yield RememberRequest(memories=batch, dedupe=dedupe)


def _checked(memory: Memory, field: str) -> Memory:
    if memory.uid is not None:
        checked_uid(memory.uid, field=f"{field}.uid", limits=LIMITS)
    checked_source(memory.source, field=f"{field}.source")
    checked_priority(memory.priority, field=f"{field}.priority")
    checked_lifetime(memory.expires_in_s, field=f"{field}.expires_in_s")
    json_bytes(memory.extra, field=f"{field}.extra")
    return memory
