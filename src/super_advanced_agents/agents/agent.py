"""Agents with blocking or asyncio methods that store texts and answer questions from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack, get_args, overload

from super_advanced_agents._runtime.concurrency.sync_bridge import blocking
from super_advanced_agents.agents.chatting import Chatting
from super_advanced_agents.agents.inputs import narrow_to_type
from super_advanced_agents.agents.opening import Owning
from super_advanced_agents.agents.writes import MemoryWrites
from super_advanced_agents.config import LIMITS, checked_agent_name, checked_text
from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.generation import AsyncLLMWrapper, LLMGenerator
from super_advanced_agents.retrieval import Reranker, Reranking, explained
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.validation import checked_min_similarity
from super_advanced_agents.types import ExplainedMatch, Match, Metadata, Record, Weights, Where

SearchMode: TypeAlias = Literal["hybrid", "vector", "keyword"]
Predicate: TypeAlias = Callable[[Metadata], bool]


class SearchOptions(TypedDict, total=False):
    """Declare the keyword arguments that all overloads of `search_text` share."""

    where: Where | None
    mode: SearchMode
    weights: Weights | None
    rerank: bool | Reranker | None
    min_similarity: float | None


class _Chosen(TypedDict):
    """The memories that a search may return."""

    where: Where | None
    namespace: str
    min_similarity: float | None


class LLMAgent(Owning, MemoryWrites, Chatting):
    """Store text memories, search them, and answer questions from them, with blocking methods.

    `AsyncLLMAgent` has the same operations for asyncio. Agents may share one store: each sees only its own namespace.
    The code that made the store, the pipeline and the generator closes them; `open` makes an agent that owns its own,
    and closes them with `close()` or at the end of a `with`. A subclass that
    overrides an operation also changes the operations that call it: `search_text`, for example, is called by `ask`.

    Every operation raises the errors of the store, the pipeline and the generator: `InvalidInputError` for arguments
    that cannot be stored or searched for, `OverloadedError` when a queue is full, `ResourceClosedError` after they were
    closed.

    Args:
        name: 1 to 256 characters without control characters, such as `"ann@example.com"`.
        vector_store: stores the memories.
        embedding_pipeline: embeds texts as vectors of the store's dimension.
        llm_generator: writes the answers of `ask`; without one, `ask` raises `ConfigurationError`.
        namespace: the namespace of the memories, a text like the name, which is the namespace when None. Agents of one
            namespace share memories.
        context_chars: the most characters of memories that an answer is generated from.
        answer_tokens: the maximal length of an answer, in tokens.
        reranker: scores the best matches of each search again, those of `ask` included; None for no re-ranking. It is a
            `retrieval.Reranker`, such as `retrieval.LLMReranker(llm)`, which asks a language model.
        rerank_candidates: the number of matches that are scored again, 1 to 1,000.
    """

    def __init__(
        self,
        name: str,
        vector_store: VectorStore,
        embedding_pipeline: EmbeddingPipeline,
        llm_generator: LLMGenerator | AsyncLLMWrapper | None = None,
        *,
        namespace: str | None = None,
        context_chars: int = 4_000,
        answer_tokens: int = 200,
        reranker: Reranker | None = None,
        rerank_candidates: int = 20,
    ) -> None:
        self.name = checked_agent_name(name, "name")
        self.namespace = checked_agent_name(name if namespace is None else namespace, "namespace")
        self.vector_store = vector_store
        self.embedding_pipeline = embedding_pipeline
        self.llm_generator = llm_generator.llm if isinstance(llm_generator, AsyncLLMWrapper) else llm_generator
        self._context_chars = context_chars
        self._answer_tokens = answer_tokens
        self._reranking = Reranking(reranker, rerank_candidates)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, namespace={self.namespace!r})"

    # -- searching ------------------------------------------------------------------------------------------------

    @overload
    async def _asearch_text(
        self,
        query_text: str,
        top_k: int = 5,
        memory_type: str | None = None,
        filter_fn: Predicate | None = None,
        *,
        explain: Literal[True],
        **options: Unpack[SearchOptions],
    ) -> list[ExplainedMatch]: ...

    @overload
    async def _asearch_text(
        self,
        query_text: str,
        top_k: int = 5,
        memory_type: str | None = None,
        filter_fn: Predicate | None = None,
        *,
        explain: bool = False,
        **options: Unpack[SearchOptions],
    ) -> list[Match]: ...

    async def _asearch_text(
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
        rerank: bool | Reranker | None = None,
        min_similarity: float | None = None,
    ) -> list[Match] | list[ExplainedMatch]:
        """Search this agent's memories for a text and return the best matches, best first.

        A cancelled search leaves nothing behind and does not disturb other callers.

        Args:
            query_text: a question or a topic, in plain words without query operators.
            top_k: the number of memories; fewer are returned only if fewer match the filters.
            memory_type: restricts the search to memories of this type.
            filter_fn: restricts the search to memories whose metadata passes this predicate; `where` is faster.
            where: restricts the search to memories that match this filter (see `stores.filters`).
            mode: `"hybrid"` combines vector and keyword search, with scores of at most 1; `"vector"` ranks by vectors
                alone, and the score is the cosine; `"keyword"` ranks by keywords alone, and returns only memories that
                share one with the query. With a `filter_fn`, every mode is a vector search.
            weights: the weights of the signals of a hybrid search, and of age and priority.
            explain: returns matches of class `ExplainedMatch`, which hold the parts of their scores.
            rerank: True for the agent's re-ranker, False for none, or another re-ranker; the agent's own setting when
                None. With a re-ranker, the scores are those that it gives.
            min_similarity: leaves out memories whose vector has a smaller cosine with the query's, -1 to 1, in every
                mode; a question about nothing known then returns nothing. `docs/scores.md` says which value to use.

        Raises:
            ConfigurationError: `rerank` is True, and the agent has no re-ranker.
        """
        if mode not in get_args(SearchMode):
            raise InvalidInputError(
                f"mode must be one of {', '.join(get_args(SearchMode))}, not {mode!r}", field="mode"
            )
        checked_text(query_text, "query_text", max_bytes=LIMITS.text_bytes)
        chosen = _Chosen(
            where=narrow_to_type(memory_type, where),
            namespace=self.namespace,
            min_similarity=checked_min_similarity(min_similarity, at_most=1),
        )
        reranker = self._reranking.select_reranker(rerank)
        match_count = top_k if reranker is None else self._reranking.candidate_count(top_k)
        if filter_fn is None and mode == "hybrid":
            matches = await self._search_hybrid(query_text, match_count, chosen, weights=weights, explain=explain)
        else:
            by_keywords = mode == "keyword" and filter_fn is None  # a predicate makes every mode a vector search
            matches = await self._search_single(query_text, match_count, chosen, filter_fn, by_keywords=by_keywords)
            if explain:
                matches = explained(matches, "keyword" if by_keywords else "vector")
        return matches if reranker is None else await self._reranking.rerank(reranker, query_text, matches, top_k)

    async def _search_hybrid(
        self, query_text: str, top_k: int, chosen: _Chosen, *, weights: Weights | None, explain: bool
    ) -> list[Match]:
        vector = await self.embedding_pipeline.aembed(query_text)
        model_id = self.embedding_pipeline.model_id
        return await self.vector_store.asearch_hybrid(
            vector, query_text, top_k, model_id=model_id, weights=weights, explain=explain, **chosen
        )

    async def _search_single(
        self, query_text: str, top_k: int, chosen: _Chosen, filter_fn: Predicate | None, *, by_keywords: bool
    ) -> list[Match]:
        store = self.vector_store
        if by_keywords and chosen["min_similarity"] is None:
            return await store.asearch_keywords(query_text, top_k, **chosen)
        vector = await self.embedding_pipeline.aembed(query_text)
        model_id = self.embedding_pipeline.model_id
        if by_keywords:
            return await store.asearch_keywords(query_text, top_k, query_vector=vector, model_id=model_id, **chosen)
        if filter_fn is not None:
            return await store.asearch_with_filter(vector, top_k, filter_fn, model_id=model_id, **chosen)
        return await store.asearch(vector, top_k, model_id=model_id, **chosen)

    async def _ahybrid_search(
        self,
        query_text: str,
        keyword: str | None = None,
        top_k: int = 5,
        memory_type: str | None = None,
        *,
        min_similarity: float | None = None,
    ) -> list[Match]:
        """Return the memories that contain a keyword and match a text best, best match first.

        Args:
            query_text: a question or a topic, in plain words without query operators.
            keyword: restricts the search to memories whose text contains it, in upper or lower case; None for no
                restriction.
            top_k: the most memories to return.
            memory_type: restricts the search to memories of this type.
            min_similarity: leaves out memories that are less similar, as `search_text` does.
        """
        if keyword is None:
            return await self._asearch_text(query_text, top_k, memory_type, min_similarity=min_similarity)
        folded_keyword = checked_text(keyword, "keyword", max_bytes=LIMITS.text_bytes).casefold()
        return await self._asearch_text(
            query_text,
            top_k,
            memory_type,
            lambda metadata: folded_keyword in str(metadata.get("text", "")).casefold(),
            min_similarity=min_similarity,
        )

    async def _aget(self, uid: str) -> Record | None:
        """Return the memory with the given unique id, or None if it does not exist."""
        records = await self.vector_store.aget([uid], namespace=self.namespace)
        return records[0] if records else None

    async def _acount(self, where: Where | None = None) -> int:
        """Count this agent's memories that match the filter `where`, or all of them if it is None."""
        return await self.vector_store.acount(where, namespace=self.namespace)

    async def _ascan(self, where: Where | None = None, *, after: str | None = None, limit: int = 100) -> list[Record]:
        """Return one page of this agent's memories, ordered by their unique ids.

        Args:
            where: restricts the page to memories that match this filter.
            after: the last uid of the page before; None for the first page.
            limit: the most memories of a page.
        """
        return await self.vector_store.ascan(where, after=after, limit=limit, namespace=self.namespace)

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
            **options: Unpack[SearchOptions],
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
            **options: Unpack[SearchOptions],
        ) -> list[Match]: ...

        def search_text(self, *args: Any, **options: Any) -> Any:
            """Search this agent's memories for a text and return the best matches, best first."""
    else:
        search_text = blocking(_asearch_text)
    hybrid_search = blocking(_ahybrid_search)
    get = blocking(_aget)
    count = blocking(_acount)
    scan = blocking(_ascan)


class AsyncLLMAgent(LLMAgent):
    """Store text memories, search them, and answer questions from them, with asyncio methods.

    The blocking methods of `LLMAgent` are available too: `verb()` drives the coroutine `averb()`, so the two cannot
    differ. No `averb()` blocks the event loop, and any number may run at once. A subclass overrides an operation by its
    `averb()`.
    """

    aadd_text_memory = LLMAgent._aadd_text_memory
    aadd_text_memories = LLMAgent._aadd_text_memories
    aadd_turns = LLMAgent._aadd_turns
    aupdate_memory = LLMAgent._aupdate_memory
    arelocate_memories = LLMAgent._arelocate_memories
    aforget = LLMAgent._aforget
    asearch_text = LLMAgent._asearch_text
    ahybrid_search = LLMAgent._ahybrid_search
    aget = LLMAgent._aget
    acount = LLMAgent._acount
    ascan = LLMAgent._ascan
    aask = LLMAgent._aask
    aask_events = LLMAgent._aask_events
    astream_answer = LLMAgent._astream_answer
    achat = LLMAgent._achat
    achat_events = LLMAgent._achat_events
