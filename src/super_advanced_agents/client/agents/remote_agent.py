"""`RemoteAgent`, a client of one agent of a server, with the methods of a local agent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, get_args, overload

from super_advanced_agents._runtime.concurrency.sync_bridge import blocking, blocking_iterator
from super_advanced_agents.agents.agent import Predicate, SearchMode
from super_advanced_agents.agents.answers import AskOptions
from super_advanced_agents.agents.prompt import checked_history, checked_instructions
from super_advanced_agents.client.agents.remote_chatting import RemoteChatting
from super_advanced_agents.client.agents.remote_writes import check_where
from super_advanced_agents.client.transports.base import RemoteCall
from super_advanced_agents.client.transports.connection import Connection
from super_advanced_agents.config import LIMITS, checked_agent_name, checked_text
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol import operations as ops
from super_advanced_agents.protocol.operations import Operation
from super_advanced_agents.protocol.requests import (
    AskRequest,
    CountMemoriesRequest,
    GetMemoryRequest,
    ListMemoriesRequest,
    SearchMemoriesRequest,
    ServedRequest,
)
from super_advanced_agents.stores.validation import (
    checked_limit,
    checked_min_similarity,
    checked_predicate,
    checked_top_k,
    checked_uid,
    checked_weights,
)
from super_advanced_agents.types import (
    Answer,
    AnswerEvent,
    ChatMessage,
    ExplainedMatch,
    Match,
    Record,
    Weights,
    Where,
)

R = TypeVar("R")


class RemoteSearchOptions(TypedDict, total=False):
    """Declare the optional arguments of `RemoteAgent.search_text`, which describes them."""

    where: Where | None
    mode: SearchMode
    weights: Weights | None
    rerank: bool | None
    min_similarity: float | None


class RemoteAgent(RemoteChatting):
    """Call one agent of a server over gRPC or REST, with the methods of a local `AsyncLLMAgent`.

    It has every operation of `AsyncLLMAgent`, and the blocking ones of `LLMAgent`. The server embeds texts and answers
    questions; records come without their vectors. Errors and retries are those of `DistributedVectorStore`. Memories
    get their uids here, so a repeated request stores none twice.

    Args:
        url: `"grpc://host:port"`, `"grpcs://host:port"` (TLS), `"http://host:port"` or `"https://host"`.
        agent: the agent's name at the server.
        api_key: an API key or a JWT; it is sent to this address only, since redirects and proxies are not followed.
        timeout_s: seconds for one operation with all its attempts; in a streamed answer, for each piece.
        ca_file: the certificates (PEM) of the trusted authorities; the system's when None.

    Attributes:
        name: the agent's name.

    Raises:
        ConfigurationError: an argument is wrong.
        InvalidInputError: `agent` is not a valid name.
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
        self.name = checked_agent_name(agent, "agent")
        self._connection = Connection(url, api_key=api_key, timeout_s=timeout_s, ca_file=ca_file)
        super().__init__()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connection.url!r}, {self.name!r})"

    # -- finding --------------------------------------------------------------------------------------------------

    @overload
    async def asearch_text(
        self,
        query_text: str,
        top_k: int = 5,
        memory_type: str | None = None,
        filter_fn: Predicate | None = None,
        *,
        explain: Literal[True],
        **options: Unpack[RemoteSearchOptions],
    ) -> list[ExplainedMatch]: ...

    @overload
    async def asearch_text(
        self,
        query_text: str,
        top_k: int = 5,
        memory_type: str | None = None,
        filter_fn: Predicate | None = None,
        *,
        explain: bool = False,
        **options: Unpack[RemoteSearchOptions],
    ) -> list[Match]: ...

    async def asearch_text(
        self,
        query_text: str,
        top_k: int = 5,
        memory_type: str | None = None,
        filter_fn: Predicate | None = None,
        *,
        where: Where | None = None,
        mode: SearchMode = "hybrid",
        weights: Weights | None = None,
        explain: bool = False,
        rerank: bool | None = None,
        min_similarity: float | None = None,
    ) -> list[Match] | list[ExplainedMatch]:
        """Return the agent's memories (stored texts) that match a query text best, best first.

        Args:
            query_text: a question or a topic, in plain words.
            top_k: the maximum number of matches.
            memory_type: only memories of this type.
            filter_fn: a predicate over metadata, called here on the 1,000 memories most similar to the text; `where`
                is complete and faster.
            where: only memories that match this filter.
            mode: `"hybrid"`, `"vector"` or `"keyword"`; a `filter_fn` makes it `"vector"`.
            weights: the weights of the signals in a hybrid search.
            explain: True returns each match as an `ExplainedMatch`.
            rerank: True or False for the server's re-ranker or none; the agent's setting when None.
            min_similarity: leaves out memories that are less similar, -1 to 1, as `AsyncLLMAgent` does.
        """
        self._check_open()
        checked_top_k(top_k, limits=LIMITS)
        if mode not in get_args(SearchMode):
            raise InvalidInputError(f"mode must be one of {', '.join(get_args(SearchMode))}", field="mode")
        if rerank is not None and not isinstance(rerank, bool):
            raise InvalidInputError(
                "rerank must be True, False or None: a re-ranker cannot be sent to a server", field="rerank"
            )
        if filter_fn is not None:
            checked_predicate(filter_fn)
            mode = "vector"
        check_where(where)
        request = SearchMemoriesRequest(
            query=checked_text(query_text, "query_text", max_bytes=LIMITS.text_bytes),
            top_k=top_k if filter_fn is None else LIMITS.top_k,
            mode=mode,
            where=where,
            memory_type=memory_type,
            weights=None if weights is None else checked_weights(weights),
            explain=explain,
            rerank=rerank,
            min_similarity=checked_min_similarity(min_similarity, at_most=1),
        )
        matches = await self._acall(ops.SEARCH_MEMORIES, request)
        return matches if filter_fn is None else [match for match in matches if filter_fn(match.metadata)][:top_k]

    async def ahybrid_search(
        self,
        query_text: str,
        keyword: str | None = None,
        top_k: int = 5,
        memory_type: str | None = None,
        *,
        min_similarity: float | None = None,
    ) -> list[Match]:
        """Return memories (stored texts) similar to a query text that also contain a keyword.

        Args:
            query_text: a question or a topic, in plain words.
            keyword: a text that matches contain, in upper or lower case; it is looked for in the 1,000 memories most
                similar to `query_text`. No restriction when None.
            top_k: the maximum number of matches.
            memory_type: only memories of this type.
            min_similarity: leaves out memories that are less similar, -1 to 1.
        """
        if keyword is None:
            return await self.asearch_text(query_text, top_k, memory_type, min_similarity=min_similarity)
        folded_keyword = checked_text(keyword, "keyword", max_bytes=LIMITS.text_bytes).casefold()
        return await self.asearch_text(
            query_text,
            top_k,
            memory_type,
            lambda metadata: folded_keyword in str(metadata.get("text", "")).casefold(),
            min_similarity=min_similarity,
        )

    async def aget(self, uid: str) -> Record | None:
        """Return the memory (a stored text) with this uid as a `Record`, or None if there is none."""
        self._check_open()
        request = GetMemoryRequest(uid=checked_uid(uid, field="uid", limits=LIMITS))
        record = await self._acall(ops.GET_MEMORY, request)
        return None if record is None else self._with_namespace(record)

    async def acount(self, where: Where | None = None) -> int:
        """Return the number of memories that match a metadata filter, or of all when it is None."""
        self._check_open()
        check_where(where)
        return await self._acall(ops.COUNT_MEMORIES, CountMemoriesRequest(where=where))

    async def ascan(
        self, where: Where | None = None, *, after: str | None = None, limit: int = 100, with_vectors: bool = False
    ) -> list[Record]:
        """Return one page of the agent's memories (stored texts), in the order of their uids.

        Args:
            where: only memories that match this filter.
            after: the last uid of the page before; the first page when None.
            limit: the maximum number of memories on the page.
            with_vectors: whether the memories come with their vectors.
        """
        self._check_open()
        check_where(where)
        request = ListMemoriesRequest(
            where=where,
            after=None if after is None else checked_uid(after, field="after", limits=LIMITS),
            limit=checked_limit(limit, limits=LIMITS),
            with_vectors=with_vectors,
        )
        page = await self._acall(ops.SCAN_MEMORIES, request)
        return [self._with_namespace(record) for record in page]

    def _with_namespace(self, record: Record) -> Record:
        # REST leaves out the namespace of memories
        return record if record.namespace else replace(record, namespace=self.name)

    # -- answering ------------------------------------------------------------------------------------------------

    async def aask(self, question: str, top_k: int = 5, **options: Unpack[AskOptions]) -> Answer:
        """Have the server's language model answer a question from the agent's memories.

        Cancelling stops the generation at the server.

        Args:
            question: the question, in plain words.
            top_k: the number of memories that the model is shown.
            where: restricts the search to memories that match this filter.
            instructions: further instructions to the model; at most 8 KiB.
            history: the messages before the question, oldest first; at most 100 and 64 KiB.
            llm: False for an answer that quotes the best memories, without the language model.
            min_similarity: leaves out memories that are less similar to the question, -1 to 1.
        """
        return await self._acall(ops.ASK, self._ask_request(question, top_k, **options))

    async def aask_events(
        self, question: str, top_k: int = 5, **options: Unpack[AskOptions]
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Have the server answer a question; yield sources, pieces of text, and the whole text.

        Leaving the iterator early stops the generation at the server. Arguments are those of `ask`.
        """
        call = RemoteCall(ops.ASK_STREAM, self.name, self._ask_request(question, top_k, **options))
        async with aclosing(self._connection.areceive(call, AnswerEvent)) as events:
            async for event in events:
                yield event

    async def astream_answer(
        self, question: str, top_k: int = 5, **options: Unpack[AskOptions]
    ) -> AsyncGenerator[str, None]:
        """Have the server answer a question from the agent's memories; yield the text in pieces.

        Leaving the iterator early stops the generation at the server. Arguments are those of `ask`.
        """
        call = RemoteCall(ops.ASK_STREAM, self.name, self._ask_request(question, top_k, **options))
        async with aclosing(self._connection.areceive(call, AnswerEvent)) as events:
            async for event in events:
                if event.text is not None:
                    yield event.text

    def _ask_request(
        self,
        question: str,
        top_k: int,
        *,
        where: Where | None = None,
        instructions: str | None = None,
        history: Sequence[ChatMessage | Mapping[str, str]] | None = None,
        llm: bool = True,
        min_similarity: float | None = None,
    ) -> AskRequest:
        self._check_open()
        check_where(where)
        return AskRequest(
            question=checked_text(question, "question", max_bytes=LIMITS.text_bytes),
            top_k=checked_top_k(top_k, limits=LIMITS),
            where=where,
            instructions=checked_instructions(instructions),
            history=checked_history(history) or None,
            llm=llm,
            min_similarity=checked_min_similarity(min_similarity, at_most=1),
        )

    async def _acall(self, operation: Operation, request: ServedRequest[R]) -> R:
        return await self._connection.acall(RemoteCall(operation, self.name, request))

    def _release(self) -> None:
        self._connection.close()

    if TYPE_CHECKING:

        @overload
        def search_text(
            self,
            query_text: str,
            top_k: int = 5,
            memory_type: str | None = None,
            filter_fn: Predicate | None = None,
            *,
            explain: Literal[True],
            **options: Unpack[RemoteSearchOptions],
        ) -> list[ExplainedMatch]: ...

        @overload
        def search_text(
            self,
            query_text: str,
            top_k: int = 5,
            memory_type: str | None = None,
            filter_fn: Predicate | None = None,
            *,
            explain: bool = False,
            **options: Unpack[RemoteSearchOptions],
        ) -> list[Match]: ...

        def search_text(self, *args: Any, **options: Any) -> Any:
            """Return the agent's memories (stored texts) that match a query text best, best first."""
    else:
        search_text = blocking(asearch_text)
    hybrid_search = blocking(ahybrid_search)
    get = blocking(aget)
    count = blocking(acount)
    scan = blocking(ascan)
    ask = blocking(aask)
    ask_events = blocking_iterator(aask_events)
    stream_answer = blocking_iterator(astream_answer)
