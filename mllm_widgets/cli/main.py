"""The arguments of `mllm-widgets`, and what it says."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mllm_widgets import __version__
from mllm_widgets.errors import MllmWidgetsError, NotebookError
from mllm_widgets.render.page import THEMES

from .data import describe_data
from .sweep import EXAMPLE, sweep_file

DONE, UNSEEN, FAILED, STOPPED = 0, 1, 2, 130

ABOUT = """\
Notebooks with live widgets, for readers who have no kernel; and long runs without a notebook.

  mllm-widgets export lesson.ipynb -o lesson.html    one page: interactive, offline, for anybody with a browser
  mllm-widgets export --strip-state lesson.ipynb -o for-github.ipynb    the notebook with pictures only
  mllm-widgets check lesson.ipynb                    what a reader will see in JupyterLab, on GitHub, in VS Code ...
  mllm-widgets sweep run.toml                        traces of many questions, kept as they come
  mllm-widgets data FOLDER                           what VQA-Constraints needs, and what of it is there

A widget lives in a page, or in a notebook opened again, if its state was saved. JupyterLab saves it with
Settings > Save Widget State Automatically, and so does running the notebook here with --execute.
"""
EXPORT = """\
Writes a notebook as one HTML file with everything in it: text, formulas, outputs, and its widgets, whose controls work
without a kernel as far as their data go. The page asks the network for nothing; send it by mail, or put it anywhere.

With --strip-state it writes the notebook itself without the saved state of its widgets, which GitHub would make blank
spots of. Their pictures stay.
"""
CHECK = """\
Says for every widget in a notebook whether it has a picture and a saved state, how large both are, and what a reader
sees of it on each host. GitHub, VS Code and MyST are judged by their rules, the others were tried.
"""
SWEEP = """\
Runs the sweep that a TOML file describes, with a bar that says how long it will take. Stop it at any moment: the same command
goes on where it was. Such a file:

"""
DATA = """\
Says what is needed for VQA-Constraints, from where, how large it is and where to put it; with a folder, what of it is there and how many of its questions are usable.
"""
CODES = """\
exit status: 0 done; 1 a widget would be blank, or a line of text, for some readers, a question failed, or data are missing or changed; 2 it could not be done, and why;
130 stopped with Ctrl-C
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.command is None:
        parser.print_help()
        return DONE
    try:
        return given.run(given)
    except MllmWidgetsError as error:
        print(f"mllm-widgets: {error}", file=sys.stderr)  # noqa: T201
    return FAILED


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("mllm-widgets", description=ABOUT, epilog=CODES, formatter_class=layout)
    parser.add_argument("--version", action="version", version=f"mllm_widgets {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="export | check | sweep | data")
    export = commands.add_parser("export", description=EXPORT, epilog=CODES, formatter_class=layout)
    export.add_argument("notebook", type=Path, help="the .ipynb file")
    export.add_argument("-o", "--output", type=Path, help="the file to write (default: notebook.html beside it)")
    export.add_argument(
        "--execute", action="store_true", help="run all cells first, in the notebook's kernel; the file stays as it is"
    )
    export.add_argument("--theme", choices=THEMES, default="light", help="of the page (default: light)")
    export.add_argument("--title", help="of the page (default: the notebook's first heading)")
    export.add_argument(
        "--strip-state", action="store_true", help="write a notebook without the state of its widgets instead"
    )
    export.add_argument("--in-place", action="store_true", help="with --strip-state: change the notebook itself")
    export.set_defaults(run=_export)
    check = commands.add_parser("check", description=CHECK, epilog=CODES, formatter_class=layout)
    check.add_argument("notebook", type=Path, help="the .ipynb file")
    check.set_defaults(run=_check)
    swept = commands.add_parser("sweep", description=SWEEP + EXAMPLE, epilog=CODES, formatter_class=layout)
    swept.add_argument("config", type=Path, help="the .toml file; paths in it are told from where it lies")
    swept.add_argument("--quiet", action="store_true", help="no bar")
    swept.set_defaults(run=_sweep)
    data = commands.add_parser("data", description=DATA, epilog=CODES, formatter_class=layout)
    data.add_argument("folder", type=Path, nargs="?", help="where the data are, or will be")
    data.add_argument("--write-sums", action="store_true", help="list the SHA-256 of every file in FOLDER/SHA256SUMS")
    data.add_argument("--verify", action="store_true", help="compare the files with that list")
    data.set_defaults(run=_data)
    return parser


def _export(given: argparse.Namespace) -> int:
    from .export import export, strip_state

    if given.strip_state:
        if given.execute:
            raise NotebookError("--strip-state takes away what --execute makes; expected one of the two.")
        if bool(given.output) == given.in_place:
            raise NotebookError(
                "--strip-state writes a notebook: say where with -o FILE, or --in-place to change it itself."
            )
        to = given.notebook if given.in_place else given.output
        saved = strip_state(given.notebook, to)
        _say(f"{to}: {saved / 1000:.0f} kB of widget state left out; pictures stay.")
        return DONE
    to = given.output or given.notebook.with_suffix(".html")
    if to.suffix == ".ipynb" or given.in_place:
        raise NotebookError(
            f"the page would be written to {str(to)!r}; expected a name that ends in .html, or --strip-state."
        )
    done = export(given.notebook, to, execute=given.execute, theme=given.theme, title=given.title)
    parts = [f"{done.live} live"] if done.live else []
    parts += [f"{done.pictures} as pictures"] if done.pictures else []
    _say(f"{to}: {to.stat().st_size / 1000:.0f} kB, widgets: {', '.join(parts) or 'none'}.")
    for note in done.notes:
        print(f"mllm-widgets: {note}", file=sys.stderr)  # noqa: T201
    return UNSEEN if done.unseen else DONE


def _sweep(given: argparse.Namespace) -> int:
    try:
        run = sweep_file(given.config, progress=not given.quiet)
    except KeyboardInterrupt:
        print("mllm-widgets: stopped; the same command goes on where it was.", file=sys.stderr)  # noqa: T201
        return STOPPED
    counts = run.status()
    _say(f"{run.folder}: {counts['done']} done, {counts['failed']} failed, {counts['left']} left.")
    return UNSEEN if counts["failed"] else DONE


def _data(given: argparse.Namespace) -> int:
    said, good = describe_data(given.folder, write_sums=given.write_sums, verify=given.verify)
    _say(said)
    return DONE if good else UNSEEN


def _check(given: argparse.Namespace) -> int:
    from .check import check

    report, good = check(given.notebook)
    _say(report)
    return DONE if good else UNSEEN


def _say(text: str) -> None:
    print(text)  # noqa: T201
