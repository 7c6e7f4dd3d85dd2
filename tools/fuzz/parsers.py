"""Fuzz every parser, each for some time: nothing but our own errors may come out, in bounded time and memory.

python tools/fuzz/parsers.py [--seconds 60] [--only voc] [--out runs/fuzz]

With atheris (pip install atheris; Linux and macOS) inputs are bred by the lines of code that they reach, and
are kept in OUT for the next time; without it they are damaged at random. Prints the inputs tried a target; an
input that is a fault is written to OUT, its traceback shown, and the exit status is 1.
"""

import argparse
import hashlib
import itertools
import logging
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # the targets are those of the tests
MAX_BYTES = 1 << 16  # of an input
TIMEOUT = 20  # seconds after which an input counts as a hang


def fuzz_guided(name, seconds, out):
    import atheris

    with tempfile.TemporaryDirectory() as folder:
        with atheris.instrument_imports(include=["visiontasks"]):
            from tests.fuzz.targets import TARGETS, Trial, capped_memory

            trial = Trial(TARGETS[name], Path(folder))
            trial.read(trial.sound)  # whatever is imported late is imported now
        from tests.fuzz.mutations import damage

        def mutate(data, max_size, seed):
            rng = random.Random(seed)
            if rng.random() < 0.5:
                return atheris.Mutate(data, max_size)
            return damage(data, trial.target.suffix, rng)[:max_size]

        corpus = out / "corpus"
        corpus.mkdir(exist_ok=True)
        (corpus / "sound").write_bytes(trial.sound)
        limits = [
            f"-max_total_time={seconds}",
            f"-timeout={TIMEOUT}",
            f"-max_len={MAX_BYTES}",
            "-rss_limit_mb=4096",
        ]
        places = [f"-artifact_prefix={out}/", "-print_final_stats=1", "-verbosity=0", str(corpus)]
        atheris.Setup([sys.argv[0], *limits, *places], trial.read, custom_mutator=mutate)
        with capped_memory():
            atheris.Fuzz()


def fuzz_at_random(name, seconds, out):
    from tests.fuzz.mutations import damage
    from tests.fuzz.targets import TARGETS, Trial, capped_memory

    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(TARGETS[name], Path(folder))
        trial.read(trial.sound)
        end, seed = time.monotonic() + seconds, random.SystemRandom().getrandbits(64)
        with capped_memory():
            for number in itertools.count(1):
                content = damage(trial.sound, trial.target.suffix, random.Random(f"{seed} {number}"))
                try:
                    trial.read(content)
                except BaseException:
                    (out / f"crash-{hashlib.sha256(content).hexdigest()[:16]}").write_bytes(content)
                    traceback.print_exc()
                    print(f"stat::number_of_executed_units: {number}", file=sys.stderr)
                    sys.exit(1)
                if time.monotonic() > end:
                    break
        print(f"stat::number_of_executed_units: {number}", file=sys.stderr)


def main():
    logging.disable()  # warnings about damaged data are no news
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--only", default="", help="targets with this in their names")
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"), help="where inputs are kept")
    parser.add_argument("--target", help=argparse.SUPPRESS)  # the one that this process is to fuzz
    options = parser.parse_args()
    is_guided = find_spec("atheris") is not None
    if options.target:
        (fuzz_guided if is_guided else fuzz_at_random)(options.target, options.seconds, options.out)
        return
    from tests.fuzz.targets import TARGETS

    print("guided by atheris" if is_guided else "atheris is not installed (pip install atheris): at random")
    faults = total = 0
    for name in TARGETS:
        if options.only not in name:
            continue
        out = options.out.absolute() / re.sub(r"[^\w.]+", "-", name)
        out.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            __file__,
            "--target",
            name,
            "--seconds",
            f"{options.seconds}",
            "--out",
            str(out),
        ]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        count = re.search(r"number_of_executed_units: (\d+)", done.stderr)
        tried = int(count[1]) if count else 0
        total += tried
        print(f"{tried:10,}  {name}", flush=True)
        if done.returncode:
            faults += 1
            print(f"FAULT ({out})\n{(done.stdout + done.stderr)[-3000:]}", flush=True)
    print(f"{total:10,}  inputs, {faults} targets with a fault")
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
