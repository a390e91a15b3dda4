"""How far a sweep is, as it is shown; and Ctrl-C, after which the model and the run are fine."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import mllm_widgets as mw
from mllm_widgets.sweeps import progress

from .test_interrupts import another_thread_gets_the_lock, interrupts_are_heard  # noqa: F401 - a fixture of every test
from .test_sweeps import alike, go


class Terminal:
    """A stream that is, or is not, a terminal."""

    def __init__(self, is_terminal: bool) -> None:
        self.text, self.is_terminal = "", is_terminal

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return self.is_terminal


@pytest.mark.parametrize("is_terminal", [True, False])
def test_what_is_shown(monkeypatch, is_terminal: bool) -> None:
    """All there is to do, with what was done before; what failed; the time left.  In a file of output a line each, and no control characters."""
    stream = Terminal(is_terminal)
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(progress, "LINES_EVERY", 0.0)
    with progress.Progress(12, 4) as bar:
        bar.unpause()
        for place in range(8):
            bar.one(failed=place in (2, 5))
    shown = [line for line in stream.text.replace("\r", "\n").split("\n") if line.strip()]
    assert "4 of 12 questions" in shown[0]
    assert "12 of 12 questions" in shown[-1]
    assert "00:00 left" in shown[-1]
    assert "2 failed" in shown[-1]
    assert ("\r" in stream.text) == is_terminal
    if not is_terminal:
        assert all(line.isprintable() for line in shown)


def test_nothing_is_shown_when_nothing_is_asked_for(capsys, tmp_path: Path) -> None:
    go("demo", mw.datasets.demo(1), tmp_path / "run")
    assert capsys.readouterr() == ("", "")


def test_a_sweep_shows_what_it_does(capsys, tmp_path: Path) -> None:
    questions = mw.datasets.demo(2)
    bad = mw.Question(questions[0].image, "Which city is it?", constraint="that castle")
    mw.sweep("demo", questions, out=tmp_path / "run")
    assert "2 of 2 questions" in capsys.readouterr().err
    mw.sweep("demo", [*questions, bad], out=tmp_path / "run")
    shown = capsys.readouterr().err
    assert "2 of 3 questions" in shown
    assert "1 failed" in shown
    mw.sweep("demo", questions, ["trace", "contributions"], out=tmp_path / "two")
    assert "4 of 4 measurements" in capsys.readouterr().err


@pytest.mark.parametrize("call", [10, 12, 14])
def test_ctrl_c_leaves_model_and_run_fine(tmp_path: Path, call: int) -> None:
    """In the middle of a pass of the model, as it comes to a cell of a notebook."""
    vlm, questions = mw.load(), mw.datasets.demo(3)
    whole = go(vlm, questions, tmp_path / "whole")
    before = [len(module._forward_hooks) for module in vlm.model.modules()]
    answer = mw.ask(vlm, questions[0]).probability
    calls = 0

    def interrupt(*_) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            signal.raise_signal(signal.SIGINT)

    with vlm.layers[2].mlp.register_forward_hook(interrupt), pytest.raises(KeyboardInterrupt):
        go(vlm, questions, tmp_path / "run")
    assert [len(module._forward_hooks) for module in vlm.model.modules()] == before
    assert mw.ask(vlm, questions[0]).probability == answer
    assert another_thread_gets_the_lock(vlm)
    kept = mw.load_run(tmp_path / "run")
    assert kept.status()["done"] >= 1
    assert kept.status()["left"] >= 1
    alike(go(vlm, questions, tmp_path / "run"), whole)
