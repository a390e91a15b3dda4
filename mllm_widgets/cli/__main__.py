"""`python -m mllm_widgets.cli` is `mllm-widgets`, where the latter is not on the path."""

from __future__ import annotations

import sys

from .main import main

sys.exit(main())
