"""Write operations of an agent: adding, changing and deleting memories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from functools import partial
from types import EllipsisType

from super_advanced_agents._runtime.concurrency.sync_bridge import blocking
from super_advanced_agents.agents.inputs import as_memories, as_turns, memory_changes, memory_metadata, turn_memory
from super_advanced_agents.agents.relocating import MemoryRelocation
from super_advanced_agents.config import LIMITS, checked_text
from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.types import Dedupe, JSONValue, Memory, Metadata, Turn, Where


class MemoryWrites(MemoryRelocation):
    """Provide the methods of `LLMAgent` that add, change and delete memories."""

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
        """Embed one text, store it as a memory, and return the memory's unique id.

        The memory is durable when the call returns. Concurrent calls share embedding batches and commits. A call that
        is cancelled before its write began stores nothing; after that the write completes.

        Args:
            text: not blank, at most 64 KiB; the part past the embedding model's window is stored, but vector search
                does not find it.
            memory_type: a label, stored as `metadata["type"]`.
            uid: the uid of the memory; a memory of this uid is replaced. A new uid is made when None.
            extra: further metadata, JSON values only.
            expires_in_s: seconds after which the memory is never returned; None for never.
            source: the origin of the text, such as a file name.
            priority: the importance of the memory, for searches whose weights count it.
            dedupe: with `"exact"`, a memory of the same text, type and further metadata is not stored again.

        Returns:
            The uid of the memory; with `dedupe`, that of the memory that was stored before.
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
        """Embed any number of texts, store them as memories, and return their ids, in order.

        The memories are durable when the call returns. All items are validated before the first is stored. Then they
        are stored in batches of 1,000, each of them completely or not at all: an error or a cancellation can leave the
        first batches stored.

        Args:
            items: texts, `Memory` values, or dicts of a `Memory`'s fields.
            dedupe: with `"exact"`, a memory of the same text, type and further metadata as a stored one, or as another
                of `items`, is not stored again; the uid of that one is returned in its place.
        """
        memories, metadatas = await self.vector_store.acompute(partial(_with_metadata, items), _size(items))
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
        """Store the turns of a conversation as memories and return their unique ids, in order.

        The text of each memory is `"{speaker}: {text}"`.

        Args:
            turns: `Turn` values or dicts of a `Turn`'s fields, in the order of the conversation.
            session: the name of the conversation, stored as `metadata["session"]`; `metadata["turn"]` is the position
                in `turns`.
        """
        if session is not None:
            checked_text(session, "session", max_bytes=LIMITS.uid_chars)
        memories = await self.vector_store.acompute(partial(_turn_memories, turns, session), _size(turns))
        return await self._aadd_text_memories(memories)

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
        """Change only the given fields of a memory; return False if the memory does not exist.

        Its other fields and its place in a session stay. The change is durable when the call returns. A call that is
        cancelled before its write began changes nothing; after that the write completes.

        Args:
            uid: the uid of the memory.
            text: the new text, which is embedded again; for a turn, with its speaker.
            memory_type: the new label.
            extra: changes of the further metadata, a merge patch (RFC 7396): keys are set, and None removes a key.
            source: the new origin; None removes it.
            expires_in_s: seconds from now after which the memory is never returned; None for never.
            priority: the new importance; None removes it.

        Returns:
            False if there is no such memory.
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
        """Delete memories by their ids, by a metadata filter or by both; return the number deleted.

        The deletion is durable when the call returns. A call that is cancelled before its write began deletes nothing;
        after that the write completes.

        Args:
            uids: the uids of the memories; unknown ones are ignored.
            where: a filter (see `stores.filters`); `{}` matches all memories of this agent. With both `uids` and
                `where`, only memories that meet both are deleted.

        Raises:
            InvalidInputError: neither `uids` nor `where` was given.
        """
        return await self.vector_store.adelete(uids, where=where, namespace=self.namespace)

    add_text_memory = blocking(_aadd_text_memory)
    add_text_memories = blocking(_aadd_text_memories)
    add_turns = blocking(_aadd_turns)
    update_memory = blocking(_aupdate_memory)
    forget = blocking(_aforget)


def _with_metadata(items: Sequence[str | Memory | Mapping[str, JSONValue]]) -> tuple[list[Memory], list[Metadata]]:
    memories = as_memories(items)
    return memories, [memory_metadata(memory, field=f"items[{i}]") for i, memory in enumerate(memories)]


def _turn_memories(turns: Sequence[Turn | Mapping[str, JSONValue]], session: str | None) -> list[Memory]:
    return [turn_memory(turn, session, position) for position, turn in enumerate(as_turns(turns))]


def _size(items: object) -> int:
    return len(items) if isinstance(items, Sized) else 1
