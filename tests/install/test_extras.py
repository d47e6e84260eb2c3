"""Extras are named as people write lists."""

import pytest
from extras import extra_names


@pytest.mark.parametrize("text", ["serve,client", "serve, client", " serve client,", "serve ,\tclient"])
def test_extras_are_separated_by_commas_spaces_or_both(text: str) -> None:
    assert extra_names(text) == ("serve", "client")


def test_no_name_is_no_extra() -> None:
    assert extra_names("") == ()
