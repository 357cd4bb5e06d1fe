"""Opening of an agent that makes and owns its store, embedding pipeline and language model."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from super_advanced_agents._runtime.concurrency.lifecycle import Resource
from super_advanced_agents.agents.folder_engine import FolderEngine
from super_advanced_agents.config import DEFAULT_EMBEDDING_MODEL, DEFAULT_GENERATION_MODEL, STORE_FOLDER
from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.errors import ConfigurationError
from super_advanced_agents.generation import LLMGenerator
from super_advanced_agents.stores import VectorStore
from super_advanced_agents.stores.local.maintenance import has_store
from super_advanced_agents.stores.opening import folder_of, folder_url, is_store_url, open_store
from super_advanced_agents.stores.wrappers.deferred import DeferredStore


class AgentParts(Resource):
    """Make and own the store, the embedding pipeline and the language model of one agent.

    Arguments are those of `LLMAgent.open`. Nothing is read or loaded before it is used.
    """

    def __init__(
        self,
        location: str | Path,
        *,
        llm: bool | str,
        embedding_model: str | Path | None,
        models_dir: str | Path | None,
        api_key: str | None,
    ) -> None:
        if not isinstance(location, str | Path) or not str(location):
            raise ConfigurationError("an agent is opened in a folder or at a store's URL", hint='such as "my-memory"')
        if not isinstance(llm, bool | str) or llm == "":
            raise ConfigurationError("llm must be True, False or the name of a language model")
        with ExitStack() as opened:
            folder = _folder_of(location)
            self.embedding_pipeline = opened.enter_context(
                EmbeddingPipeline(engine=FolderEngine(folder, models_dir=models_dir))
                if embedding_model is None and folder is not None
                else EmbeddingPipeline(embedding_model or DEFAULT_EMBEDDING_MODEL, models_dir=models_dir)
            )
            self.llm_generator: LLMGenerator | None = None
            if llm is not False:
                model = DEFAULT_GENERATION_MODEL if llm is True else llm
                self.llm_generator = opened.enter_context(LLMGenerator(model, models_dir=models_dir))
            pipeline = self.embedding_pipeline
            self.vector_store = opened.enter_context(
                DeferredStore(lambda: open_store(_url_of(location), dim=pipeline.dim, api_key=api_key))
            )
            super().__init__()
            self._opened = opened.pop_all()

    def _release(self) -> None:
        self._opened.close()


class Owning:
    """Provide the context managers and closing methods of `LLMAgent`, whose parts it may own."""

    vector_store: VectorStore
    _parts: AgentParts | None = None

    @classmethod
    def open(
        cls,
        location: str | Path,
        name: str = "default",
        *,
        llm: bool | str = True,
        namespace: str | None = None,
        embedding_model: str | Path | None = None,
        models_dir: str | Path | None = None,
        api_key: str | None = None,
    ) -> Self:
        """Make an agent with a store, an embedding pipeline and a language model of its own.

        It is a sync and an async context manager, which closes them at the end, such as in
        `async with AsyncLLMAgent.open("memory", name="guide") as agent`. Entering it opens the store; without a `with`,
        the first operation does, and `close()` or `aclose()` closes. Models are loaded at their first use, and
        downloaded then when they are missing.

        Args:
            location: a data folder, the one that `saa --data-dir` and the server use; the folder of a local
                store; or the URL of a store, such as `"grpc://host:50051/notes"`.
            name: the agent's name, 1 to 256 characters.
            llm: False for an agent without a language model, whose answers quote memories; the name of another model
                of the registry, or the path of a .gguf file.
            namespace: the namespace of the memories; the agent's name when None.
            embedding_model: the model that embeds texts; when None, the one that made the newest vectors in the folder
                (`saa reembed` changes it), or the default model.
            models_dir: the folder of all models; the user's cache folder when None.
            api_key: the credential for a store on a server.

        Raises:
            ConfigurationError: an argument is invalid; when the store is opened, its vectors have another length, or
                are of a model that is not known and that `embedding_model` does not name.
            StoreLockedError: when the store is opened, another process uses it.
            StoreError: when the store is opened, it cannot be.
        """
        parts = AgentParts(location, llm=llm, embedding_model=embedding_model, models_dir=models_dir, api_key=api_key)
        try:
            agent = cls(name, parts.vector_store, parts.embedding_pipeline, parts.llm_generator, namespace=namespace)  # type: ignore[call-arg]  # an `LLMAgent`
        except BaseException:
            parts.close()
            raise
        agent._parts = parts
        return agent

    def close(self) -> None:
        """Close what `open` made, in reverse order; an agent made otherwise owns nothing.

        Closing again does nothing.
        """
        if self._parts is not None:
            self._parts.close()

    async def aclose(self) -> None:
        """Close what `open` made, without blocking the event loop; when cancelled, it still ends."""
        if self._parts is not None:
            await self._parts.aclose()

    def __enter__(self) -> Self:
        if self._parts is not None:
            try:
                self._parts.vector_store.opened()
            except BaseException:
                self.close()
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        if self._parts is not None:
            try:
                await self._parts.vector_store.aopened()
            except BaseException:
                await self.aclose()
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()


def _url_of(location: str | Path) -> str:
    if isinstance(location, str) and is_store_url(location):
        return location
    folder = Path(location).expanduser()
    return folder_url(folder if has_store(folder) else folder / STORE_FOLDER)


def _folder_of(location: str | Path) -> Path | None:
    # The folder of a local store, or the one that has it as its `store`; None for a store on a server.
    if isinstance(location, str) and is_store_url(location):
        return folder_of(location)
    return Path(location).expanduser()
