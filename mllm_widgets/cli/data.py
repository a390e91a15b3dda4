"""`mllm-widgets data`: what VQA-Constraints needs, what of it is there, and whether its files are those they were."""

from __future__ import annotations

from pathlib import Path

from mllm_widgets.errors import DatasetError


def describe_data(folder: Path | None, *, write_sums: bool = False, verify: bool = False) -> tuple[str, bool]:
    """What is to be said, and whether all is well.

    Raises
    ------
    DatasetError: for a folder that is not there, or one that is needed and not given.
    """
    from mllm_widgets import datasets

    if folder is None:
        if write_sums or verify:
            raise DatasetError(
                "--write-sums and --verify need the folder of the data: mllm-widgets data FOLDER --verify."
            )
        return datasets.data_instructions(), True
    if write_sums:
        path = datasets.write_checksums(folder)
        return f"{path}: {len(path.read_bytes().splitlines()):,} files listed.", True
    if verify:
        checked = datasets.verify_checksums(folder)
        return str(checked), checked.ok
    said = datasets.data_instructions(folder)
    if not any((folder / name).is_file() for name in ("okvqa.csv", "multimodal_known.csv", "multimodal_movies.csv")):
        return said, False
    data = datasets.load_vqa_constraints(folder)
    return f"{said}\n\nWhat is usable (without answers):\n\n{data}", len(data.usable) > 0
