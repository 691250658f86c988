"""The time as Kubernetes writes it, and the scale of back-off delays."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


def now() -> datetime:
    """The current moment, aware, in UTC."""
    return datetime.now(tz=UTC)


def stamp(moment: datetime | None = None) -> str:
    """A `metav1.Time`: whole seconds."""
    return (moment or now()).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_stamp(moment: datetime | None = None) -> str:
    """A `metav1.MicroTime`."""
    return (moment or now()).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_stamp(text: str) -> datetime:
    """Read RFC 3339 with any number of fraction digits."""
    head, dot, rest = text.replace("Z", "+00:00").partition(".")
    if dot:
        digits = len(rest) - len(rest.lstrip("0123456789"))
        head = f"{head}.{rest[:digits][:6].ljust(6, '0')}{rest[digits:]}"
    moment = datetime.fromisoformat(head)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Backoff:
    """Delays that double: of a Job's pods, of image pulls, of restarts, of mounts.

    `scale` shortens all of them for tests (1.0 is what a cluster does).
    """

    scale: float = 1.0

    def delay(self, failures: int, base: timedelta, cap: timedelta) -> timedelta:
        """The delay after so many failures in a row (0 gives none)."""
        if failures <= 0:
            return timedelta(0)
        doubled: timedelta = base * (1 << min(failures - 1, 30))
        return min(doubled, cap) * self.scale
