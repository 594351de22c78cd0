"""Which errors are expected, what they are called for people, and with which code a command then exits."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
import sqlalchemy as sa

from monitor.command import ExitCode
from monitor.config import ConfigError
from monitor.embedded import EmbeddedPostgresError
from monitor.installation import UnknownModelError
from monitor.source import SourceError
from monitor.sources.catalog import UnknownTableError


@dataclass(frozen=True)
class Failure:
    """An exit code with the sentence that goes with it; without one the error's own words are the sentence."""

    code: ExitCode
    text: str = ""


def exit_code(error: Exception) -> Failure | None:
    """Return how a command ends after an expected error, None for a fault of ours, which keeps its traceback."""
    match error:
        case ConfigError() | UnknownModelError() | UnknownTableError():
            return Failure(ExitCode.USAGE)
        case EmbeddedPostgresError() | SourceError():
            return Failure(ExitCode.FAILED)
        case sa.exc.OperationalError() | psycopg.OperationalError():
            return Failure(
                ExitCode.FAILED, f"The store cannot be reached: {reason(error)}; check store.url and the server."
            )
        case sa.exc.ProgrammingError() if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            return Failure(
                ExitCode.FAILED,
                f"The store refuses this to the user of store.url ({reason(error)}); run it as monitor_writer, or "
                "grant what is missing.",
            )
        case sa.exc.InternalError() if isinstance(error.orig, psycopg.errors.ReadOnlySqlTransaction):
            return Failure(
                ExitCode.FAILED, f"The store can only be read ({reason(error)}); give store.url the primary server."
            )
        case sa.exc.ProgrammingError() if "does not exist" in str(error.orig):
            return Failure(
                ExitCode.FAILED, f"The store has no schema of ours ({reason(error)}); run `monitor db upgrade`."
            )
        case _:
            return None


def reason(error: BaseException) -> str:
    """Return the first line of what the database said, without the statement that SQLAlchemy appends."""
    origin = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(origin).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(origin).__name__
