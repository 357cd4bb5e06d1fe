"""Model files: the registry of known models, download, verification, conversion to ONNX.

Code that runs a model belongs in `embeddings` or `generation`, not here.
"""

from super_advanced_agents.models.bert_graph import Precision
from super_advanced_agents.models.folder import ModelFolder, default_models_dir
from super_advanced_agents.models.progress import OnProgress, PullProgress, progress_line
from super_advanced_agents.models.pull import ensure, find, pull, verify
from super_advanced_agents.models.registry import (
    MODELS,
    HubSource,
    ModelFile,
    ModelSpec,
    PartsSource,
    Source,
    WheelSource,
    known_model,
    model_spec,
)

__all__ = [
    "MODELS",
    "HubSource",
    "ModelFile",
    "ModelFolder",
    "ModelSpec",
    "OnProgress",
    "PartsSource",
    "Precision",
    "PullProgress",
    "Source",
    "WheelSource",
    "default_models_dir",
    "ensure",
    "find",
    "known_model",
    "model_spec",
    "progress_line",
    "pull",
    "verify",
]
