"""The experiments' notebooks: small ones run here from top to bottom and find what is planted; the full ones are kept as they were run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.notebook_runs import assert_quiet, code_cells, executed, new_kernel
from tests.test_notebooks import EXPERIMENTS
from tools.execute_notebooks import digest

SIZE_LIMIT = 500_000  # bytes
PARAMETERS = "parameters"  # the tag by which papermill finds them, too

# parameters of the small run, and what must hold at its end
SMALL = {
    "figure_03_where_answers_are_stored": (
        {"per_set": 3, "window": 1},
        """
        peak = table.set_index(["data", "module", "role"])
        for name in found:
            assert peak.loc[(name, "mlp", "last constraint"), "layer"] in (1, 2)
            assert peak.loc[(name, "mlp", "last constraint"), "restored"] > 0.9
            assert peak.loc[(name, "mlp", "first constraint"), "restored"] < 0.1
        """,
    ),
    "figure_04_two_constraints": (
        {"per_set": 3},
        """
        peak = table.set_index(["data", "module", "role"])["effect"]
        assert peak["the visual one alone, window 1", "mlp", "last constraint"] > 0.9
        assert peak["both, window 6", "self_attn", "last"] > 0.9 > peak["both, window 6", "self_attn", "last constraint"]
        """,
    ),
    "figure_05_picture_to_constraint": (
        {"per_set": 3},
        """
        assert all(one.n == 3 for one in found.values())
        assert (first.query("picture == 'own'")["late"] < 2).all()
        """,
    ),
    "figure_06_editing": (
        {"per_set": 8, "most": 1},
        """
        mean = found["B"].data.set_index(["method", "measure"])["value"]
        assert mean["MultEdit", "efficacy"] > 0.9 > 0.1 > mean["unedited", "efficacy"]
        """,
    ),
    "figure_07_gaussian_noise": (
        {"per_set": 2, "draws": 2},
        """
        rows = table.query("module == 'mlp'").set_index("data")
        assert rows.loc["known, swap", "share of it"] > 0.9
        assert 0 < rows.loc["known, noise", "total effect"] < rows.loc["known, swap", "total effect"]
        """,
    ),
    "figure_14_edited_layer": (
        {"per_set": 4, "most": 1},
        """
        assert table.loc[2, "efficacy"] > 0.9 > 0.1 > table.loc[7, "efficacy"]
        assert table["effect of restoring"].idxmax() in (1, 2)
        """,
    ),
    "figure_15_failure_prediction": (
        {"per_set": 16},
        """
        assert found.score.right + found.score.wrong == 16
        assert found.by_layer.set_index("layer")["right"].idxmax() in (4, 5)
        """,
    ),
    "llm_against_mllm": (
        {"per_set": 4, "windows": (1,)},
        """
        effect = found.data.query("module == 'mlp'").set_index(["data", "asked"])["effect"]
        assert effect["known", "picture"] > 0.9 > 0.1 > effect["known", "words"]
        """,
    ),
    "open_questions": (
        {"per_set": 3, "windows": (1,)},
        """
        peak = identity.set_index(["data", "module"])["effect"]
        assert peak["swap, all restored", "mlp"] > 0.9
        assert peak["noise, all restored", "self_attn"] > 0.3 > peak["swap, all restored", "self_attn"]
        texts = corruptions.query("control == 'text-only' and corruption == 'swap'")
        assert (texts["effect"].abs() < 0.1).all()
        """,
    ),
}

pytestmark = pytest.mark.notebook


def test_every_experiment_is_run() -> None:
    assert sorted(SMALL) == [path.stem for path in EXPERIMENTS]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """One for all, since loading what a model needs takes longer than a small experiment; each begins with no names."""
    return new_kernel(), tmp_path_factory.mktemp("kernel")


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_a_small_version_runs_and_finds_what_is_planted(path: Path, kernel) -> None:
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    (place,) = [number for number, cell in enumerate(notebook.cells) if PARAMETERS in cell.metadata.get("tags", ())]
    given, holds = SMALL[path.stem]
    assigned = set(re.findall(r"^(\w+) = ", notebook.cells[place].source, flags=re.MULTILINE))
    assert {"model", "folder", "per_set", "out", "progress", *given} <= assigned  # else nothing would be replaced
    injected = nbformat.v4.new_code_cell("\n".join(f"{name} = {value!r}" for name, value in given.items()))
    check = nbformat.v4.new_code_cell("if True:\n" + holds)
    empty = nbformat.v4.new_code_cell("%reset -f")
    notebook.cells = [empty, *notebook.cells[: place + 1], injected, *notebook.cells[place + 1 :], check]
    manager, folder = kernel
    assert_quiet(executed(notebook, folder, manager))
    assert not list(folder.iterdir())  # nothing is left where the notebook is


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_the_full_version_is_kept_as_it_was_run(path: Path) -> None:
    """In order, without errors, with its pictures, and of this code with these parameters."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert notebook.metadata["executed"]["code"] == digest(notebook), "the code has changed since it was run"
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert pictures
    for picture in pictures:  # figures live without a kernel, have words, and say how many and how sure
        assert picture.metadata["image/png"]["alt"]
        assert re.search(r"n = \d+.*Intervals: 95%", picture.data["text/plain"])
    assert path.stat().st_size < SIZE_LIMIT
    assert "model = " in cells[0].source
    assert PARAMETERS in cells[0].metadata["tags"]
