"""The two tiny scripts are one text with other constants, and short enough to be read."""
import pytest

import write_tinymodels
from tiny import SCRIPTS


def test_the_large_script_is_written_from_the_small_one():
    small, large = (SCRIPTS[size].read_text(encoding="utf-8") for size in ("10kB", "250kB"))
    assert write_tinymodels.large(small) == large, "run python3 tests/write_tinymodels.py"


def test_a_constant_or_a_figure_that_the_small_script_lacks_is_named():
    small = SCRIPTS["10kB"].read_text(encoding="utf-8")
    with pytest.raises(ValueError):
        write_tinymodels.large(small.replace("SMOOTHING: ", "SMOOTH: "))
    with pytest.raises(ValueError, match="Size: 9976"):
        write_tinymodels.large(small.replace("Size: 9976", "Size: 9977"))
