"""`LLMAgent` and `AsyncLLMAgent`: an agent that remembers texts, finds them again, and answers from them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Literal, TypeAlias, get_args

from super_advanced_agents._runtime.twins import blocking, blocking_iterator
from super_advanced_agents.agents.inputs import as_memories, as_turns, memory_metadata, of_type, turn_memory
from super_advanced_agents.agents.prompt import answer_messages
from super_advanced_agents.config import Limits, checked_name, checked_text
from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.errors import ConfigurationError, InvalidInputError
from super_advanced_agents.generation import AsyncLLMWrapper, LLMGenerator
from super_advanced_agents.retrieval import Reranker, Reranking, explained
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.types import Answer, Dedupe, JSONValue, Match, Memory, Metadata, Record, Turn, Weights, Where

SearchMode: TypeAlias = Literal["hybrid", "vector", "keyword"]

_LIMITS = Limits()
_NOTHING_KNOWN = "I do not know: nothing is remembered about that."


class LLMAgent:
    """An agent with a memory, for code that blocks; `AsyncLLMAgent` is the same for asyncio.

    Agents may share one store: each sees only its own namespace. The agent owns none of what it is given; whoever made
    the store, the pipeline and the generator closes them.

    Args:
        name: 1 to 64 letters, digits, `_` or `-`.
        vector_store: where memories are kept.
        embedding_pipeline: turns texts into vectors of the store's length.
        llm_generator: writes the answers of `ask`; without one, `ask` raises `ConfigurationError`.
        namespace: whose memories these are; the agent's name when None. Agents given the same one share memories.
        context_chars: how many characters of memories an answer may be built from.
        answer_tokens: the length of an answer, at most, in tokens.
        reranker: looks again at the best matches of each search, and of each answer's; none when None. See
            `retrieval.Reranker`; `retrieval.LLMReranker(llm)` asks a language model.
        rerank_candidates: how many matches it looks at, 1 to 1,000.

    Every operation passes on what the store, the pipeline and the generator raise: `InvalidInputError` for what cannot
    be remembered or searched for, `OverloadedError` when a queue is full, `ResourceClosedError` after they were closed.
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
        self.name = checked_name(name, "name")
        self.namespace = checked_name(name if namespace is None else namespace, "namespace")
        self.vector_store = vector_store
        self.embedding_pipeline = embedding_pipeline
        self.llm_generator = llm_generator.llm if isinstance(llm_generator, AsyncLLMWrapper) else llm_generator
        self._context_chars = context_chars
        self._answer_tokens = answer_tokens
        self._reranking = Reranking(reranker, rerank_candidates)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, namespace={self.namespace!r})"

    # -- remembering ----------------------------------------------------------------------------------------------

    async def _aadd_text_memory(
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
        """Remember one text; returned means durable. Concurrent callers share embedding batches and commits.

        Args:
            text: not blank, at most 64 KiB; what is past the embedding model's window is kept but not found by meaning.
            memory_type: a label, kept as `metadata["type"]`.
            uid: replaces the memory of that name; a new name is made when None.
            extra: further metadata, all JSON.
            expires_in_s: after this many seconds it is never returned.
            source: where it came from.
            priority: how much it matters, for searches whose weights count it.
            dedupe: with `"exact"`, a memory of the same text, type and further metadata is not stored again.

        Returns:
            The memory's uid; with `dedupe` that of the memory that was there already.

        Cancelled before its write began, nothing is stored; afterwards the write is carried out.
        """
        metadata = memory_metadata(Memory(text=text, memory_type=memory_type, extra=extra or {}))
        vector = await self.embedding_pipeline.aembed(text)
        return await self.vector_store.aadd(
            vector,
            metadata,
            uid,
            namespace=self.namespace,
            model_id=self.embedding_pipeline.model_id,
            source=source,
            expires_in_s=expires_in_s,
            priority=priority,
            dedupe=dedupe,
        )

    async def _aadd_text_memories(
        self, items: Sequence[str | Memory | Mapping[str, JSONValue]], *, dedupe: Dedupe | None = None
    ) -> list[str]:
        """Remember many texts; returned means durable.

        Args:
            items: texts, `Memory` values, or dicts of a `Memory`'s fields; any number. All are checked before the first
                is stored; then each 1,000 are stored all or none, so an error or a cancellation can leave whole
                thousands behind, in order.
            dedupe: with `"exact"`, a memory of the same text, type and further metadata is not stored again, be it
                remembered already or another of `items`; its uid is returned in its place.

        Returns:
            The uids, in order.
        """
        memories = as_memories(items)
        metadatas = [memory_metadata(memory, field=f"items[{i}]") for i, memory in enumerate(memories)]
        uids: list[str] = []
        for start in range(0, len(memories), _LIMITS.batch_records):
            batch = memories[start : start + _LIMITS.batch_records]
            vectors = await self.embedding_pipeline.aembed_batch([memory.text for memory in batch])
            uids += await self.vector_store.aadd_batch(
                vectors,
                metadatas[start : start + len(batch)],
                [memory.uid for memory in batch],
                namespace=self.namespace,
                model_id=self.embedding_pipeline.model_id,
                sources=[memory.source for memory in batch],
                sessions=[memory.session for memory in batch],
                expires_in_s=[memory.expires_in_s for memory in batch],
                priorities=[memory.priority for memory in batch],
                dedupe=dedupe,
            )
        return uids

    async def _aadd_turns(
        self, turns: Sequence[Turn | Mapping[str, JSONValue]], *, session: str | None = None
    ) -> list[str]:
        """Remember a conversation, turn by turn; `"{speaker}: {text}"` is what is indexed.

        Args:
            turns: `Turn` values or dicts of a `Turn`'s fields, in the order they were said.
            session: the conversation's name, kept as `metadata["session"]`; `metadata["turn"]` is the place in `turns`.

        Returns:
            The turns' uids, in order.
        """
        if session is not None:
            checked_text(session, "session", max_bytes=_LIMITS.uid_chars)
        return await self._aadd_text_memories(
            [turn_memory(turn, session, position) for position, turn in enumerate(as_turns(turns))]
        )

    async def _aforget(self, uids: Sequence[str] | None = None, *, where: Where | None = None) -> int:
        """Delete memories by name, by filter, or by both; returned means durable.

        Returns:
            How many were deleted. `where={}` deletes all of this agent's memories.
        """
        return await self.vector_store.adelete(uids, where=where, namespace=self.namespace)

    # -- finding --------------------------------------------------------------------------------------------------

    async def _asearch_text(
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
        rerank: bool | Reranker | None = None,
    ) -> list[Match]:
        """Find the memories that are most like a text, best first.

        Args:
            query_text: a question or a topic, in plain words; nothing in it is syntax.
            top_k: how many, at most; if that many match the filters, that many come back.
            memory_type: only memories of this type.
            filter_fn: only memories whose metadata passes this predicate; slow, `where` is the fast way.
            where: only memories matching this filter (see `stores.filters`).
            mode: `"hybrid"` by meaning and by words together, with scores of at most 1; `"vector"` by meaning alone,
                with the cosine as score; `"keyword"` by words alone, only what shares one. A `filter_fn` makes any of
                them a search by meaning.
            weights: what each way counts in a hybrid search, and whether age and priority do.
            explain: each match is an `ExplainedMatch`, which tells what its score is made of.
            rerank: True or False for the agent's re-ranker or none, or a callable of yours; as the agent was made when
                None. Scores are then the re-ranker's.

        Raises:
            ConfigurationError: `rerank` is True, and the agent has no re-ranker.

        Cancelled, it leaves nothing behind and disturbs no other caller.
        """
        if mode not in get_args(SearchMode):
            raise InvalidInputError(
                f"mode must be one of {', '.join(get_args(SearchMode))}, not {mode!r}", field="mode"
            )
        checked_text(query_text, "query_text", max_bytes=_LIMITS.text_bytes)
        narrowed = of_type(memory_type, where)
        reranker = self._reranking.chosen(rerank)
        wanted = top_k if reranker is None else self._reranking.candidates(top_k)
        if filter_fn is None and mode == "hybrid":
            found = await self._find_hybrid(query_text, wanted, narrowed, weights=weights, explain=explain)
        else:
            found = await self._find_one_way(query_text, wanted, narrowed, filter_fn, by_words=mode == "keyword")
            if explain:
                found = explained(found, "keyword" if mode == "keyword" and filter_fn is None else "vector")
        return found if reranker is None else await self._reranking.best(reranker, query_text, found, top_k)

    async def _find_hybrid(
        self, query_text: str, top_k: int, where: Where | None, *, weights: Weights | None, explain: bool
    ) -> list[Match]:
        vector = await self.embedding_pipeline.aembed(query_text)
        return await self.vector_store.asearch_hybrid(
            vector, query_text, top_k, where=where, namespace=self.namespace, weights=weights, explain=explain
        )

    async def _find_one_way(
        self,
        query_text: str,
        top_k: int,
        where: Where | None,
        filter_fn: Callable[[Metadata], bool] | None,
        *,
        by_words: bool,
    ) -> list[Match]:
        """By words, or by meaning: so with a predicate, whatever else was asked for."""
        store, namespace = self.vector_store, self.namespace
        if by_words and filter_fn is None:
            return await store.asearch_keywords(query_text, top_k, where=where, namespace=namespace)
        vector = await self.embedding_pipeline.aembed(query_text)
        if filter_fn is not None:
            return await store.asearch_with_filter(vector, top_k, filter_fn, where=where, namespace=namespace)
        return await store.asearch(vector, top_k, where=where, namespace=namespace)

    async def _ahybrid_search(
        self, query_text: str, keyword: str | None = None, top_k: int = 5, memory_type: str | None = None
    ) -> list[Match]:
        """Find memories like a text that also contain a keyword.

        Args:
            query_text: as for `search_text`.
            keyword: only memories whose text contains it, in whatever case; any memory when None.
            top_k: how many, at most.
            memory_type: only memories of this type.
        """
        if keyword is None:
            return await self._asearch_text(query_text, top_k, memory_type)
        wanted = checked_text(keyword, "keyword", max_bytes=_LIMITS.text_bytes).casefold()
        return await self._asearch_text(
            query_text, top_k, memory_type, lambda metadata: wanted in str(metadata.get("text", "")).casefold()
        )

    async def _aget(self, uid: str) -> Record | None:
        """The memory of that name, or None."""
        records = await self.vector_store.aget([uid], namespace=self.namespace)
        return records[0] if records else None

    async def _acount(self, where: Where | None = None) -> int:
        """How many memories match; all of this agent's when None."""
        return await self.vector_store.acount(where, namespace=self.namespace)

    async def _ascan(self, where: Where | None = None, *, after: str | None = None, limit: int = 100) -> list[Record]:
        """One page of this agent's memories in the order of their uids; `after` is the last uid of the page before."""
        return await self.vector_store.ascan(where, after=after, limit=limit, namespace=self.namespace)

    # -- answering ------------------------------------------------------------------------------------------------

    async def _aask(self, question: str, top_k: int = 5) -> Answer:
        """Answer a question from memories.

        Args:
            question: in plain words.
            top_k: how many memories the model is shown.

        Returns:
            What the model said, greedily decoded, and the memories it was shown. With nothing remembered the model is
            not asked.

        Raises:
            ConfigurationError: the agent has no `llm_generator`.

        Cancelled, it frees the model's slot within a token.
        """
        llm = self._llm()
        checked_text(question, "question", max_bytes=_LIMITS.text_bytes)
        sources = await self._asearch_text(question, top_k)
        if not sources:
            return Answer(text=_NOTHING_KNOWN, sources=[])
        messages = answer_messages(question, sources, context_chars=self._context_chars)
        text = await llm.achat(messages, self._answer_tokens)
        return Answer(text=text.strip(), sources=sources)

    async def _astream_answer(
        self, question: str, top_k: int = 5, *, sources: Sequence[Match] | None = None
    ) -> AsyncGenerator[str, None]:
        """Answer a question from memories, piece by piece as it is made; the pieces joined are the answer.

        Args:
            question: in plain words.
            top_k: how many memories the model is shown.
            sources: the memories to answer from; found by `search_text` when None. Pass what you searched to know them.

        Leaving the iterator early frees the model's slot within a token.
        """
        llm = self._llm()
        checked_text(question, "question", max_bytes=_LIMITS.text_bytes)
        if sources is None:
            sources = await self._asearch_text(question, top_k)
        if not sources:
            yield _NOTHING_KNOWN
            return
        messages = answer_messages(question, sources, context_chars=self._context_chars)
        async with aclosing(llm.astream_chat(messages, self._answer_tokens)) as pieces:
            async for piece in pieces:
                yield piece

    def _llm(self) -> LLMGenerator:
        if self.llm_generator is None:
            raise ConfigurationError(
                f"agent {self.name!r} has no language model", hint="give it one: llm_generator=LLMGenerator()"
            )
        return self.llm_generator

    add_text_memory = blocking(_aadd_text_memory)
    add_text_memories = blocking(_aadd_text_memories)
    add_turns = blocking(_aadd_turns)
    forget = blocking(_aforget)
    search_text = blocking(_asearch_text)
    hybrid_search = blocking(_ahybrid_search)
    get = blocking(_aget)
    count = blocking(_acount)
    scan = blocking(_ascan)
    ask = blocking(_aask)
    stream_answer = blocking_iterator(_astream_answer)


class AsyncLLMAgent(LLMAgent):
    """An agent with a memory, for asyncio; the blocking operations of `LLMAgent` are there as well.

    Each `averb()` is the coroutine whose blocking twin `LLMAgent.verb()` is, so the two cannot differ. None of them
    blocks the event loop, and any number may run at once.
    """

    aadd_text_memory = LLMAgent._aadd_text_memory
    aadd_text_memories = LLMAgent._aadd_text_memories
    aadd_turns = LLMAgent._aadd_turns
    aforget = LLMAgent._aforget
    asearch_text = LLMAgent._asearch_text
    ahybrid_search = LLMAgent._ahybrid_search
    aget = LLMAgent._aget
    acount = LLMAgent._acount
    ascan = LLMAgent._ascan
    aask = LLMAgent._aask
    astream_answer = LLMAgent._astream_answer
