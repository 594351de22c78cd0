"""What the processes that we start inherit of our environment: what programs need to run, and no secret."""

from __future__ import annotations

import re
from collections.abc import Mapping

KEPT = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TZDIR|TMPDIR|TEMP|TMP|TERM|COLUMNS|DO_NOT_TRACK|MPLCONFIGDIR"
    r"|(PYTHON|VIRTUAL_ENV|XDG_|LD_|DYLD_|OMP_|OPENBLAS_|MKL_|COVERAGE_|FAKETIME)\w*|__CF_USER_TEXT_ENCODING"
)


def inherited(environ: Mapping[str, str], **more: str) -> dict[str, str]:
    """Return the environment of a child; names that are not known to be harmless are left out, secrets among them.

    >>> inherited({"PATH": "/bin", "SLACK_WEBHOOK_URL": "https://…", "PGPASSWORD": "x"}, OMP_NUM_THREADS="1")
    {'PATH': '/bin', 'OMP_NUM_THREADS': '1'}
    """
    return {name: value for name, value in environ.items() if KEPT.fullmatch(name)} | more
