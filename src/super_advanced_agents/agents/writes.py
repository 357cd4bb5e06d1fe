"""The writing side of an agent: texts and conversations become memories, change, and are forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import EllipsisType

from super_advanced_agents._runtime.sync_bridge import Overridable, blocking
from super_advanced_agents.agents.inputs import as_memories, as_turns, memory_changes, memory_metadata, turn_memory
from super_advanced_agents.config import LIMITS, checked_text
from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.types import Dedupe, JSONValue, Memory, Turn, Where


class MemoryWrites(Overridable):
    """What `LLMAgent` does to its memories, which are those of `namespace`."""

    namespace: str
    vector_store: VectorStore
    embedding_pipeline: EmbeddingPipeline

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
        for start in range(0, len(memories), LIMITS.batch_records):
            batch = memories[start : start + LIMITS.batch_records]
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
            checked_text(session, "session", max_bytes=LIMITS.uid_chars)
        return await self._aadd_text_memories(
            [turn_memory(turn, session, position) for position, turn in enumerate(as_turns(turns))]
        )

    async def _aupdate_memory(
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
        """Change a memory in place; returned means durable. What is not named stays, its place in a conversation too.

        Args:
            uid: which memory.
            text: the new text, of a turn with its speaker; embedded anew.
            memory_type: the new label.
            extra: changes of the further metadata, a merge patch (RFC 7396): keys are set, None removes one.
            source: where it came from.
            expires_in_s: after this many seconds from now it is never returned; None for never.
            priority: how much it matters; None for nothing said.

        Returns:
            False when there is no such memory.

        Cancelled before its write began, nothing is changed; afterwards the write is carried out.
        """
        changes = memory_changes(text, memory_type, extra)
        vector = None if text is None else await self.embedding_pipeline.aembed(text)
        return await self.vector_store.aupdate(
            uid,
            changes,
            namespace=self.namespace,
            vector=vector,
            model_id=None if vector is None else self.embedding_pipeline.model_id,
            source=source,
            expires_in_s=expires_in_s,
            priority=priority,
        )

    async def _aforget(self, uids: Sequence[str] | None = None, *, where: Where | None = None) -> int:
        """Delete memories by name, by filter, or by both; returned means durable.

        Returns:
            How many were deleted. `where={}` deletes all of this agent's memories.
        """
        return await self.vector_store.adelete(uids, where=where, namespace=self.namespace)

    add_text_memory = blocking(_aadd_text_memory)
    add_text_memories = blocking(_aadd_text_memories)
    add_turns = blocking(_aadd_turns)
    update_memory = blocking(_aupdate_memory)
    forget = blocking(_aforget)
