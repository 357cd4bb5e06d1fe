"""Test that errors name fields as the caller wrote them."""

from __future__ import annotations

import pytest

from super_advanced_agents.errors import DimensionMismatchError, FilterError, InvalidInputError
from super_advanced_agents.server.handlers.error_mapping import rename_error_fields


@pytest.mark.parametrize(
    ("body", "field", "renamed"),
    [
        ("memories", "items[3].text", "memories[3].text"),
        ("memories", "texts[3]", "memories[3].text"),
        ("memories", "metadatas[0]", "memories[0].extra"),
        ("memories", "uids[12]", "memories[12].uid"),
        ("memories", "expires_in_s[1]", "memories[1].expires_in_s"),
        ("turns", "turns[1].speaker", "turns[1].speaker"),
        ("turns", "items[1].extra", "turns[1].extra"),
        ("", "items[0].text", "text"),
        ("", "sources[0]", "source"),
        ("memories", "session", "session"),
    ],
)
def test_error_field_is_renamed_to_its_name_in_the_request_body(body, field, renamed):
    """The field and the message change; the hint stays."""
    with pytest.raises(InvalidInputError) as caught, rename_error_fields(body):
        raise InvalidInputError(f"{field} is wrong", field=field, hint="mend it")
    assert (caught.value.field, caught.value.message, caught.value.hint) == (renamed, f"{renamed} is wrong", "mend it")


def test_renaming_error_fields_keeps_the_class_of_the_error():
    """A subclass is raised as itself."""
    with pytest.raises(DimensionMismatchError) as caught, rename_error_fields("memories"):
        raise DimensionMismatchError("items[0] is wrong", field="items[0]")
    assert caught.value.field == "memories[0]"


def test_error_of_a_filter_keeps_the_key_that_it_names():
    """A key of the metadata may have the name of an argument."""
    with pytest.raises(FilterError) as caught, rename_error_fields("memories"):
        raise FilterError("changes is wrong", field="changes")
    assert caught.value.field == "changes"
