"""`LLMAgent` and `AsyncLLMAgent`: an agent that remembers texts, finds them again, and answers from them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Literal, TypeAlias, get_args

from super_advanced_agents._runtime.sync_bridge import blocking, blocking_iterator
from super_advanced_agents.agents.inputs import (
    of_type,
)
from super_advanced_agents.agents.prompt import NOTHING_KNOWN, answer_messages
from super_advanced_agents.agents.writes import MemoryWrites
from super_advanced_agents.config import LIMITS, checked_name, checked_text
from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.errors import ConfigurationError, InvalidInputError
from super_advanced_agents.generation import AsyncLLMWrapper, LLMGenerator
from super_advanced_agents.retrieval import Reranker, Reranking, explained
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.types import Answer, Match, Metadata, Record, Weights, Where

SearchMode: TypeAlias = Literal["hybrid", "vector", "keyword"]


class LLMAgent(MemoryWrites):
    """An agent with a memory, for code that blocks; `AsyncLLMAgent` is the same for asyncio.

    Agents may share one store: each sees only its own namespace. The agent owns none of what it is given; whoever made
    the store, the pipeline and the generator closes them. A subclass that overrides an operation has changed those that
    are made of it, `ask` with `search_text` for one.

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
        checked_text(query_text, "query_text", max_bytes=LIMITS.text_bytes)
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
            vector,
            query_text,
            top_k,
            where=where,
            namespace=self.namespace,
            model_id=self.embedding_pipeline.model_id,
            weights=weights,
            explain=explain,
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
        model_id = self.embedding_pipeline.model_id
        if filter_fn is not None:
            return await store.asearch_with_filter(
                vector, top_k, filter_fn, where=where, namespace=namespace, model_id=model_id
            )
        return await store.asearch(vector, top_k, where=where, namespace=namespace, model_id=model_id)

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
        wanted = checked_text(keyword, "keyword", max_bytes=LIMITS.text_bytes).casefold()
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

    async def _aask(self, question: str, top_k: int = 5, *, sources: Sequence[Match] | None = None) -> Answer:
        """Answer a question from memories.

        Args:
            question: in plain words.
            top_k: how many memories the model is shown.
            sources: the memories to answer from; found by `search_text` when None.

        Returns:
            What the model said, greedily decoded, and the memories it was shown. With nothing remembered the model is
            not asked.

        Raises:
            ConfigurationError: the agent has no `llm_generator`.

        Cancelled, it frees the model's slot within a token.
        """
        llm = self._llm()
        checked_text(question, "question", max_bytes=LIMITS.text_bytes)
        if sources is None:
            sources = await self._asearch_text(question, top_k)
        if not sources:
            return Answer(text=NOTHING_KNOWN, sources=[])
        messages = answer_messages(question, sources, context_chars=self._context_chars)
        text = await llm.achat(messages, self._answer_tokens)
        return Answer(text=text.strip(), sources=list(sources))

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
        checked_text(question, "question", max_bytes=LIMITS.text_bytes)
        if sources is None:
            sources = await self._asearch_text(question, top_k)
        if not sources:
            yield NOTHING_KNOWN
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
    blocks the event loop, and any number may run at once. A subclass overrides an operation by its `averb()`.
    """

    aadd_text_memory = LLMAgent._aadd_text_memory
    aadd_text_memories = LLMAgent._aadd_text_memories
    aadd_turns = LLMAgent._aadd_turns
    aupdate_memory = LLMAgent._aupdate_memory
    aforget = LLMAgent._aforget
    asearch_text = LLMAgent._asearch_text
    ahybrid_search = LLMAgent._ahybrid_search
    aget = LLMAgent._aget
    acount = LLMAgent._acount
    ascan = LLMAgent._ascan
    aask = LLMAgent._aask
    astream_answer = LLMAgent._astream_answer
