"""The two tiny scripts are one text with other constants; how long they may be says test_house.py."""
import re

import pytest

import write_tinymodels
from tiny import SCRIPTS, both


def test_the_large_script_is_written_from_the_small_one():
    small, large = (SCRIPTS[size].read_text(encoding="utf-8") for size in ("10kB", "250kB"))
    assert write_tinymodels.large(small) == large, "run python3 tests/write_tinymodels.py"


def test_a_constant_or_a_figure_that_the_small_script_lacks_is_named():
    small = SCRIPTS["10kB"].read_text(encoding="utf-8")
    for name in write_tinymodels.CONSTANTS:
        with pytest.raises(ValueError):
            write_tinymodels.large(small.replace(f"\n{name}: ", "\nOTHER: "))
    for figure in write_tinymodels.DOCSTRING:
        with pytest.raises(ValueError, match=re.escape(figure)):
            write_tinymodels.large(small.replace(figure, ""))


@both
def test_the_model_stands_early(size):
    lines = SCRIPTS[size].read_text(encoding="utf-8").splitlines()
    assert next(number for number, line in enumerate(lines, 1) if line.startswith("class TinyModel")) <= 400
