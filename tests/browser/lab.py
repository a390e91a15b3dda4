"""A real JupyterLab in a real Chromium, for tests that use a notebook as a person does.

`JupyterServer` starts `jupyter lab` on a free port with settings of its own, `Lab` drives one browser page of it.  Pointer and
keyboard go through the browser; the page's own JupyterLab object is used only for what is not under test (opening, running
all cells, themes) and for asking the kernel questions without leaving a cell behind.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page

START_TIMEOUT = 90  # seconds; a first start compiles nothing but imports much
KERNEL_TIMEOUT = 120  # seconds for a kernel to start and cells to run


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def write_notebook(path: Path, *cells: str) -> Path:
    """Store a notebook with the given code cells."""
    import nbformat.v4 as v4

    notebook = v4.new_notebook(
        cells=[v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    path.write_text(json.dumps(notebook))
    return path


class JupyterServer:
    """`jupyter lab` on a free port of the loopback interface, serving `folder`; settings, workspaces and runtime in a folder of its own."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / "jupyter.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        settings = self.home / "settings"
        quiet = settings / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
        quiet.parent.mkdir(parents=True)
        # Without this, a question about news covers the notebook.
        quiet.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
        environment = os.environ | {
            "JUPYTER_CONFIG_DIR": str(self.home / "config"),
            "JUPYTER_DATA_DIR": str(self.home / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.home / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(settings),
            "JUPYTERLAB_WORKSPACES_DIR": str(self.home / "workspaces"),
            "IPYTHONDIR": str(self.home / "ipython"),
        }
        command = [
            sys.executable, "-m", "jupyter", "lab", "--no-browser", "--expose-app-in-browser",
            "--ip=127.0.0.1", f"--port={self.port}", "--ServerApp.port_retries=0",
            "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={self.folder}",
            "--JupyterNotebookApp.expose_app_in_browser=True",  # the same server serves Notebook 7, where that is installed
            "--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ]  # fmt: skip
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--allow-root")
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        self._wait()

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"jupyter lab ended with {self._process.returncode}:\n{self.log.read_text()}")
            try:
                with urllib.request.urlopen(f"{self.url}/api/status", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise RuntimeError(f"jupyter lab did not answer in {START_TIMEOUT} s:\n{self.log.read_text()}")

    def stop(self) -> None:
        """Ask the server to end, which ends its kernels too."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class Lab:
    """One browser page with JupyterLab in it."""

    def __init__(self, page: Page, server: JupyterServer, screenshots: Path) -> None:
        self.page = page
        self.server = server
        self.screenshots = screenshots

    def open_notebook(self, notebook: Path, name: str | None = None) -> None:
        """Copy `notebook` into the served folder, open it alone in a fresh workspace, and wait for its kernel."""
        name = name or notebook.name
        target = self.server.folder / name
        if notebook.resolve() != target.resolve():
            shutil.copyfile(notebook, target)
        self.page.goto(self.address(name), wait_until="domcontentloaded")
        self.page.wait_for_function("() => window.jupyterapp !== undefined", timeout=60_000)
        self.page.wait_for_function(
            "(name) => window.jupyterapp.shell.currentWidget?.context?.path === name",
            arg=name,
            timeout=60_000,
        )
        self.make_room()
        self.wait_for_kernel()

    def address(self, name: str) -> str:
        """Where a notebook is opened alone: a workspace that no other page uses."""
        return f"{self.server.url}/lab/workspaces/w{time.monotonic_ns()}/tree/{name}"

    def make_room(self) -> None:
        """The file browser takes the room that the picture needs."""
        self.page.evaluate(
            "() => { if (!window.jupyterapp.shell.leftCollapsed)"
            " return window.jupyterapp.commands.execute('application:toggle-left-area'); }"
        )

    def wait_for_kernel(self, timeout: float = KERNEL_TIMEOUT) -> None:
        """Wait until the notebook's kernel is idle."""
        self.page.wait_for_function(
            "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
            timeout=timeout * 1000,
        )

    def run_all_cells(self, timeout: float = KERNEL_TIMEOUT, wait: bool = True) -> None:
        """Run every cell; with `wait`, until the last has ended."""
        if not wait:
            self.page.evaluate("() => { void window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
            return
        self.page.set_default_timeout(timeout * 1000)
        self.page.evaluate("async () => { await window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
        self.wait_for_kernel(timeout)

    def outputs(self, cell: int) -> list[dict[str, Any]]:
        """The outputs of the given cell, in nbformat's form."""
        return self.page.evaluate(
            "(i) => window.jupyterapp.shell.currentWidget.content.widgets[i].model.outputs.toJSON()", cell
        )

    def problems(self) -> list[dict[str, Any]]:
        """What any cell raised or wrote to stderr, in nbformat's form."""
        count = self.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length")
        outputs = self.page.evaluate(
            "(n) => [...Array(n).keys()].flatMap("
            "(i) => window.jupyterapp.shell.currentWidget.content.widgets[i].model.outputs?.toJSON() ?? [])",
            count,
        )
        return [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]

    def output(self, cell: int) -> Locator:
        """Where the given cell's outputs are drawn."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(cell).locator(".jp-OutputArea-output")

    def ask_kernel(self, code: str) -> str:
        """Run `code` in the notebook's kernel, without a cell, and return what it printed; an exception is raised here too."""
        reply = self.page.evaluate(
            """async (code) => {
              const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
              const future = kernel.requestExecute({code, store_history: false});
              let text = "";
              future.onIOPub = (m) => {
                if (m.header.msg_type === "stream" && m.content.name === "stdout") text += m.content.text;
              };
              const done = await future.done;
              return {text, status: done.content.status, error: (done.content.traceback || []).join("\\n")};
            }""",
            code,
        )
        if reply["status"] != "ok":
            raise RuntimeError(f"in the kernel:\n{reply['error']}")
        return reply["text"]

    def set_theme(self, dark: bool) -> None:
        theme = "JupyterLab Dark" if dark else "JupyterLab Light"
        self.page.evaluate("(t) => window.jupyterapp.commands.execute('apputils:change-theme', {theme: t})", theme)
        self.page.wait_for_function(
            "(light) => document.body.dataset.jpThemeLight === light",
            arg="false" if dark else "true",
            timeout=30_000,
        )

    def screenshot(self, name: str, of: Locator | None = None) -> Path:
        """Store a PNG of the page, or of one element of it, in the screenshot folder."""
        path = self.screenshots / f"{name}.png"
        (of if of is not None else self.page).screenshot(path=path)
        return path


class Notebook7(Lab):
    """One browser page with Jupyter Notebook 7 in it: built of JupyterLab's parts, so that all of `Lab` works in it."""

    def address(self, name: str) -> str:
        return f"{self.server.url}/notebooks/{name}"

    def make_room(self) -> None:
        """Nothing stands beside the notebook."""


@contextmanager
def open_lab(browser: Browser, server: JupyterServer, screenshots: Path, app: type[Lab] = Lab) -> Iterator[Lab]:
    """A new browser page for JupyterLab, or another `app` of its server; an uncaught error of ours in the page fails the test that has it."""
    context = browser.new_context(viewport={"width": 1100, "height": 900}, device_scale_factor=1)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(f"{error.message}\n{error.stack}"))
    yield app(page, server, screenshots)
    context.close()
    ours = [error for error in errors if "mllm" in error or "blob:" in error]
    assert not ours, "uncaught errors in the page:\n" + "\n".join(ours)
