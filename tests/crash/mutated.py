"""A child process that damages files of a store, opens it, and compares its answers; it prints JSON lines.

    python -m tests.crash.mutated FOLDER index|rows FIRST COUNT

The sort of damage follows from its number. `{"begun": n, "damage": ...}` is printed before a store is opened and
`{"ended": n, "outcome": ...}` after: `answers`, `refused: ...` or, of damaged rows, `other values`. Anything else is a
fault.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.crash.damage import damage_of_index, damage_of_rows
from tests.crash.script import DIM, NAMES, NAMESPACES, State, held, metadata, vector

from super_advanced_agents import FAISSVectorStore
from super_advanced_agents.errors import SuperAdvancedAgentsError
from super_advanced_agents.stores.faiss.keywords import index as keyword_index

BUFFER_ROWS = 16
_ROUNDS = 3


def _open(folder: Path, *, dim: int = DIM) -> FAISSVectorStore:
    return FAISSVectorStore(dim, folder, index="hnsw", buffer_rows=BUFFER_ROWS)


def _filled(folder: Path, first_tag: int, *, dim: int = DIM, stale: Path | None = None) -> State:
    """Write a store thrice over and seal it; `stale` becomes a copy of it after the first time."""
    state: State = {}
    keyword_index._LAST_FLUSH_BYTES = 0  # else closing does not save the keywords of so few texts
    for turn in range(_ROUNDS):
        with _open(folder, dim=dim) as store:
            for space, namespace in enumerate(NAMESPACES):
                tags = [first_tag + 1_000 * turn + 100 * space + i for i in range(len(NAMES))]
                vectors = [[*vector(tag), *[1.0] * (dim - DIM)] for tag in tags]
                store.add_batch(vectors, [metadata(tag) for tag in tags], NAMES, namespace=namespace)
                state.update({(namespace, name): tag for name, tag in zip(NAMES, tags, strict=True)})
            while int(str(store.stats()["tail_rows"])) >= BUFFER_ROWS or not list(folder.glob("index/manifest-*.json")):
                time.sleep(0.005)  # the background is sealing, and no event reports its end
            assert store.search_keywords("text", 1)
        if turn == 0 and stale is not None:
            shutil.copytree(folder, stale)
    return state


class _Stores:
    """The undamaged store and its expected state, and other stores whose files get mixed in."""

    def __init__(self, place: Path) -> None:
        self.whole, self.stale, self.foreign, self.wide = (place / name for name in ("whole", "stale", "other", "wide"))
        self.state = _filled(self.whole, 0, stale=self.stale)
        _filled(self.foreign, 500_000)
        _filled(self.wide, 600_000, dim=DIM + 4)
        with _open(self.stale) as store:
            self.stale_state = held(store)
        with _open(self.whole) as store:
            assert held(store) == self.state
            assert int(str(store.stats()["segments"])) > 0, "nothing came from the snapshot"


def _outcome_of_index(folder: Path, stores: _Stores) -> str:
    """Open the store twice, because the first opening may write beside what is damaged."""
    try:
        for turn in range(2):
            with _open(folder) as store:
                state = held(store)
                assert len(state) == len(stores.state) + turn * BUFFER_ROWS * 2
                assert stores.state.items() <= state.items()
                if turn == 0:
                    tags = range(900_000, 900_000 + BUFFER_ROWS * 2)
                    store.add_batch([vector(tag) for tag in tags], [metadata(tag) for tag in tags], namespace="one")
        return "answers"
    except SuperAdvancedAgentsError as exc:
        return f"refused: {exc!r}"


def _outcome_of_rows(folder: Path, stores: _Stores) -> str:
    """Call every operation; each must answer or raise a library error, as SQLite keeps no checksums."""
    try:
        with _open(folder) as store:
            return _outcome_of_calls(store, stores)
    except SuperAdvancedAgentsError as exc:
        return f"refused: {type(exc).__name__}"


def _outcome_of_calls(store: FAISSVectorStore, stores: _Stores) -> str:
    outcome = "answers"
    tags = range(900_000, 900_000 + BUFFER_ROWS)
    calls: list[Callable[[], object]] = [
        lambda: store.scan(limit=1_000),
        lambda: store.get(NAMES),
        store.count,
        lambda: store.count({"group": 1}),
        lambda: store.search(vector(1), 1_000),
        lambda: store.search(vector(1), 10, where={"group": 2}, namespace="one"),
        lambda: store.search_keywords("text number3", 5),
        lambda: _compare(store, stores),
        lambda: store.add_batch([vector(tag) for tag in tags], [metadata(tag) for tag in tags], namespace="one"),
        lambda: store.add(vector(7), metadata(7), NAMES[0], namespace="two"),
        lambda: store.delete(NAMES[1:5]),
        lambda: store.delete(where={"group": 3}),
        store.stats,
    ]
    for call in calls:
        try:
            call()
        except SuperAdvancedAgentsError as exc:
            outcome = f"refused: {type(exc).__name__}"
        except _OtherValuesError:
            outcome = "other values"
    return outcome


class _OtherValuesError(Exception):
    pass


def _compare(store: FAISSVectorStore, stores: _Stores) -> None:
    try:
        same = held(store) in (stores.state, stores.stale_state)
    except (AssertionError, KeyError) as exc:
        raise _OtherValuesError from exc
    if not same:
        raise _OtherValuesError


def main() -> None:
    """Damage a copy, open it and print the outcome, `COUNT` times."""
    place, what, first, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    stores = _Stores(place)
    others = [stores.stale, stores.foreign, stores.wide]
    for n in range(first, first + count):
        folder = place / "damaged"
        shutil.copytree(stores.whole, folder)
        damage, outcome_of = (
            (damage_of_index, _outcome_of_index) if what == "index" else (damage_of_rows, _outcome_of_rows)
        )
        damage_done = damage(random.Random(n), folder, others)  # a plan, not a secret
        print(json.dumps({"begun": n, "damage": damage_done}), flush=True)
        try:
            outcome = outcome_of(folder, stores)
        except BaseException:
            outcome = traceback.format_exc()
        print(json.dumps({"ended": n, "outcome": outcome}), flush=True)
        for path in (folder / "index", folder / "words"):
            if path.is_symlink():
                path.unlink()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
