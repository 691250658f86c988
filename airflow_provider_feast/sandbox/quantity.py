"""Kubernetes quantities: `500m`, `2Gi`, `1e3`."""

import re
from decimal import Decimal, InvalidOperation
from typing import Any

PATTERN = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
_SHAPE = re.compile(PATTERN)
_SUFFIX = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(1000),
    "M": Decimal(1000) ** 2,
    "G": Decimal(1000) ** 3,
    "T": Decimal(1000) ** 4,
    "P": Decimal(1000) ** 5,
    "E": Decimal(1000) ** 6,
    "Ki": Decimal(1024),
    "Mi": Decimal(1024) ** 2,
    "Gi": Decimal(1024) ** 3,
    "Ti": Decimal(1024) ** 4,
    "Pi": Decimal(1024) ** 5,
    "Ei": Decimal(1024) ** 6,
}
_EXPONENT = re.compile(r"[eE][+-]?[0-9]+")


def parse(value: Any) -> Decimal:
    """The number a quantity stands for (cores, bytes).

    Raises:
        ValueError: it is not a quantity.
    """
    match = _SHAPE.match(str(value))
    if match is None:
        raise ValueError(f"{value!r} is not a quantity")
    number, suffix = match.groups()
    if suffix not in _SUFFIX and not _EXPONENT.fullmatch(suffix):
        raise ValueError(f"{value!r} is not a quantity")
    try:
        return Decimal(number) * _SUFFIX[suffix] if suffix in _SUFFIX else Decimal(number + suffix)
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a quantity") from None


def is_quantity(value: Any) -> bool:
    try:
        parse(value)
    except ValueError:
        return False
    return True


def write(name: str, amount: Decimal) -> str:
    """An amount of a resource: bytes with the largest binary suffix that divides them, else thousandths if needed."""
    if name.rpartition(".")[2] in {"memory", "storage", "ephemeral-storage"} and amount:
        for suffix in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
            if amount % _SUFFIX[suffix] == 0:
                return f"{int(amount / _SUFFIX[suffix])}{suffix}"
    return str(int(amount)) if amount == int(amount) else f"{int(amount * 1000)}m"
