"""The Python of a page: a process that runs its blocks one after the other in one namespace.

Gets a line of JSON for each on the first descriptor that it is given, and answers with one on the second.
"""

import json
import os
import sys
import traceback
import warnings
from typing import Any


def main(requests: int, answers: int) -> None:
    """Run what is asked for until nobody asks any more."""
    warnings.simplefilter("error")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    sys.path.insert(0, "")
    with os.fdopen(requests) as asked, os.fdopen(answers, "w") as said:
        for line in asked:
            error = _run(json.loads(line), namespace)
            sys.stdout.flush()
            sys.stderr.flush()
            said.write(json.dumps(error) + "\n")
            said.flush()


def _run(block: dict[str, Any], namespace: dict[str, Any]) -> str | None:
    os.environ.clear()
    os.environ.update(block["environment"])
    os.chdir(block["folder"])
    try:
        # So many empty lines before it that a traceback names, and shows, the line of the page.
        exec(compile("\n" * block["line"] + block["text"], block["file"], "exec"), namespace)
    except Exception:  # noqa: BLE001 - a block may raise anything, and the test that asked for it fails with it
        return traceback.format_exc()
    return None


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
