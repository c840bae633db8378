"""What is fuzzed, and what must hold whatever comes: one function per parser.

A target takes any bytes and returns. It raises `Broken`, or lets escape what escaped,
if a parser broke its word: only the errors it names, the same answers however the
bytes are cut, no more memory than its limits allow. The first two bytes of an input
choose options and where to cut; the rest is for the parser.

`fuzz/run.py` drives them by atheris or by seeded mutation; `tests/netcore/fuzz` plays
some hundred inputs of each every time.
"""

from fuzz_targets import fix, http, tls, url, ws
from fuzz_targets.common import Broken, Target

__all__ = ["TARGETS", "Broken", "Target"]

TARGETS: dict[str, Target] = {
    **ws.TARGETS,
    **http.TARGETS,
    **fix.TARGETS,
    **tls.TARGETS,
    **url.TARGETS,
}
"""Every target by its name."""
