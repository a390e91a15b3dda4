"""Set-up for all tests: no network, few threads, no noise.

Set before torch or transformers is imported anywhere, so it stands at module level.
"""

from __future__ import annotations

import os
import warnings

import pytest

# One browser and one JupyterLab for the tests of the front end and those of its hosts.
pytest_plugins = ["browser_fixtures"]

# A test that would fetch a model must fail at once and say so, not wait for a network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# The models are tiny: more threads than two only add waiting, and results stay the same from machine to machine.
os.environ.setdefault("OMP_NUM_THREADS", "2")
# Waiting threads that spin starve a machine that has other work too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# anywidget's file watcher is for development and upsets pytest (anywidget issue 374).
os.environ.pop("ANYWIDGET_HMR", None)
# ipywidgets and jupyter_core ask for this; it is what they will do anyway.
os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")

# transformers says at import that it uses Pillow for images where torchvision is missing: what we want, and no news.
warnings.filterwarnings("ignore", message=".*torchvision.*")


# One question about the demo model, and its trace, for every test that only looks at them.  Loaded when first asked for: most tests ask for others.


@pytest.fixture(scope="session")
def vlm():
    import mllm_widgets as mw

    return mw.load()


@pytest.fixture(scope="session")
def question():
    import mllm_widgets as mw

    return mw.datasets.demo_question("Eiffel Tower", "city")


@pytest.fixture(scope="session")
def setup(vlm, question):
    import mllm_widgets as mw

    return mw.tracing.prepare_trace(vlm, question, corruption="Taj Mahal")


@pytest.fixture(scope="session")
def trace(setup):
    import mllm_widgets as mw

    return mw.tracing.run_trace(setup)
