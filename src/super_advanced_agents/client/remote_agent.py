"""`RemoteAgent`: an agent of a server, used as an `AsyncLLMAgent` or an `LLMAgent` is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from types import EllipsisType
from typing import get_args

from super_advanced_agents._runtime.lifecycle import Resource
from super_advanced_agents._runtime.twins import blocking, blocking_iterator
from super_advanced_agents.agents.agent import SearchMode
from super_advanced_agents.agents.inputs import as_memories, as_turns, memory_changes, memory_metadata, turn_memory
from super_advanced_agents.client.link import Link
from super_advanced_agents.client.memories import remembering
from super_advanced_agents.client.remote_store import _where
from super_advanced_agents.client.rest_agent_requests import AGENT
from super_advanced_agents.config import LIMITS, checked_name, checked_text
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol import methods
from super_advanced_agents.protocol.conversions import (
    answer_of,
    json_bytes,
    matches_of,
    record_of,
    records_of,
    weights_message,
)
from super_advanced_agents.protocol.v1 import agents_pb2 as messages
from super_advanced_agents.stores.validation import (
    checked_lifetime,
    checked_predicate,
    checked_priority,
    checked_source,
    checked_top_k,
    checked_uid,
    checked_weights,
)
from super_advanced_agents.types import Answer, Dedupe, JSONValue, Match, Memory, Metadata, Record, Turn, Weights, Where

_MODES: dict[str, messages.SearchMode] = {
    "hybrid": messages.SEARCH_MODE_HYBRID,
    "vector": messages.SEARCH_MODE_VECTOR,
    "keyword": messages.SEARCH_MODE_KEYWORD,
}


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
        self._link = Link(url, AGENT, api_key=api_key, timeout_s=timeout_s, ca_file=ca_file)
        super().__init__()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._link.url!r}, {self.name!r})"

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
        for request in remembering(self.name, memories, dedupe):
            uids += (await self._link.acall(methods.REMEMBER, request)).uids
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
        given = {"source": source, "expires_in_s": expires_in_s, "priority": priority}
        set_to = {name: value for name, value in given.items() if value is not ... and value is not None}
        request = messages.UpdateMemoryRequest(
            agent=self.name,
            uid=checked_uid(uid, field="uid", limits=LIMITS),
            text=text,
            memory_type=memory_type,
            extra=None if extra is None else json_bytes(extra, field="extra"),
            source=checked_source(set_to.get("source"), field="source"),
            priority=checked_priority(set_to.get("priority"), field="priority"),
            expires_in_s=checked_lifetime(set_to.get("expires_in_s"), field="expires_in_s"),
            clear=[name for name, value in given.items() if value is None],
        )
        return (await self._link.acall(methods.UPDATE_MEMORY, request)).updated

    async def aforget(self, uids: Sequence[str] | None = None, *, where: Where | None = None) -> int:
        """See `AsyncLLMAgent.aforget`."""
        self._check_open()
        if isinstance(uids, str) or not isinstance(uids, Sequence | None):
            raise InvalidInputError("uids must be a list of strings", field="uids", hint="put a single uid in a list")
        request = messages.ForgetRequest(
            agent=self.name,
            uids=[checked_uid(uid, field=f"uids[{i}]", limits=LIMITS) for i, uid in enumerate(uids or ())],
            by_uids=uids is not None,
            where=_where(where),
        )
        return (await self._link.acall(methods.FORGET, request)).forgotten

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
        request = messages.SearchMemoriesRequest(
            agent=self.name,
            query=checked_text(query_text, "query_text", max_bytes=LIMITS.text_bytes),
            top_k=top_k if filter_fn is None else LIMITS.top_k,
            mode=_MODES[mode],
            where=_where(where),
            memory_type=memory_type,
            weights=None if weights is None else weights_message(checked_weights(weights)),
            explain=explain,
            rerank=rerank,
        )
        found = matches_of((await self._link.acall(methods.SEARCH_MEMORIES, request)).matches)
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
        request = messages.GetMemoryRequest(agent=self.name, uid=checked_uid(uid, field="uid", limits=LIMITS))
        found = await self._link.acall(methods.GET_MEMORY, request)
        return record_of(found.memory, field="memory") if found.HasField("memory") else None

    async def acount(self, where: Where | None = None) -> int:
        """See `AsyncLLMAgent.acount`."""
        self._check_open()
        request = messages.CountMemoriesRequest(agent=self.name, where=_where(where))
        return (await self._link.acall(methods.COUNT_MEMORIES, request)).count

    async def ascan(self, where: Where | None = None, *, after: str | None = None, limit: int = 100) -> list[Record]:
        """See `AsyncLLMAgent.ascan`."""
        self._check_open()
        if type(limit) is not int or not 1 <= limit <= LIMITS.batch_records:
            raise InvalidInputError(f"limit must be an integer from 1 to {LIMITS.batch_records}", field="limit")
        request = messages.ListMemoriesRequest(
            agent=self.name,
            where=_where(where),
            after=None if after is None else checked_uid(after, field="after", limits=LIMITS),
            limit=limit,
        )
        return records_of((await self._link.acall(methods.LIST_MEMORIES, request)).memories, field="memories")

    # -- answering ------------------------------------------------------------------------------------------------

    async def aask(self, question: str, top_k: int = 5) -> Answer:
        """See `AsyncLLMAgent.aask`. Cancelled, it frees the model's slot at the server."""
        return answer_of(await self._link.acall(methods.ASK, self._question(question, top_k)))

    async def astream_answer(self, question: str, top_k: int = 5) -> AsyncGenerator[str, None]:
        """See `AsyncLLMAgent.astream_answer`. Leaving it early frees the model's slot at the server."""
        asked = self._question(question, top_k)
        async with aclosing(self._link.areceive(methods.ASK_STREAM, asked)) as events:
            async for event in events:
                if event.WhichOneof("event") == "text":
                    yield event.text

    def _question(self, question: str, top_k: int) -> messages.AskRequest:
        self._check_open()
        checked_text(question, "question", max_bytes=LIMITS.text_bytes)
        return messages.AskRequest(agent=self.name, question=question, top_k=checked_top_k(top_k, limits=LIMITS))

    def _release(self) -> None:
        self._link.close()

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
