"""Test the default embedding engine with the real model."""

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
from super_advanced_agents.errors import EmbeddingError, InvalidInputError, ModelNotFoundError
from super_advanced_agents.models import find

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

NAME = "all-MiniLM-L6-v2"

TEXTS: SearchStrategy[str] = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def test_pipeline_knows_dim_and_model_id_before_the_model_is_loaded() -> None:
    """`dim`, `model_id` and `max_tokens` come from the registry."""
    with EmbeddingPipeline() as pipeline:
        assert pipeline.dim == 384
        assert pipeline.model_id == f"{NAME}:int8:53aa51172d14"
        assert pipeline.max_tokens == 256
        assert pipeline.stats()["batches"] == 0


def test_question_is_more_similar_to_its_answer_than_to_another_text(embedder: EmbeddingPipeline) -> None:
    """The vectors come from one `embed_batch` call."""
    question, answer, other = embedder.embed_batch(
        ["Where is the Eiffel Tower?", "The Eiffel Tower is in Paris.", "He forgot to water the tomatoes."]
    )
    assert question @ answer > 0.6 > 0.3 > question @ other


def test_tokens_are_decoded_to_the_texts_they_stand_for(embedder: EmbeddingPipeline) -> None:
    """Special tokens are left out, and one that the model does not know is refused."""
    assert embedder.decode([[101, 7592, 2088, 102], [7592], []]) == ["hello world", "hello", ""]
    for unknown in (-1, 30_522, 2**70):
        with pytest.raises(InvalidInputError) as caught:
            embedder.decode([[7592], [unknown]])
        assert caught.value.field == "tokens[1]"


def test_text_has_the_same_vector_alone_and_in_any_batch() -> None:
    """Neither the number nor the length of the other texts in a batch matters."""
    texts = [f"{'and then ' * (i % 40)}they met again in {1900 + i}" for i in range(90)]
    with EmbeddingPipeline(cache_entries=0) as pipeline:
        alone = np.stack([pipeline.embed(text) for text in texts])

        async def embed_concurrently() -> np.ndarray:
            return np.stack(await asyncio.gather(*(pipeline.aembed(text) for text in texts)))

        np.testing.assert_allclose(pipeline.embed_batch(texts), alone, atol=2e-3)
        np.testing.assert_allclose(asyncio.run(embed_concurrently()), alone, atol=2e-3)
        np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-5)


def test_int8_vectors_are_close_to_fp32_vectors(embedder: EmbeddingPipeline) -> None:
    """The mean cosine is at least 0.99 over short and long texts."""
    texts = [f"{'on the way home ' * (i % 25)}she bought {i} apples and a newspaper" for i in range(50)]
    with EmbeddingPipeline(precision="fp32") as exact:
        assert exact.model_id.startswith(f"{NAME}:fp32:")
        cosines = np.sum(exact.embed_batch(texts) * embedder.embed_batch(texts), axis=1)
    assert cosines.mean() >= 0.99
    assert cosines.min() >= 0.98


def test_embed_truncates_a_text_at_256_tokens(embedder: EmbeddingPipeline) -> None:
    """Later words have no influence, and earlier words have."""
    long = "word " * 400
    np.testing.assert_allclose(embedder.embed(long + "end"), embedder.embed(long), atol=1e-6)
    assert embedder.embed("word " * 200 + "end") @ embedder.embed("word " * 200) < 0.9999


def test_count_tokens_includes_special_tokens_and_stops_at_max_tokens(embedder: EmbeddingPipeline) -> None:
    """The model adds two special tokens to each text."""
    assert embedder.count_tokens(["hello"]) == 3
    assert embedder.count_tokens(["hello", "hello world"]) == 3 + 4
    assert embedder.count_tokens(["word " * 1_000]) == 256
    assert embedder.count_tokens([]) == 0


def test_embed_batch_of_no_texts_returns_no_rows_of_the_models_dim(embedder: EmbeddingPipeline) -> None:
    """The result is a matrix of shape (0, 384)."""
    assert embedder.embed_batch([]).shape == (0, 384)


@given(st.lists(TEXTS.filter(lambda text: not text.isspace()), min_size=1, max_size=5))
def test_embed_returns_a_unit_vector_for_any_unicode_text(embedder: EmbeddingPipeline, texts: list[str]) -> None:
    """The vector is finite and the same each time."""
    rows = embedder.embed_batch(texts)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(embedder.embed(texts[-1]), rows[-1], atol=1e-5)


def test_embed_with_missing_model_files_names_the_pull_command(tmp_path: Path) -> None:
    """With `pull=False` nothing is downloaded, and the next call raises the error again."""
    with EmbeddingPipeline(models_dir=tmp_path, pull=False) as pipeline:
        for _ in range(2):
            with pytest.raises(ModelNotFoundError, match=f"saa pull {NAME}"):
                pipeline.embed("a text")


def test_embed_with_a_damaged_tokenizer_names_the_file(tmp_path: Path) -> None:
    """Changed bytes are found before the file is used, although its length is right."""
    source = find(NAME).path
    (tmp_path / NAME).mkdir()
    for path in source.iterdir():
        (tmp_path / NAME / path.name).symlink_to(path)
    tokenizer = tmp_path / NAME / "tokenizer.json"
    content = tokenizer.read_bytes().replace(b"museum", b"musaum", 1)
    tokenizer.unlink()
    tokenizer.write_bytes(content)
    damaged = pytest.raises(ModelNotFoundError, match=r"'tokenizer\.json'.*damaged.*saa pull")
    with EmbeddingPipeline(models_dir=tmp_path) as pipeline, damaged:
        pipeline.embed("museum")


class TestFolder:
    """Test a model given as a folder with `model.onnx` and `tokenizer.json`."""

    def test_folder_gives_the_vectors_of_the_model_in_it(self, tmp_path: Path) -> None:
        """Pooling inside the graph is used as it is, and the model id begins with the folder's name."""
        self._fill(tmp_path)
        with EmbeddingPipeline(tmp_path) as folder, EmbeddingPipeline(precision="fp32") as known:
            np.testing.assert_allclose(folder.embed("a text"), known.embed("a text"), atol=1e-5)
            assert folder.dim == 384
            assert folder.model_id.startswith(f"{tmp_path.name}:onnx:")

    def test_folder_without_pooling_averages_token_vectors_over_the_mask(self, tmp_path: Path) -> None:
        """Padding has no influence, so the vectors are those of the graph with pooling."""
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

    def test_embed_batch_of_no_texts_reads_the_dim_from_the_graph(self, tmp_path: Path) -> None:
        """Nothing else tells the dimension of a folder's model."""
        self._fill(tmp_path)
        with EmbeddingPipeline(tmp_path) as folder:
            assert folder.embed_batch([]).shape == (0, 384)

    def test_folder_with_missing_or_broken_files_raises_an_error_that_names_them(self, tmp_path: Path) -> None:
        """Both errors are classes of this package."""
        with EmbeddingPipeline(tmp_path) as folder, pytest.raises(ModelNotFoundError, match=r"tokenizer\.json"):
            folder.embed("a text")
        self._fill(tmp_path)
        (tmp_path / "model.onnx").write_bytes(b"not a graph")
        with EmbeddingPipeline(tmp_path) as folder, pytest.raises(EmbeddingError, match="cannot be loaded"):
            folder.embed("a text")

    def _fill(self, folder: Path) -> None:
        known = find(NAME).path
        with EmbeddingPipeline(precision="fp32") as pipeline:
            pipeline.embed("makes the graph when it is missing")
        shutil.copyfile(known / "model-fp32.onnx", folder / "model.onnx")
        shutil.copyfile(known / "tokenizer.json", folder / "tokenizer.json")
