"""How far maps in half precision lie from float32, for a tiny random model of every family:  python benchmarks/precision.py

Each number is a difference of P_restored, largest / median over every cell that can have an effect (three sub-blocks, window 1).  The float32
reference has the same rounded weights.  "Batching" is the spread of plain hooks alone over forward passes of 1, 3 and 16 rows: rounding that
has nothing to do with this engine.  The last two columns are not of P but of log-probabilities, as the engine compares them before it traces.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.families.rounding import rounding
from tests.families.tiny import TINY, tiny

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="families whose name contains this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(
        "| family, decoder | dtype | ours - plain | ours - float32 | plain - float32 | batching | continued | packed |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for family, decoder in TINY:
        if options.only.lower() not in family.lower():
            continue
        for name, dtype in DTYPES.items():
            measured = rounding(*tiny(family, decoder), dtype)
            maps = (measured.to_plain, measured.to_exact, measured.plain_to_exact, measured.spread)
            shown = " | ".join(f"{map_.max():.4f} / {np.median(map_):.4f}" for map_ in maps)
            packed = "rows" if measured.packed is None else f"{measured.packed:.4f}"
            print(f"| {family}, {decoder} | {name} | {shown} | {measured.continued:.4f} | {packed} |", flush=True)


if __name__ == "__main__":
    main()
