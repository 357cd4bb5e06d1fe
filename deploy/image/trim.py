"""Make the image's environment small: `trim.py /opt/saa`, run by the Dockerfile with that environment's Python.

What no server ever reads goes: tools of the build, tests, headers, symbols of debuggers. Byte code is kept of what a
server imports, and of nothing else: an image has a read-only root, so what is missing is compiled at every start.
"""

from __future__ import annotations

import importlib
import pkgutil
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NOT_AT_RUN = ("hatchling", "hf-xet", "pathspec", "pluggy", "setuptools", "trove-classifiers", "wheel")
"""What only builds use, and what makes fetching from a hub faster, once."""
UNUSED = (
    "numpy/f2py",
    "onnx/backend/test",
    "onnx/reference",
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    "onnxruntime/capi/libonnxruntime.so*",  # for programs in C: the module for Python holds all of it
)
UNUSED_ENDINGS = frozenset({".a", ".c", ".cc", ".cpp", ".cuh", ".h", ".hpp", ".pxd", ".pyi", ".pyx"})
HEAVY = (
    "faiss",
    "grpc_health.v1.health_pb2",
    "onnx",
    "onnxruntime",
    "openai",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk.trace",
    "psycopg_pool",
    "pyrage",
    "tantivy",
    "uvicorn.protocols.http.httptools_impl",
    "valkey.asyncio",
    "xllamacpp",
)
"""What is imported only once it is used; importing the modules of the package does not bring it in."""


def main(environment: Path) -> None:
    """Remove what is not needed, strip libraries, and compile what a server imports."""
    [packages] = environment.glob("lib/python3*/site-packages")
    before = _size(environment)
    subprocess.run([sys.executable, "-m", "pip", "uninstall", "--quiet", "--yes", *NOT_AT_RUN], check=True)
    for unused in _unused(packages):
        shutil.rmtree(unused) if unused.is_dir() else unused.unlink()
    for library in packages.rglob("*.so*"):
        # Libraries in `*.libs` were rewritten for their wheels, and such a file may not survive `strip`.
        if library.is_file() and not library.parent.name.endswith(".libs"):
            subprocess.run(["strip", "--strip-unneeded", str(library)], check=True)
    for folder in list(environment.rglob("__pycache__")):
        shutil.rmtree(folder)
    compiled = _compile_imported(environment)
    print(f"{environment}: {before / 1e6:.0f} MB, then {_size(environment) / 1e6:.0f}; {compiled} modules compiled")


def _unused(packages: Path) -> Iterator[Path]:
    for pattern in UNUSED:
        yield from packages.glob(pattern)
    for folder in [found for found in packages.rglob("tests") if found.is_dir()]:
        if folder.exists():
            yield folder
    for file in packages.rglob("*"):
        if file.suffix in UNUSED_ENDINGS and file.is_file():
            yield file


def _compile_imported(environment: Path) -> int:
    sys.dont_write_bytecode = True
    import super_advanced_agents as package

    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.startswith(f"{package.__name__}.testing"):  # the behaviour suite of stores needs pytest
            _import(found.name)
    for name in HEAVY:
        _import(name)
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    sources = sorted(
        file
        for file in files
        if file and file.endswith(".py") and Path(file).is_relative_to(environment) and Path(file).exists()
    )
    for source in sources:  # by hash and unchecked: the bytes do not depend on the time of the build
        py_compile.compile(source, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    return len(sources)


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as exc:  # of an extra that the image does not have
        print(f"not compiled: {name}, since there is no {exc.name}")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
