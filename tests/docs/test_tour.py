"""The notebook tour runs from its first cell to its last, and is kept without outputs."""

import nbformat
import pytest
from nbclient import NotebookClient


@pytest.fixture(scope="module")
def tour(root):
    return nbformat.read(root / "notebooks" / "tour.ipynb", as_version=4)


def test_it_is_kept_without_outputs(tour):
    assert all(not cell.get("outputs") for cell in tour.cells)


def test_it_runs(tour, tmp_path):
    done = NotebookClient(tour, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    text = "".join(o.get("text", "") for o in outputs)
    assert len(pictures) >= 4
    assert "inside the 90 % interval" in text
    assert "known to the model" in text
