"""Set-up for all tests: no network, few threads, no noise.

Set before torch or transformers is imported anywhere, so it stands at module level.
"""

from __future__ import annotations

import os
import warnings

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
