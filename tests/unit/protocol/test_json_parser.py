"""JSON is parsed strictly, within bounds, and in slices as at once."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from super_advanced_agents.errors import InvalidInputError
from super_advanced_agents.protocol.json_outline import MAX_CONTAINERS, MAX_DEPTH, MAX_VALUES
from super_advanced_agents.protocol.json_parser import parse_in_slices, parse_json

PIECE = 32
MANY_BYTES = 200_000


def _in_slices(body, piece_bytes=PIECE):
    work = parse_in_slices(body, piece_bytes=piece_bytes)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def _outcome(parse, body):
    try:
        return parse(body)
    except InvalidInputError as exc:
        return type(exc)


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.text(alphabet='"\\/,:[]{} \n\U0001f600é')
)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=2), inner, max_size=6)
)
_LAYOUTS = st.sampled_from([{}, {"indent": 3}, {"separators": (",", ":")}, {"separators": (" ,\r\n", "\t: ")}])


@st.composite
def _documents(draw):
    text = json.dumps(draw(_VALUES), ensure_ascii=draw(st.booleans()), **draw(_LAYOUTS))
    return text.encode(errors="surrogatepass")


@settings(max_examples=400, deadline=None)
@given(_documents())
def test_pieces_make_the_same_value_as_the_whole(body):
    """Wherever a text is cut, its value is the one that a single call makes."""
    assert _outcome(_in_slices, body) == _outcome(parse_json, body)


@settings(max_examples=1_000, deadline=None)
@given(_documents(), st.data())
def test_pieces_are_refused_where_the_whole_is_refused(body, data):
    """A byte that is lost, added or replaced makes the same difference, cut or not."""
    place = data.draw(st.integers(0, len(body)))
    kept = data.draw(st.integers(0, 1))
    added = data.draw(st.sampled_from([b"", b",", b"[", b"]", b"{", b"}", b'"', b"\\", b":", b"1", b" ", b"\xff"]))
    damaged = body[:place] + added + body[place + 1 - kept :]
    assert _outcome(_in_slices, damaged) == _outcome(parse_json, damaged)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"b":[' + b"1," * 50 + b'2],"a":3}',
        b'{"a":[' + b"1," * 50 + b'2],"b":1,"a":[' + b"1," * 50 + b"2]}",
        b"[" + b"1," * 50 + b"NaN]",
        b"[" + b"1," * 50 + b"-Infinity]",
        b"[" + b"1," * 50 + b"1" * 5_000 + b"]",
        b"[" + b"1," * 50 + b"]",
        b"[" + b"1," * 50 + b",1]",
        b"[" + b"1," * 50 + b"1}",
        b"[" + b"1," * 50 + b"1] 2",
        b'["' + b"x" * 50 + b'\\"]',
        b'["' + b"x" * 50 + b'\n"]',
        b'["' + b"x" * 50 + b'"y"]',
        b"[" + b" " * 50 + b"1" + b" " * 50 + b"2]",
        b'["' + b"\xff" * 50 + b'"]',
        b"\xef\xbb\xbf[" + b"1," * 50 + b"1]",
        b"x" * 50,
        b"",
    ],
)
def test_ambiguous_or_damaged_texts_are_refused_in_slices_as_at_once(body):
    """Duplicate keys, NaN, endless numbers, stray commas and texts that are not UTF-8 are found in any piece."""
    with pytest.raises(InvalidInputError):
        parse_json(body)
    with pytest.raises(InvalidInputError):
        _in_slices(body)


def test_characters_outside_the_first_plane_survive_a_cut_between_their_two_escapes():
    """Escapes of two halves that stand in two pieces are one character."""
    for lead in range(12):
        body = json.dumps("x" * lead + "\U0001f600" * 20).encode()
        assert _in_slices(body) == "x" * lead + "\U0001f600" * 20


def test_empty_containers_with_much_space_are_empty():
    """Space alone between two brackets holds no value."""
    assert _in_slices(b"[" + b" " * 50 + b"]") == []
    assert _in_slices(b'{"a":{' + b"\n" * 50 + b"}}") == {"a": {}}


def test_a_long_key_is_told_apart_from_its_long_value():
    """A key in a piece of its own is found with its escapes."""
    body = json.dumps({'k"\\': list(range(40)), "l": "m" * 99}).encode()
    assert _in_slices(body, 24) == json.loads(body)


@pytest.mark.parametrize("padding", [b"", b" " * MANY_BYTES])
def test_nesting_is_refused_beyond_the_limit(padding):
    """The limit holds for short and for long texts."""
    deepest = b"[" * MAX_DEPTH + padding + b"]" * MAX_DEPTH
    parse_json(deepest)
    with pytest.raises(InvalidInputError, match="nested too deeply"):
        parse_json(b"[" + deepest + b"]")


def test_objects_without_end_are_refused_before_one_of_them_is_built():
    """8 MiB of empty objects are refused by their count."""
    with pytest.raises(InvalidInputError, match=f"more than {MAX_CONTAINERS:,} objects"):
        parse_json(b"[" + b"{}," * (MAX_CONTAINERS + 1) + b"{}]")


def test_values_without_end_are_refused_before_one_of_them_is_built():
    """Millions of numbers are refused by their count."""
    with pytest.raises(InvalidInputError, match=f"more than {MAX_VALUES:,} values"):
        parse_json(b"[" + b"0," * MAX_VALUES + b"0]")


def test_a_thousand_long_vectors_are_within_the_limits():
    """The largest batch of the longest usual vectors is a legal text."""
    body = b"[" + b",".join([b"[" + b",".join([b"0.5"] * 1_536) + b"]"] * 1_000) + b"]"
    vectors = parse_json(body)
    assert len(vectors) == 1_000
    assert {len(vector) for vector in vectors} == {1_536}


def test_errors_say_where_and_repeat_no_text():
    """A place helps to find the mistake; the text itself stays out of logs."""
    with pytest.raises(InvalidInputError, match=r"body is not JSON: .* at character 5"):
        parse_json(b'{"a":secret}')
    with pytest.raises(InvalidInputError, match=r"body is not JSON: .* at byte 100001") as caught:
        parse_json(b"[" + b"1," * 50_000 + b"secret]")
    assert "secret" not in str(caught.value)
