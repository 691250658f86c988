"""Lists: of now or of an earlier version, whole or in pages; and which options of a list may stand together."""

import base64
import json
from dataclasses import dataclass

from airflow_provider_feast.sandbox import status
from airflow_provider_feast.sandbox.selectors import Predicate
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.status import Cause, forbidden_field, unsupported
from airflow_provider_feast.sandbox.store import Key, Store, position

_EXACT, _NOT_OLDER = "Exact", "NotOlderThan"
_LATEST = 0


@dataclass(frozen=True)
class Page:
    """What a client wants of a list.

    Attributes:
        version: the version whose state is listed; 0 is now.
        floor: a version that must have been reached; 0 is any.
        after: only what comes after this key.
        limit: the most objects of one answer; 0 is all.
    """

    version: int = _LATEST
    floor: int = 0
    after: str = ""
    limit: int = 0

    @classmethod
    def read(cls, query: dict[str, str]) -> "Page":
        """Read the options of a list; 400 or 422 when they contradict each other."""
        check_options(query, watching=False)
        limit, token = number(query, "limit"), query.get("continue", "")
        asked, match = query.get("resourceVersion") or "", query.get("resourceVersionMatch") or ""
        if token:
            if asked not in {"", "0"}:
                raise status.bad_request("specifying resource version is not allowed when using continue")
            version, after = _read_token(token)
            return cls(version, version, after, limit)
        version = number(query, "resourceVersion")
        exact = match == _EXACT or (version and limit and not match)
        return cls(version if exact else _LATEST, version, "", limit)


def check_options(query: dict[str, str], *, watching: bool) -> None:
    """422 for options that the real server does not take together (`ValidateListOptions` of apimachinery)."""
    causes = list(_watch_options(query) if watching else _list_options(query))
    if causes:
        raise status.invalid("meta.k8s.io", "ListOptions", "", causes)


def _list_options(query: dict[str, str]) -> list[Cause]:
    match, asked = query.get("resourceVersionMatch") or "", query.get("resourceVersion") or ""
    found = []
    field = "resourceVersionMatch"
    if match:
        if not asked:
            found.append(forbidden_field(field, f"{field} is forbidden unless resourceVersion is provided"))
        if query.get("continue"):
            found.append(forbidden_field(field, f"{field} is forbidden when continue is provided"))
        if match not in {_EXACT, _NOT_OLDER}:
            found.append(unsupported(field, match, [_EXACT, _NOT_OLDER, ""]))
        if match == _EXACT and asked == "0":
            found.append(forbidden_field(field, f'{field} "exact" is forbidden for resourceVersion "0"'))
    if query.get("sendInitialEvents"):
        found.append(forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return found


def _watch_options(query: dict[str, str]) -> list[Cause]:
    match, initial = query.get("resourceVersionMatch") or "", query.get("sendInitialEvents")
    found = []
    field = "resourceVersionMatch"
    if initial and match != _NOT_OLDER:
        found.append(forbidden_field(field, f"sendInitialEvents requires setting {field} to {_NOT_OLDER}"))
    if match and not initial:
        why = f"{field} is forbidden for watch unless sendInitialEvents is provided"
        found.append(forbidden_field(field, why))
    if match and match != _NOT_OLDER:
        found.append(unsupported(field, match, [_NOT_OLDER]))
    if match and query.get("continue"):
        found.append(forbidden_field(field, f"{field} is forbidden when continue is provided"))
    return found


def select(
    store: Store, key: Key, namespace: str, page: Page, wanted: Predicate | None
) -> tuple[list[Obj], Obj]:
    """The objects of a page, and the list's metadata."""
    if page.floor > store.version:
        raise too_large(page.floor, store.version)
    found = _state(store, key, namespace, page)
    if wanted is not None:
        found = [obj for obj in found if wanted(obj)]
    found = [obj for obj in found if position(obj) > page.after]
    version = page.version or store.version
    meta: Obj = {"resourceVersion": str(version)}
    if page.limit and len(found) > page.limit:
        meta["continue"] = _token(version, position(found[page.limit - 1]))
        if wanted is None:
            meta["remainingItemCount"] = len(found) - page.limit
        found = found[: page.limit]
    return found, meta


def _state(store: Store, key: Key, namespace: str, page: Page) -> list[Obj]:
    if page.version == _LATEST:
        return store.objects(key, namespace)
    try:
        return store.objects_at(key, page.version, namespace)
    except status.ApiError as error:
        if page.after:
            raise _page_too_old(page.after) from error
        raise


def too_large(asked: int, current: int) -> status.ApiError:
    """504: a version that is not there yet."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return status.ApiError(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})


def _page_too_old(after: str) -> status.ApiError:
    """410, with a token that goes on from the same key in the state of now."""
    message = (
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
        "the results. Continuing with the provided token results in an inconsistent list - objects that were "
        "created, modified, or deleted between the time the first chunk was returned and now may show up in the list."
    )
    return status.ApiError(410, "Expired", message, metadata={"continue": _token(_LATEST, after)})


def _token(version: int, after: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([version, after]).encode()).decode()


def _read_token(token: str) -> tuple[int, str]:
    try:
        version, after = json.loads(base64.urlsafe_b64decode(token))
    except ValueError:
        raise status.bad_request("continue key is not valid: it was not issued by this server") from None
    return int(version), str(after)


def number(query: dict[str, str], key: str) -> int:
    """A whole number of the query; 0 when it is absent."""
    try:
        return int(query.get(key) or 0)
    except ValueError:
        raise status.bad_request(f"{key} must be a whole number, not {query[key]!r}") from None
