"""Test how a process with a generator exits, and that no model file crashes it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from super_advanced_agents.errors import ModelNotFoundError
from super_advanced_agents.generation import LLMGenerator
from super_advanced_agents.models import find

OPEN = (
    "from super_advanced_agents.generation import LLMGenerator\n"
    "llm = LLMGenerator({model!r}, slots=2, context_tokens=256)\n"
)


def run_script(script: str, *, model: str = "SmolLM2-135M-Instruct") -> subprocess.CompletedProcess[str]:
    """Run a script that has an `llm` in its own process, and return the finished process."""
    code = OPEN.format(model=model) + script
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def weights() -> Path:
    """Return the path of the default model's file."""
    return find("SmolLM2-135M-Instruct").file("SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.mark.parametrize(
    "script",
    [
        "print(llm.generate('Hello', 4))",
        "stream = llm.stream('Hello', 200)\nprint(next(stream))",
        "import threading\nthreading.Thread(target=llm.generate, args=('Tell a story', 40)).start()\nprint('x')",
        "print('never used')",
        "llm.load()\nprint('never closed')\ndel llm",
    ],
)
def test_script_that_does_not_close_its_generator_exits_silently(script):
    """Its status is 0."""
    done = run_script(script)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_during_a_generation_ends_the_process(number):
    """Ctrl-C raises KeyboardInterrupt in the caller; SIGTERM ends the process without it."""
    code = OPEN.format(model="SmolLM2-135M-Instruct") + (
        "llm.load()\nfor piece in llm.stream('Count to one thousand.', 200):\n    print('piece', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "piece\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -number
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)


@pytest.mark.parametrize("damage", ["empty", "garbage", "header", "middle", "end", "zeros", "flipped"])
def test_damaged_model_file_raises_an_error_and_never_crashes_the_process(tmp_path, weights, damage):
    """The error does not depend on what llama.cpp makes of the file."""
    content = weights.read_bytes()
    third = len(content) // 3
    damaged = {
        "empty": b"",
        "garbage": bytes(range(256)) * 4096,
        "header": content[:1000],
        "middle": content[:third],
        "end": content[:-5000],
        "zeros": content[:2_000_000] + bytes(len(content) - 2_000_000),
        "flipped": content[:40] + bytes(255 - byte for byte in content[40:600]) + content[600:],
    }[damage]
    path = tmp_path / "damaged.gguf"
    path.write_bytes(damaged)
    done = run_script(
        "from super_advanced_agents.errors import ModelNotFoundError, GenerationError\n"
        "try:\n    llm.generate('Hello', 2)\n    print('generated')\n"
        "except (ModelNotFoundError, GenerationError) as exc:\n    print('refused', exc)\n",
        model=str(path),
    )
    assert (done.returncode, done.stderr) == (0, "")
    # Weights of zeros are well-formed: only a known model's sha256 tells.
    assert done.stdout.startswith("generated" if damage == "zeros" else "refused")


def test_damaged_known_model_is_refused_by_checksum(tmp_path, weights):
    """One wrong byte is found before llama.cpp reads the file, and the message names the command that repairs it."""
    folder = tmp_path / "SmolLM2-135M-Instruct"
    folder.mkdir()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    (folder / weights.name).write_bytes(content)
    with LLMGenerator(models_dir=tmp_path) as llm, pytest.raises(ModelNotFoundError, match="saa pull"):
        llm.generate("Hello", 2)


@pytest.mark.parametrize(
    ("model", "hint"),
    [("SmolLM2-135M-Instruct", "saa pull"), ("no/such/model.gguf", "saa pull"), ("unknown", "known models: .*SmolLM2")],
)
def test_missing_model_raises_an_error_with_the_next_step(tmp_path, model, hint):
    """The message says how to get the model, or which models exist."""
    with LLMGenerator(model, models_dir=tmp_path, pull=False) as llm, pytest.raises(ModelNotFoundError, match=hint):
        llm.generate("Hello", 2)
