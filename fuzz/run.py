"""Fuzz one parser: `python fuzz/run.py TARGET --runs 1000000`.

By atheris (coverage-guided, libFuzzer) where it is installed, else by seeded mutation.
Ends with 1 and the input's file at the first one that breaks something. Prints one line
of figures: inputs, seconds of processor time, growth of the resident memory.
"""

import argparse
import functools
import gc
import importlib.util
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fuzz_targets import Target

__all__ = ["main"]

# Longer for one input is a hang: the slowest ones take some milliseconds.
_PATIENCE = 10
_MEMORY_MIB = 2048


def _resident_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", help="one of fuzz/fuzz_targets")
    parser.add_argument(
        "--runs", type=int, default=100_000, help="inputs (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the mutations")
    parser.add_argument("--corpus", type=Path, help="folder to keep inputs in")
    parser.add_argument("--input", type=Path, help="play this one file and no other")
    parser.add_argument("--mutate", action="store_true", help="without atheris")
    return parser


def main() -> int:
    """Run as told on the command line; return the exit code."""
    options = _parser().parse_args()
    guided = not options.mutate and importlib.util.find_spec("atheris") is not None
    if guided and options.input is None:
        import atheris

        with atheris.instrument_imports(include=["netcore"]):
            from fuzz_targets import TARGETS
    else:
        from fuzz_targets import TARGETS
    target = TARGETS.get(options.target)
    if target is None:
        print(f"no target {options.target!r}; there are {', '.join(TARGETS)}")
        return 2
    if options.input is not None:
        target.run(options.input.read_bytes())
        return 0
    if guided:
        return _guided(target, options)
    return _mutating(target, options)


def _mutating(target: "Target", options: argparse.Namespace) -> int:
    from mutation import mutants

    signal.signal(signal.SIGALRM, _hangs)
    before, since = 0.0, time.process_time()
    inputs = mutants(target.seeds(), target.words, options.runs, seed=options.seed)
    for count, data in enumerate(inputs, 1):
        signal.alarm(_PATIENCE)
        try:
            target.run(data)
        except Exception:
            path = Path(f"crash-{options.target}-{options.seed}-{count}")
            path.write_bytes(data)
            print(f"{options.target}: input {count} breaks it, kept as {path}")
            raise
        if count == min(1000, options.runs):
            # Caches and tables are full by now; what is added later is a leak.
            gc.collect()
            before = _resident_mib()
    signal.alarm(0)
    _say(options, time.process_time() - since, _resident_mib() - before, "mutation")
    return 0


def _hangs(number: int, frame: object) -> None:
    raise TimeoutError(f"one input takes more than {_PATIENCE} s")


def _say(
    options: argparse.Namespace, seconds: float, growth: float, method: str
) -> None:
    print(
        f"{options.target}: {options.runs} inputs by {method}, seed {options.seed}, "
        f"{seconds:.0f} s, memory +{growth:.0f} MiB",
        flush=True,
    )


def _guided(target: "Target", options: argparse.Namespace) -> int:
    import atheris

    corpus = options.corpus or Path(tempfile.mkdtemp(prefix=f"fuzz-{options.target}-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds()):
        (corpus / f"seed-{number:03}").write_bytes(data)
    words = corpus.with_name(f"{corpus.name}.dict")
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    watched = _Watched(target.run, functools.partial(_say, options), options.runs)
    arguments = [
        sys.argv[0],
        f"-runs={options.runs}",
        f"-seed={options.seed}",
        f"-timeout={_PATIENCE}",
        f"-rss_limit_mb={_MEMORY_MIB}",
        f"-dict={words}",
        "-max_len=16384",
        "-print_final_stats=1",
        str(corpus),
    ]
    atheris.Setup(arguments, watched)
    atheris.Fuzz()
    return 0


class _Watched:
    """A target that says its figures at the end: libFuzzer leaves by `_exit`."""

    def __init__(
        self,
        run: Callable[[bytes], None],
        say: Callable[[float, float, str], None],
        runs: int,
    ) -> None:
        self._run = run
        self._say = say
        self._left = runs
        self._since = time.process_time()
        self._before = 0.0

    def __call__(self, data: bytes) -> None:
        self._run(data)
        self._left -= 1
        if self._before == 0.0 or self._left % 65536 == 0:
            self._before = self._before or _resident_mib()
        if self._left == 0:
            growth = _resident_mib() - self._before
            self._say(time.process_time() - self._since, growth, "atheris")


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word[:64])


if __name__ == "__main__":
    sys.exit(main())
