"""Feed damaged inputs to everything that reads files, and report what goes wrong.

``python tests/fuzz/fuzz_avq.py --inputs 10000 streams files`` makes inputs from seeds, so that each
can be made again (``--start SEED --inputs 1``). Every target runs in a process of its own, with a
limit on its memory; a process that dies is counted, and the next input goes on in a new one. What
counts as a fault: an exception that is not ours, a crash, more than 10 s, wrong pixels.
"""

import argparse
import json
import multiprocessing
import multiprocessing.sharedctypes
import resource
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from targets import TARGETS

from astro_vq.errors import AstroVQError

SECONDS = 10
MEMORY = 6 * 2**30  # of a process, with what torch maps
STUCK = 120  # seconds without an input that ended, compiling included
SHOWN = 20
WARMING = 20  # inputs that are neither timed nor counted


class Hang(BaseException):
    """An input took too long."""


def _ring(_signal: int, _frame: FrameType | None) -> None:
    raise Hang


def run_one(target: str, seed: int) -> str:
    """Return what became of an input: 'taken', 'refused', or a fault with its traceback."""
    import random

    try:
        TARGETS[target](random.Random(seed))
    except AstroVQError:
        return "refused"
    except Hang:
        return f"hang of more than {SECONDS} s\n{traceback.format_exc()}"
    except BaseException as err:  # a panic of compiled code is no Exception
        if isinstance(err, KeyboardInterrupt):
            raise
        return traceback.format_exc()
    return "taken"


def _work(target: str, seeds: range, shared: Any, queue: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _ring)
    warnings.simplefilter("ignore")
    for seed in range(-WARMING, 0):  # compiles what has to be, which no input is to be blamed for
        run_one(target, seed)
    for seed in seeds:
        shared.value = seed
        signal.alarm(SECONDS)
        outcome = run_one(target, seed)
        signal.alarm(0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        queue.put((seed, outcome, peak))


def fuzz(target: str, seeds: range) -> dict[str, Any]:
    """Run a target over seeds; return counts, faults and memory."""
    found: dict[str, Any] = {"target": target, "inputs": 0, "refused": 0, "taken": 0, "faults": []}
    found["mib_first"] = found["mib"] = 0
    context = multiprocessing.get_context("spawn")
    began, first = time.perf_counter(), seeds.start
    while first < seeds.stop:
        shared, queue = context.Value("q", first), context.SimpleQueue()
        left = range(first, seeds.stop)
        worker = context.Process(target=_work, args=(target, left, shared, queue))
        worker.start()
        quiet = time.monotonic()
        while worker.is_alive() or not queue.empty():
            if queue.empty():
                worker.join(0.05)
                if time.monotonic() - quiet > STUCK:  # in compiled code, where no signal gets
                    worker.kill()
                continue
            seed, outcome, peak = queue.get()
            quiet = time.monotonic()
            _count(found, seed, outcome)
            found["mib_first"] = found["mib_first"] or peak // 1024
            found["mib"] = max(found["mib"], peak // 1024)
            first = seed + 1
        if worker.exitcode:
            _count(found, shared.value, f"the process died: {worker.exitcode}")
            first = shared.value + 1
    found["seconds"] = round(time.perf_counter() - began, 1)
    return found


def _count(found: dict[str, Any], seed: int, outcome: str) -> None:
    found["inputs"] += 1
    if outcome in ("taken", "refused"):
        found[outcome] += 1
    else:
        found["faults"].append({"seed": seed, "what": outcome})


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", default=list(TARGETS), help="which (all)")
    parser.add_argument("--inputs", type=int, default=1000, help="of each target")
    parser.add_argument("--start", type=int, default=0, help="first seed")
    parser.add_argument("--json", type=Path, help="file to write figures to")
    options = parser.parse_args()
    results = []
    for target in options.targets:
        found = fuzz(target, range(options.start, options.start + options.inputs))
        results.append(found)
        line = {k: v for k, v in found.items() if k != "faults"}
        sys.stdout.write(f"{json.dumps(line)} faults: {len(found['faults'])}\n")
        kinds = {fault["what"].rstrip()[-300:]: fault for fault in reversed(found["faults"])}
        for fault in list(kinds.values())[:SHOWN]:  # one of each kind
            sys.stdout.write(f"  seed {fault['seed']}: {fault['what'][-1500:]}\n")
        sys.stdout.flush()
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    return int(any(found["faults"] for found in results))


if __name__ == "__main__":
    sys.exit(main())
