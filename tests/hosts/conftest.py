"""The notebook that every host is given, run once for all; and what stands in this folder is marked `host`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import story


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.host)


@pytest.fixture(scope="session")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return story.run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def stored(executed: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """The stored notebook: [True] with the state of its widgets, [False] without."""
    folder = tmp_path_factory.mktemp("stored")
    return {
        True: story.store(executed, folder / "with_state.ipynb"),
        False: story.store(story.without_state(executed), folder / "without_state.ipynb"),
    }


@pytest.fixture(scope="session")
def pictures(screenshots: Path) -> Path:
    """Where the pictures for the README's table go: a folder of the screenshots'."""
    return screenshots / "hosts"


@pytest.fixture(scope="session")
def beside() -> Path:
    """What `tools/hosts.sh` fetched; without it the tests are skipped, or fail where they must run (`make test`)."""
    folder = Path(os.environ.get("MW_HOSTS") or Path(sys.prefix) / "hosts")
    if folder.is_dir():
        return folder
    message = f"there is no {str(folder)!r}: `tools/hosts.sh` makes it, MW_HOSTS names it"
    if os.environ.get("MW_REQUIRE_BROWSER"):
        pytest.fail(message)
    pytest.skip(message)
