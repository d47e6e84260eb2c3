"""What `--json` prints can be read by everything that reads JSON."""

import json
import math

import pytest

from llstore.cli.output import print_json


def test_a_number_that_json_has_no_word_for_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": math.nan, "b": [math.inf, 1.5, {"c": (-math.inf, "é", True, None, 2)}]})

    def refuse(word: str) -> None:
        raise AssertionError(word)

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert found == {"a": None, "b": [None, 1.5, {"c": [None, "é", True, None, 2]}]}
