"""What the command costs before it does anything: `--help` and `import visiontasks`, medians of 15.

python tools/bench/startup.py
"""

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import visiontasks": ["-c", "import visiontasks"],
    "visiontasks --help": ["-m", "visiontasks", "--help"],
    "visiontasks train --help": ["-m", "visiontasks", "train", "--help"],
}


def main():
    times = {name: [] for name in COMMANDS}
    for _ in range(16):
        for name, arguments in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - began)
    for name, values in times.items():
        print(f"{name:<26} {1000 * statistics.median(values[1:]):6.0f} ms")


if __name__ == "__main__":
    main()
