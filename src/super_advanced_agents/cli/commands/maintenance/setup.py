"""The command `saa setup`, which writes the settings that all commands follow."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from super_advanced_agents.cli.options import AsJson
from super_advanced_agents.cli.output import print_json, print_note, print_result, report_errors

_MODEL, _URL, _KEY = "SAA_GENERATION_MODEL", "SAA_GENERATION_BASE_URL", "SAA_GENERATION_API_KEY"
_DATA_DIR = "SAA_DATA_DIR"
_BEST_MODEL = "Qwen2.5-Coder-1.5B-Instruct"


@report_errors
def setup(
    *,
    model: Annotated[
        str | None, typer.Option("--model", help="A known model, a .gguf file, or the model's name at --base-url.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option("--base-url", help="Your own OpenAI-compatible server, such as http://host:8080/v1.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option("--api-key", help="The key of that server; '-' reads it from standard input.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="The data folder of all commands.")] = None,
    as_json: AsJson = False,
) -> None:
    """Choose a language model and a data folder, and write them to the settings file.

    Without options, it asks on a terminal. What is not chosen keeps its setting.
    """
    from super_advanced_agents.cli.settings_file import read_settings, settings_path, write_settings

    path = settings_path()
    settings = read_settings(path)
    if model is None and base_url is None and data_dir is None and api_key is None:
        model, base_url, api_key, data_dir = _asked(settings)
    if api_key == "-":
        api_key = sys.stdin.readline().strip()
    changed = _checked(model, base_url, api_key, data_dir)
    if base_url is not None or model is not None:  # a model of a server replaces one of this machine, and the reverse
        for name in (_MODEL, _URL, _KEY):
            settings.pop(name, None)
    write_settings(path, {**settings, **changed})
    next_command = _next_command(changed)
    if as_json:
        print_json({"path": str(path), "settings": sorted(changed), "next": next_command})
        return
    print_result(f"Wrote {path}.")
    print_result(f"Next: {next_command}")


def _has_terminal() -> bool:
    return sys.stdin.isatty()


def _asked(settings: dict[str, str]) -> tuple[str | None, str | None, str | None, Path | None]:
    from super_advanced_agents.errors import ConfigurationError
    from super_advanced_agents.models import MODELS
    from super_advanced_agents.models.registry import SIMPLE_QUESTIONS
    from super_advanced_agents.tenancy.data_folder.place import default_data_dir

    if not _has_terminal():
        raise ConfigurationError(
            "there is no terminal to ask on", hint=f"give options, such as: saa setup --model {_BEST_MODEL}"
        )
    specs = [spec for spec in MODELS.values() if spec.kind == "generation"]
    print_note("Which language model answers?")
    for number, spec in enumerate(specs, start=1):
        right = "" if spec.right_answers is None else f", {spec.right_answers} of {SIMPLE_QUESTIONS} questions right"
        print_note(f"  {number}. {spec.name} ({spec.size_bytes / 1e9:.1f} GB{right})")
    print_note(f"  {len(specs) + 1}. your own OpenAI-compatible server")
    default = next(number for number, spec in enumerate(specs, start=1) if spec.name == _BEST_MODEL)
    choice = typer.prompt("Number", default=default, type=int, err=True)
    if not 1 <= choice <= len(specs) + 1:
        raise ConfigurationError(f"there is no number {choice}", hint="run saa setup again")
    base_url = api_key = None
    if choice > len(specs):
        base_url = typer.prompt("Its address", default=settings.get(_URL, "http://127.0.0.1:8080/v1"), err=True)
        model = typer.prompt("Its name of the model", default=settings.get(_MODEL), err=True)
        api_key = typer.prompt("Its key (empty for none)", default="", hide_input=True, show_default=False, err=True)
    else:
        model = specs[choice - 1].name
    folder = typer.prompt("The data folder", default=settings.get(_DATA_DIR, str(default_data_dir())), err=True)
    return model, base_url, api_key or None, Path(folder)


def _checked(model: str | None, base_url: str | None, api_key: str | None, data_dir: Path | None) -> dict[str, str]:
    from super_advanced_agents._runtime.remote.openai_server import checked_base_url
    from super_advanced_agents.errors import ConfigurationError
    from super_advanced_agents.models import model_spec

    changed: dict[str, str] = {}
    if base_url is not None:
        checked_base_url(base_url)
        if model is None:
            raise ConfigurationError("a server needs the name of its model", hint="give --model")
        changed[_URL] = base_url
        if api_key:
            changed[_KEY] = api_key
    elif api_key is not None:
        raise ConfigurationError("a key needs its server", hint="give --base-url and --model")
    if model is not None:
        if base_url is None and not model.endswith(".gguf"):
            spec = model_spec(model)
            if spec.kind != "generation":
                raise ConfigurationError(f"the model {model!r} makes vectors, not text", hint="choose another model")
        changed[_MODEL] = model if base_url is not None or not model.endswith(".gguf") else str(Path(model).absolute())
    if data_dir is not None:
        changed[_DATA_DIR] = str(data_dir.expanduser().absolute())
    return changed


def _next_command(changed: dict[str, str]) -> str:
    from super_advanced_agents.models import MODELS

    model = changed.get(_MODEL)
    return f"saa pull {model}" if _URL not in changed and model in MODELS else "saa doctor"
