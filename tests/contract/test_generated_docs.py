"""Documents that are derived from the code say what the code says."""

from pathlib import Path

import pytest

from tools.collect_endpoints import collect_endpoints
from tools.generate_docs import documents
from tools.spec_status import load_status

DOCUMENTS = documents(load_status(collect_endpoints()))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_is_fresh(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == DOCUMENTS[path], "run: python -m tools.generate_docs"
