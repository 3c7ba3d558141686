"""docs/kernels.md shows what the code prints, and C++ that stands in the sources."""

import doctest
import re
from pathlib import Path

import pytest

from shb.kernels import library
from shb.training import why_not

PAGE = Path(__file__).resolve().parents[3] / "docs" / "kernels.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.skipif(why_not() is not None, reason=f"nothing can be compiled here: {why_not()}")
def test_the_examples_print_what_is_shown():
    text = "\n".join(block for language, block in BLOCKS if language == "python")
    examples = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    assert len(examples.examples) > 20
    said = []
    doctest.DocTestRunner().run(examples, out=said.append)
    assert not said, "".join(said)


def test_the_native_code_stands_in_the_sources():
    sources = [path.read_text() for path in library.SOURCE.parent.iterdir()]
    shown = [block for language, block in BLOCKS if language == "cpp"]
    assert len(shown) == 3
    for block in shown:
        assert any(block in source for source in sources), block
