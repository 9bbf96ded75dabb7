"""Script of faults, from a file or from the control plane.

Example of a file (every key is optional)::

    seed: 7                                   # the same faults every time
    max_concurrent: 50
    progression: {pace: seconds, finish_after: 2, media_s: 180}
    listing_lag_s: 3                          # delay of new jobs in listings
    callbacks: {lose: 0.1, double: 0.1, delay_s: 1}
    faults:
      - {route: submit, do: refuse, code: SlowDown, retry_after_s: 2, times: 3}
      - {route: submit, do: lose_answer, share: 0.02}
      - {route: any, do: refuse, code: ServiceUnavailable, from_s: 30, until_s: 60}
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from orchestrator.errors import Fault as Mistake
from orchestrator.errors import ManifestError
from orchestrator.server.http.errors import CI_STATUS, COS_STATUS
from orchestrator.server.pace import Pace, Progression

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


class Route(StrEnum):
    """Calls that a fault can hit."""

    ANY = "any"
    SUBMIT = "submit"
    QUERY = "query"
    LIST = "list"
    CANCEL = "cancel"
    TEMPLATE = "template"
    QUEUE = "queue"
    ACTIVATION = "activation"
    LIST_OBJECTS = "list_objects"
    HEAD = "head"
    GET = "get"
    PUT = "put"
    DELETE = "delete"
    BUCKET = "bucket"
    MULTIPART = "multipart"


class Do(StrEnum):
    """Kinds of faults."""

    REFUSE = "refuse"
    """Answered with an error; the request is not handled."""
    FAIL_AFTER = "fail_after"
    """Handled, then answered with an error (a 500 after acceptance)."""
    DROP = "drop"
    """The connection is reset; the request is not handled."""
    LOSE_ANSWER = "lose_answer"
    """Handled, then the connection is reset: the client cannot know."""
    TRUNCATE = "truncate"
    """Handled, then half of the answer is sent."""
    GARBLE = "garble"
    """Handled, then answered with an HTML page, as a proxy would."""
    DELAY = "delay"
    """Handled after ``delay_s``."""
    DELAY_ANSWER = "delay_answer"
    """Handled at once, answered after ``delay_s``."""
    SKEW = "skew"
    """Handled; the answer's Date is off by ``skew_s``."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One fault and the calls that it hits.

    Attributes:
        route: Calls that it can hit.
        do: Kind of fault.
        code: The vendor's error code, for ``refuse`` and ``fail_after``.
        status: HTTP status; None: the code's own.
        retry_after_s: Value of a Retry-After header; None: no header.
        delay_s: For ``delay`` and ``delay_answer``; any other kind waits this time first.
        skew_s: For ``skew``, and for the Date of an error.
        skip: Matching calls that pass before the first hit.
        times: Maximum number of hits; None: unlimited.
        share: Share of the matching calls, 0 to 1.
        from_s: Start, in seconds after the service was started (or the script was set).
        until_s: End, in seconds after the same instant; None: no end.
    """

    route: Route = Route.ANY
    do: Do = Do.REFUSE
    code: str = "InternalError"
    status: int | None = None
    retry_after_s: float | None = None
    delay_s: float = 0
    skew_s: float = 0
    skip: int = 0
    times: int | None = None
    share: float = 1
    from_s: float = 0
    until_s: float | None = None


@dataclass(frozen=True, slots=True)
class CallbackFaults:
    """Faults of callbacks: the lost and the doubled share, and the delay of all."""

    lose: float = 0
    double: float = 0
    delay_s: float = 0


@dataclass(frozen=True, slots=True)
class Faults:
    """A whole script.

    Attributes:
        rules: Faults of calls; the first rule that hits a call is played.
        callbacks: Faults of callbacks.
        listing_lag_s: Delay of new jobs in listings.
        seed: Makes the draws repeatable; None: the service's own seed.
        progression: Pace of simulated work; None: the service's own.
        max_concurrent: Jobs that run at once; None: the service's own.
    """

    rules: tuple[Rule, ...] = ()
    callbacks: CallbackFaults = CallbackFaults()
    listing_lag_s: float = 0
    seed: int | None = None
    progression: Progression | None = None
    max_concurrent: int | None = None

    @classmethod
    def load(cls, path: Path) -> Faults:
        """Read a script from a YAML file.

        Raises:
            ManifestError: Lists every mistake with its file and position.
        """
        import yaml

        try:
            data = yaml.load(
                path.read_bytes(),
                Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader),  # noqa: S506
            )
        except OSError as error:
            raise ManifestError(
                [
                    Mistake(
                        f"The fault script cannot be read: {error.strerror or error}. Name a YAML "
                        "file such as: faults: [{route: submit, do: lose_answer}]",
                        str(path),
                    )
                ]
            ) from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            position = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            message = f"The fault script is not YAML: {getattr(error, 'problem', error)}."
            raise ManifestError([Mistake(message, str(path), *position)]) from error
        return cls.parse(data if data is not None else {}, str(path))

    @classmethod
    def parse(cls, data: object, name: str = "faults") -> Faults:
        """Read a script from plain data.

        Raises:
            ManifestError: Lists every mistake with its position.
        """
        reader = _Reader(name)
        script = reader.script(data)
        if reader.mistakes:
            raise ManifestError(reader.mistakes)
        return script


@dataclass(slots=True)
class _Reader:
    """Converts plain data into a script and collects the mistakes."""

    name: str
    mistakes: list[Mistake] = field(default_factory=list)

    def _wrong(self, path: str, message: str, word: object = "", known: Iterable[str] = ()) -> None:
        near = difflib.get_close_matches(str(word), known, 1)
        hint = near[0] if near else ""
        self.mistakes.append(Mistake(message, self.name, path=path, hint=hint))

    def _mapping(self, data: object, path: str, allowed: set[str]) -> dict[str, Any]:
        if not isinstance(data, dict):
            self._wrong(path, f"must be a mapping; it is {data!r:.60}.")
            return {}
        for key in data:
            if key not in allowed:
                message = f"{key!r} is not known; use {', '.join(sorted(allowed))}."
                self._wrong(path, message, key, allowed)
        return {str(key): value for key, value in data.items() if key in allowed}

    def script(self, data: object) -> Faults:
        allowed = {entry.name for entry in fields(Faults)} - {"rules"} | {"faults"}
        found = self._mapping(data, "", allowed)
        rules = found.get("faults") or []
        if not isinstance(rules, list):
            self._wrong("faults", "must be a list.")
            rules = []
        return Faults(
            rules=tuple(self._rule(rule, f"faults[{index}]") for index, rule in enumerate(rules)),
            callbacks=self._record(CallbackFaults, found.get("callbacks", {}), "callbacks"),
            listing_lag_s=self._number(found.get("listing_lag_s", 0), "listing_lag_s"),
            seed=self._count(found.get("seed"), "seed"),
            progression=self._record(Progression, found["progression"], "progression")
            if "progression" in found
            else None,
            max_concurrent=self._count(found.get("max_concurrent"), "max_concurrent", least=1),
        )

    def _rule(self, data: object, path: str) -> Rule:
        rule: Rule = self._record(Rule, data, path)
        if rule.code not in CI_STATUS and rule.code not in COS_STATUS and rule.status is None:
            message = f"{rule.code!r} is not an error code of the vendor; set its HTTP status too."
            self._wrong(f"{path}.code", message, rule.code, {**CI_STATUS, **COS_STATUS})
        return rule

    def _record(self, kind: type[Any], data: object, path: str) -> Any:
        found = self._mapping(data, path, {entry.name for entry in fields(kind)})
        return kind(
            **{name: self._value(name, value, f"{path}.{name}") for name, value in found.items()}
        )

    def _value(self, name: str, value: object, path: str) -> Any:
        words: Mapping[str, type[StrEnum]] = {"route": Route, "do": Do, "pace": Pace}
        if name in words:
            return self._word(words[name], value, path)
        if name == "code":
            return str(value)
        if name in {"status", "skip", "times"}:
            return self._count(value, path)
        number = self._number(value, path, negative=name == "skew_s")
        if name in {"share", "lose", "double"} and number > 1:
            self._wrong(path, f"is {value!r}; it must be a share from 0 to 1.")
        return number

    def _word(self, kind: type[StrEnum], value: object, path: str) -> StrEnum:
        try:
            return kind(str(value))
        except ValueError:
            self._wrong(path, f"is {value!r:.40}; use {', '.join(kind)}.", value, list(kind))
            return next(iter(kind))

    def _number(self, value: object, path: str, *, negative: bool = False) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or (value < 0 and not negative)
        ):
            kind = "a number" if negative else "a number of at least 0"
            self._wrong(path, f"is {value!r:.40}; it must be {kind}.")
            return 0
        return value

    def _count(self, value: object, path: str, least: int = 0) -> int | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self._wrong(path, f"is {value!r:.40}; it must be a whole number of at least {least}.")
            return None
        return value
