"""The paper's experiments on the demo world, small: what is planted is found, and what the corruption alone does is told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mllm_widgets as mw
from mllm_widgets import experiments
from mllm_widgets.datasets.vqa_constraints import VqaConstraints


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> VqaConstraints:
    folder = mw.datasets.write_demo_constraints(tmp_path_factory.mktemp("data") / "demo", 3)
    return mw.datasets.load_vqa_constraints(
        folder, known=folder / "known_1000.json", okvqa=folder, movies=folder / "filmographies.json"
    )


def test_each_data_set_is_averaged_by_itself(data, tmp_path: Path) -> None:
    found = experiments.averaged_traces("demo", data, tmp_path, window=1, progress=False)
    assert list(found) == ["okvqa", "known", "movies"]
    for name, averages in found.items():
        layer, effect = averages.peak("mlp", "last constraint")
        assert layer in (1, 2), name  # where it is planted
        assert effect > 0.9, name
        assert averages.counts["all"] == 3
        assert {row.split("/")[0] for row in averages.each.question.values} == {name}


def test_only_the_questions_given_count(data, tmp_path: Path) -> None:
    some = {"known": data.subset("known").first(2)}
    both: Any = ((experiments.averaged_traces, False), (experiments.picture_to_constraint, True))
    for run, picture in both:
        of = tmp_path / run.__name__
        alone = run("demo", some, of / "some", progress=False)["known"]
        run("demo", {"known": data.subset("known")}, of / "all", progress=False)
        again = run("demo", some, of / "all", progress=False)["known"]  # the folder has three
        assert again.n == 2
        assert again.caption == alone.caption
        if picture:
            assert (again.norms.values == alone.norms.values).all()
        else:
            assert again.counts["all"] == 2
            assert again.data.identical(alone.data)


def test_both_constraints_are_swapped(tmp_path: Path) -> None:
    questions = {"q": mw.datasets.demo_question("Eiffel Tower", "spanish")}  # which names a language
    found = experiments.multi_constraint_traces("demo", {"spoken": questions}, tmp_path, window=3, progress=False)
    averages = found["spoken"]
    assert averages.settings["corruption"]["positions"] == ["constraint", "text_constraints"]
    assert int(averages.data["count"].sel(role="text constraint").max()) == 1


def test_noise_is_repeated_to_the_bit(data, tmp_path: Path) -> None:
    some = {"known": data.subset("known")}
    found = [
        experiments.gaussian_traces(
            "demo", some, tmp_path / part, draws=2, correct=None, least_effect=0.0, progress=False
        )
        for part in ("one", "two")
    ]
    np.testing.assert_array_equal(found[0]["known"].each.values, found[1]["known"].each.values)
    assert found[0]["known"].settings["corruption"]["is"] == "EmbeddingNoise"


def test_the_same_facts_in_words(data, tmp_path: Path) -> None:
    found = experiments.text_only_traces(
        "demo", data, tmp_path, window=3, correct=None, least_effect=0.0, progress=False
    )
    assert list(found) == ["known-text", "movies-text"]
    assert all(averages.n == 3 for averages in found.values())


def test_the_picture_s_tokens_by_their_place(data, tmp_path: Path) -> None:
    some = data.subset("known")
    found = experiments.picture_to_constraint("demo", {"known": some}, tmp_path, progress=False)["known"]
    flows = [mw.attention_contributions(mw.load(), row.question(), target="constraint") for row in some.usable]
    expected = np.mean([flow.norms.sel(token=flow.visual).values for flow in flows], axis=0)
    np.testing.assert_allclose(found.norms.values, expected, rtol=1e-5)
    assert (found.low.values <= found.norms.values + 1e-9).all()
    assert (found.high.values >= found.norms.values - 1e-9).all()
    assert (found.n, found.left_out) == (3, 0)
    assert found.last_against_first.sizes == {"layer": 8}


def test_swap_and_noise_side_by_side(data, tmp_path: Path) -> None:
    table = experiments.token_identity("demo", {"known": data.subset("known")}, tmp_path, windows=(1,), progress=False)
    assert set(table.corruption) == {"swap", "noise"}
    assert set(table.control) == {"", "text-only"}
    swap = table[(table.corruption == "swap") & (table.control == "") & (table.module == "mlp")].iloc[0]
    assert swap.layer in (1, 2)
    assert swap.low <= swap.effect <= swap.high
