"""The default engine on the real model."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents.embeddings import EmbeddingPipeline
from super_advanced_agents.errors import EmbeddingError, ModelNotFoundError
from super_advanced_agents.models import find

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

NAME = "all-MiniLM-L6-v2"

TEXTS: SearchStrategy[str] = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def test_the_default_model_says_what_it_is_without_being_loaded() -> None:
    """`dim`, `model_id` and `max_tokens` come from the registry."""
    with EmbeddingPipeline() as pipeline:
        assert pipeline.dim == 384
        assert pipeline.model_id == f"{NAME}:int8:53aa51172d14"
        assert pipeline.max_tokens == 256
        assert pipeline.stats()["batches"] == 0


def test_meaning_is_near(embedder: EmbeddingPipeline) -> None:
    """A question is nearer to its answer than to something else."""
    question, answer, other = embedder.embed_batch(
        ["Where is the Eiffel Tower?", "The Eiffel Tower is in Paris.", "He forgot to water the tomatoes."]
    )
    assert question @ answer > 0.6 > 0.3 > question @ other


def test_a_vector_does_not_depend_on_its_neighbours() -> None:
    """Alone, in a crowd, in a batch and beside far longer texts, a text has the same vector."""
    texts = [f"{'and then ' * (i % 40)}they met again in {1900 + i}" for i in range(90)]
    with EmbeddingPipeline(cache_entries=0) as pipeline:
        alone = np.stack([pipeline.embed(text) for text in texts])

        async def crowd() -> np.ndarray:
            return np.stack(await asyncio.gather(*(pipeline.aembed(text) for text in texts)))

        np.testing.assert_allclose(pipeline.embed_batch(texts), alone, atol=2e-3)
        np.testing.assert_allclose(asyncio.run(crowd()), alone, atol=2e-3)
        np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-5)


def test_int8_is_close_to_fp32(embedder: EmbeddingPipeline) -> None:
    """The mean cosine between the two precisions is at least 0.99, over short and long texts."""
    texts = [f"{'on the way home ' * (i % 25)}she bought {i} apples and a newspaper" for i in range(50)]
    with EmbeddingPipeline(precision="fp32") as exact:
        assert exact.model_id.startswith(f"{NAME}:fp32:")
        cosines = np.sum(exact.embed_batch(texts) * embedder.embed_batch(texts), axis=1)
    assert cosines.mean() >= 0.99
    assert cosines.min() >= 0.98


def test_texts_are_truncated_at_256_tokens(embedder: EmbeddingPipeline) -> None:
    """What comes after has no influence; what comes before has."""
    long = "word " * 400
    np.testing.assert_allclose(embedder.embed(long + "tail"), embedder.embed(long), atol=1e-6)
    assert embedder.embed("word " * 200 + "tail") @ embedder.embed("word " * 200) < 0.9999


def test_tokens_are_counted_as_the_model_reads_them(embedder: EmbeddingPipeline) -> None:
    """With the two around each text, and none past the window."""
    assert embedder.count_tokens(["hello"]) == 3
    assert embedder.count_tokens(["hello", "hello world"]) == 3 + 4
    assert embedder.count_tokens(["word " * 1_000]) == 256
    assert embedder.count_tokens([]) == 0


def test_no_texts_make_no_rows(embedder: EmbeddingPipeline) -> None:
    """An empty list has the model's dimension."""
    assert embedder.embed_batch([]).shape == (0, 384)


@given(st.lists(TEXTS.filter(lambda text: not text.isspace()), min_size=1, max_size=5))
def test_any_text_has_a_unit_vector(embedder: EmbeddingPipeline, texts: list[str]) -> None:
    """Whatever Unicode holds, the row is finite and of length one, and comes again the same."""
    rows = embedder.embed_batch(texts)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(embedder.embed(texts[-1]), rows[-1], atol=1e-5)


def test_missing_files_name_the_command(tmp_path: Path) -> None:
    """With `pull=False` nothing is fetched and the error says how to; it comes again at the next call."""
    with EmbeddingPipeline(models_dir=tmp_path, pull=False) as pipeline:
        for _ in range(2):
            with pytest.raises(ModelNotFoundError, match=f"saa pull {NAME}"):
                pipeline.embed("a text")


def test_a_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    """Changed bytes of the right length are found before they are used."""
    source = find(NAME).path
    (tmp_path / NAME).mkdir()
    for path in source.iterdir():
        (tmp_path / NAME / path.name).symlink_to(path)
    words = tmp_path / NAME / "tokenizer.json"
    content = words.read_bytes().replace(b"museum", b"musaum", 1)
    words.unlink()
    words.write_bytes(content)
    damaged = pytest.raises(ModelNotFoundError, match=r"'tokenizer\.json'.*damaged.*saa pull")
    with EmbeddingPipeline(models_dir=tmp_path) as pipeline, damaged:
        pipeline.embed("museum")


class TestFolder:
    """A folder with `model.onnx` and `tokenizer.json` of anyone's making."""

    def test_it_embeds_as_its_model_does(self, tmp_path: Path) -> None:
        """Pooling inside the graph is used as it is; the identity holds a digest of the file."""
        self._fill(tmp_path)
        with EmbeddingPipeline(tmp_path) as folder, EmbeddingPipeline(precision="fp32") as known:
            np.testing.assert_allclose(folder.embed("a text"), known.embed("a text"), atol=1e-5)
            assert folder.dim == 384
            assert folder.model_id.startswith(f"{tmp_path.name}:onnx:")

    def test_token_vectors_are_averaged_over_the_mask(self, tmp_path: Path) -> None:
        """A graph without pooling gives the same vectors as the one with it, padding left out."""
        import onnx

        self._fill(tmp_path)
        model = onnx.load(tmp_path / "model.onnx")
        last = next(node for node in model.graph.node if "pooled" in node.output).input[1]
        output = onnx.helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, ["batch", "tokens", 384])
        del model.graph.output[:]
        model.graph.output.append(output)
        onnx.save(model, tmp_path / "model.onnx")
        texts = ["short", "a text that is quite a bit longer than the other one"]
        with EmbeddingPipeline(str(tmp_path)) as folder, EmbeddingPipeline(precision="fp32") as known:
            np.testing.assert_allclose(folder.embed_batch(texts), known.embed_batch(texts), atol=1e-5)

    def test_an_empty_list_learns_the_dimension(self, tmp_path: Path) -> None:
        """The dimension is asked of the graph when nothing else tells it."""
        self._fill(tmp_path)
        with EmbeddingPipeline(tmp_path) as folder:
            assert folder.embed_batch([]).shape == (0, 384)

    def test_what_is_missing_or_broken_is_named(self, tmp_path: Path) -> None:
        """No files, and files that are no model, are errors of the tree."""
        with EmbeddingPipeline(tmp_path) as folder, pytest.raises(ModelNotFoundError, match=r"tokenizer\.json"):
            folder.embed("a text")
        self._fill(tmp_path)
        (tmp_path / "model.onnx").write_bytes(b"not a graph")
        with EmbeddingPipeline(tmp_path) as folder, pytest.raises(EmbeddingError, match="cannot be loaded"):
            folder.embed("a text")

    def _fill(self, folder: Path) -> None:
        known = find(NAME).path
        with EmbeddingPipeline(precision="fp32") as pipeline:
            pipeline.embed("made when missing")
        shutil.copyfile(known / "model-fp32.onnx", folder / "model.onnx")
        shutil.copyfile(known / "tokenizer.json", folder / "tokenizer.json")
