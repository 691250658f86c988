"""How long ago something was, as `kubectl` prints it."""

from datetime import timedelta

from airflow_provider_feast.sandbox import clock


def age(moment: str | None) -> str:
    """The time since a moment."""
    return duration(clock.now() - clock.parse_stamp(moment)) if moment else "<unknown>"


def duration(delta: timedelta) -> str:
    """Two units at most, fewer the longer it is (HumanDuration of k8s.io/apimachinery)."""
    seconds = max(int(delta.total_seconds()), 0)
    minutes, hours = seconds // 60, seconds // 3600
    days = hours // 24
    steps = (
        (seconds < 120, f"{seconds}s"),
        (minutes < 10, _two(minutes, "m", seconds % 60, "s")),
        (hours < 3, f"{minutes}m"),
        (hours < 8, _two(hours, "h", minutes % 60, "m")),
        (hours < 48, f"{hours}h"),
        (days < 8, _two(days, "d", hours % 24, "h")),
        (days < 730, f"{days}d"),
    )
    return next((text for fits, text in steps if fits), _two(days // 365, "y", days % 365, "d"))


def _two(great: int, unit: str, small: int, smaller: str) -> str:
    return f"{great}{unit}{small}{smaller}" if small else f"{great}{unit}"
