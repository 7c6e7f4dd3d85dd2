"""Kill a process while it saves checkpoints, many times; after each kill the last one must load whole.

python tools/bench/kills.py [--kills 200]
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from visiontasks.engine.checkpoint import RunFolder, load_state

SAVE_FOREVER = """
import sys, pathlib, torch
from visiontasks.engine.checkpoint import RunFolder, load_state, save_state
folder = RunFolder(pathlib.Path(sys.argv[1]))
n = int((load_state(folder) or {"n": 0})["n"])
print("ready", flush=True)
while True:
    n += 1
    save_state(folder, {"n": n, "weights": torch.full((2_000_000,), float(n))})
    print(n, flush=True)
"""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    options = parser.parse_args()
    rng, leftovers = random.Random(0), 0
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder(Path(name))
        folder.config.write_text("")
        for kill in range(options.kills):
            process = subprocess.Popen(
                [sys.executable, "-c", SAVE_FOREVER, name], stdout=subprocess.PIPE, text=True
            )
            process.stdout.readline()
            time.sleep(rng.uniform(0, 0.2))
            process.kill()
            saved = process.communicate()[0].split()
            leftovers += len(list((Path(name) / "state").glob(".*")))
            folder.open()
            state = load_state(folder)
            if saved and (state is None or state["n"] < int(saved[-1])):
                sys.exit(f"kill {kill}: save {saved[-1]} was reported and is lost")
            if state is not None and not bool((state["weights"] == state["n"]).all()):
                sys.exit(f"kill {kill}: the checkpoint is mixed")
    print(
        f"{options.kills} kills, {leftovers} of them in the middle of a file: every checkpoint loaded whole"
    )


if __name__ == "__main__":
    main()
