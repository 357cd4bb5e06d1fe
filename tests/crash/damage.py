"""Ways to damage the files of a store, each chosen and placed by a random number generator."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

_PAGE = 8_192
_ODD_VALUES: list[Any] = [
    *(-1, 0, 1, 15, 17, 2**31, 2**32 - 1, 2**53, 2**63, -(2**63), 0.5, 1e308, None, True, [], {}, [[]]),
    *("", "x", "..", "../../x", "../memory.sqlite3", "/etc/passwd", "/dev/zero", "a\0b", "n" * 5_000, "\U0001f600"),
]


def damage_of_index(rng: random.Random, folder: Path, others: list[Path]) -> str:
    """Damage the derived files of the store in `folder`; `others` are stale, foreign, and of another dimension."""
    name = rng.choice(["index", "index", "index", "words"])
    way = rng.choice(_WAYS)
    return f"{name} {way.__name__.strip('_')}: {way(rng, folder / name, [other / name for other in others])}"


def damage_of_rows(rng: random.Random, folder: Path, others: list[Path]) -> str:
    """Damage the database of the store in `folder`."""
    database = folder / "memory.sqlite3"
    way = rng.choice([*_BYTES, *_BYTES, _pages_zeroed, _pages_swapped, _other_database])
    return f"{way.__name__.strip('_')}: {way(rng, database, others)}"


def _chosen(rng: random.Random, index: Path) -> Path:
    """A manifest, or a file of a segment, most often one that the newest manifest names."""
    manifests = sorted(index.glob("manifest*.json"))
    rest = sorted(path for path in index.iterdir() if path not in manifests)
    newest = manifests[-1].read_text()
    named = [path for path in rest if path.name in newest]
    return rng.choice([manifests[-1], rng.choice(manifests), rng.choice(rest), *rng.sample(named, min(5, len(named)))])


# --- what is done to the bytes of one file ---------------------------------------------------------------------------


def _truncated(rng: random.Random, path: Path, others: list[Path]) -> str:
    size = rng.randrange(path.stat().st_size)
    os.truncate(path, size)
    return f"{path.name} to {size}"


def _emptied(rng: random.Random, path: Path, others: list[Path]) -> str:
    os.truncate(path, 0)
    return path.name


def _flipped(rng: random.Random, path: Path, others: list[Path]) -> str:
    content = bytearray(path.read_bytes())
    places = [rng.randrange(8 * rng.choice([len(content), min(len(content), 128)])) for _ in range(rng.choice([1, 8]))]
    for place in places:
        content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)
    return f"{path.name} at {places}"


def _overwritten(rng: random.Random, path: Path, others: list[Path]) -> str:
    content = bytearray(path.read_bytes())
    start, size = rng.randrange(len(content)), rng.choice([4, 8, 512])
    content[start : start + size] = rng.choice([bytes(size), b"\xff" * size, rng.randbytes(size)])
    path.write_bytes(content)
    return f"{path.name} at {start}, {size} bytes"


def _appended(rng: random.Random, path: Path, others: list[Path]) -> str:
    extra = rng.choice([b"\n", bytes(4_096), rng.randbytes(100), path.read_bytes()])
    with path.open("ab") as file:
        file.write(extra)
    return f"{path.name}, {len(extra)} bytes"


_Way = Callable[[random.Random, Path, list[Path]], str]
_BYTES: list[_Way] = [_truncated, _emptied, _flipped, _flipped, _overwritten, _appended]


# --- what is done to the files of a snapshot -------------------------------------------------------------------------


def _bytes_of_one(rng: random.Random, index: Path, others: list[Path]) -> str:
    way = rng.choice(_BYTES)
    return f"{way.__name__.strip('_')} {way(rng, _chosen(rng, index), others)}"


def _missing(rng: random.Random, index: Path, others: list[Path]) -> str:
    path = _chosen(rng, index)
    path.unlink()
    return path.name


def _mixed(rng: random.Random, index: Path, others: list[Path]) -> str:
    """Replace a file by one of the same sort that is stale, or of another store."""
    path, other = _chosen(rng, index), rng.choice(others)
    source = rng.choice(sorted(other.glob(f"*{path.suffix}")))
    shutil.copyfile(source, path)
    return f"{path.name} of {other.parent.name}"


def _replaced(rng: random.Random, index: Path, others: list[Path]) -> str:
    """Replace the whole folder by a stale one, or by another store's."""
    other = rng.choice(others)
    shutil.rmtree(index)
    shutil.copytree(other, index)
    return other.parent.name


def _merged(rng: random.Random, index: Path, others: list[Path]) -> str:
    """Add the files of another store, with its manifest as the newest."""
    other = rng.choice(others)
    shutil.copytree(other, index, dirs_exist_ok=True)
    shutil.copyfile(max(other.glob("manifest*.json")), index / "manifest-00009999.json")
    return other.parent.name


def _swapped(rng: random.Random, index: Path, others: list[Path]) -> str:
    one = _chosen(rng, index)
    same_sort = [path for path in sorted(index.glob(f"*{one.suffix}")) if path != one]
    two = rng.choice(same_sort or [path for path in sorted(index.iterdir()) if path != one])
    contents = one.read_bytes(), two.read_bytes()
    two.write_bytes(contents[0])
    one.write_bytes(contents[1])
    return f"{one.name} with {two.name}"


def _stray(rng: random.Random, index: Path, others: list[Path]) -> str:
    """Add something that looks like a newer manifest."""
    name = rng.choice(
        ["manifest-00009999.json", "manifest-0.json", "manifest-9x.json", "manifest-99999999999999999999.json"]
    )
    contents = [b"", b"null", b"[]", b"{}", b"{", b"\xff\xfe", b"[" * 100_000, b'{"sha256": 1, "body": 2}', None]
    content = rng.choice(contents)
    if content is None:
        (index / name).mkdir()
    else:
        (index / name).write_bytes(content)
    return f"{name} {'a folder' if content is None else content[:30]!r}"


def _not_a_file(rng: random.Random, index: Path, others: list[Path]) -> str:
    path = _chosen(rng, index)
    path.unlink()
    path.mkdir()
    return path.name


def _linked(rng: random.Random, index: Path, others: list[Path]) -> str:
    """Put a link where a file, or the folder, should be."""
    path = rng.choice([_chosen(rng, index), index])
    aims = [path, path.with_name("nowhere"), index.parent, Path("/dev/null"), *others]
    aim = rng.choice([*aims, *(max(other.glob(f"*{path.suffix or '.json'}")) for other in others)])
    if path == index:
        shutil.rmtree(index)
        if aim in others:  # a copy, because the store takes what it finds for its own
            aim = shutil.copytree(aim, index.with_name("elsewhere"))
    else:
        path.unlink()
    path.symlink_to(aim)
    return f"{path.name} to {aim}"


def _no_folder(rng: random.Random, index: Path, others: list[Path]) -> str:
    shutil.rmtree(index)
    if rng.random() < 0.5:
        return "gone"
    index.write_bytes(rng.randbytes(100))
    return "a file"


def _resigned(rng: random.Random, index: Path, others: list[Path]) -> str:
    """Change one value of the newest manifest and sign it anew."""
    return _signed_anew(rng, index, _one_value_changed)


def _reordered(rng: random.Random, index: Path, others: list[Path]) -> str:
    """Drop, double or reorder entries of a list in the newest manifest and sign it anew."""
    return _signed_anew(rng, index, _one_list_changed)


def _signed_anew(rng: random.Random, index: Path, change: Callable[[random.Random, Any], str]) -> str:
    path = max(index.glob("manifest*.json"))
    content = orjson.loads(path.read_bytes())
    assert content["sha256"] == _signature(content["body"]), "manifests are signed in another way now; follow it here"
    change_made = change(rng, content["body"])
    try:
        content["sha256"] = _signature(content["body"])
        path.write_bytes(orjson.dumps(content))
    except TypeError:  # a number too large for the writer; the reader gets to see it all the same
        path.write_text(str(content).replace("'", '"').replace("None", "null").replace("True", "true"))
    return change_made


def _signature(body: object) -> str:
    return hashlib.sha256(orjson.dumps(body)).hexdigest()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of everything in a JSON value."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def _one_value_changed(rng: random.Random, body: Any) -> str:
    container, key = rng.choice(list(_places(body)))
    before = container[key]
    if rng.random() < 0.1 and isinstance(container, dict):
        del container[key]
        return f"{key} gone"
    odd = [*_ODD_VALUES, *([before + 1, before - 1, before // 2, 2 * before] if isinstance(before, int) else [])]
    container[key] = rng.choice(odd)
    return f"{key} from {str(before)[:60]!r} to {str(container[key])[:60]!r}"


def _one_list_changed(rng: random.Random, body: Any) -> str:
    lists = [container[key] for container, key in _places(body) if isinstance(container[key], list) and container[key]]
    chosen = rng.choice(lists)
    what = rng.choice(["dropped", "doubled", "reversed", "emptied"])
    place = rng.randrange(len(chosen))
    if what == "dropped":
        del chosen[place]
    elif what == "doubled":
        chosen.insert(place, chosen[place])
    elif what == "reversed":
        chosen.reverse()
    else:
        chosen.clear()
    return f"{what} {place} of {len(chosen)}"


_WAYS: list[_Way] = [
    *(
        _bytes_of_one,
        _bytes_of_one,
        _bytes_of_one,
        _resigned,
        _resigned,
        _resigned,
        _reordered,
        _missing,
        _mixed,
        _mixed,
    ),
    *(_replaced, _merged, _swapped, _stray, _not_a_file, _linked, _no_folder),
]


# --- what is done to the database ------------------------------------------------------------------------------------


def _pages_zeroed(rng: random.Random, path: Path, others: list[Path]) -> str:
    pages = [rng.randrange(path.stat().st_size // _PAGE) for _ in range(rng.choice([1, 4]))]
    with path.open("r+b") as file:
        for page in pages:
            file.seek(page * _PAGE)
            file.write(bytes(_PAGE))
    return str(pages)


def _pages_swapped(rng: random.Random, path: Path, others: list[Path]) -> str:
    content = bytearray(path.read_bytes())
    one, two = (slice(page * _PAGE, (page + 1) * _PAGE) for page in rng.sample(range(len(content) // _PAGE), 2))
    content[one], content[two] = content[two], content[one]
    path.write_bytes(content)
    return f"{one.start // _PAGE} with {two.start // _PAGE}"


def _other_database(rng: random.Random, path: Path, others: list[Path]) -> str:
    """Replace the rows by those of a stale backup, of another store, or of another dimension."""
    other = rng.choice(others)
    shutil.copyfile(other / path.name, path)
    return other.name
