"""What is to go wrong: a script of faults, from a file or from the control plane.

A file looks like this (every key may be left out)::

    seed: 7                                   # the same faults every time
    max_concurrent: 50
    progression: {pace: seconds, finish_after: 2, media_s: 180}
    listing_lag_s: 3                          # new jobs appear in listings this late
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
from orchestrator.server.progression import Pace, Progression

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Route(StrEnum):
    """Calls that can go wrong."""

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


class Do(StrEnum):
    """What goes wrong."""

    REFUSE = "refuse"
    """Answered with an error; nothing is done."""
    FAIL_AFTER = "fail_after"
    """Done, then answered with an error (a 500 after acceptance)."""
    DROP = "drop"
    """The connection is reset; nothing is done."""
    LOSE_ANSWER = "lose_answer"
    """Done, then the connection is reset: the client cannot know."""
    TRUNCATE = "truncate"
    """Done, then half of the answer is sent."""
    GARBLE = "garble"
    """Done, then answered with a page that is no XML, as a proxy would."""
    DELAY = "delay"
    """Done after ``delay_s``."""
    DELAY_ANSWER = "delay_answer"
    """Done at once, answered after ``delay_s``."""
    SKEW = "skew"
    """Done; the answer's Date is off by ``skew_s``."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that goes wrong.

    Attributes:
        route: Calls that it befalls.
        do: What happens.
        code: The vendor's error code, for ``refuse`` and ``fail_after``.
        status: HTTP status, or None: the code's own.
        retry_after_s: Send a Retry-After header.
        delay_s: For ``delay`` and ``delay_answer``; with any other: wait that long first.
        skew_s: For ``skew``, and for the Date of an error.
        skip: Matching calls that pass first.
        times: Calls that it befalls at most; None: no bound.
        share: Part of the matching calls, 0 to 1.
        from_s: Begins this long after the service was started (or the script was set).
        until_s: Ends this long after; None: never.
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
    """What goes wrong with callbacks: parts of them that are lost or doubled, and how late they come."""

    lose: float = 0
    double: float = 0
    delay_s: float = 0


@dataclass(frozen=True, slots=True)
class Faults:
    """A whole script.

    Attributes:
        rules: What goes wrong with calls; the first rule that befalls a call is the one.
        callbacks: What goes wrong with callbacks.
        listing_lag_s: How long new jobs stay out of listings.
        seed: Makes the draws repeatable; None: the service's own seed.
        progression: Pace of simulated work; None: the service's own.
        max_concurrent: Jobs at once; None: the service's own.
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
            ManifestError: With every mistake, its file and place.
        """
        import yaml

        try:
            data = yaml.load(
                path.read_bytes(),
                Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader),  # noqa: S506
            )
        except OSError as error:
            raise ManifestError(
                [Mistake(f"The fault script cannot be read: {error.strerror or error}.", str(path))]
            ) from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            raise ManifestError(
                [
                    Mistake(
                        f"The fault script is not YAML: {getattr(error, 'problem', error)}.",
                        str(path),
                        *place,
                    )
                ]
            ) from error
        return cls.parse(data if data is not None else {}, str(path))

    @classmethod
    def parse(cls, data: object, name: str = "faults") -> Faults:
        """Read a script from plain data.

        Raises:
            ManifestError: With every mistake and its place.
        """
        reader = _Reader(name)
        script = reader.script(data)
        if reader.mistakes:
            raise ManifestError(reader.mistakes)
        return script


@dataclass(slots=True)
class _Reader:
    """Turns plain data into a script and collects the mistakes."""

    name: str
    mistakes: list[Mistake] = field(default_factory=list)

    def _wrong(self, path: str, message: str, hint: str = "") -> None:
        self.mistakes.append(Mistake(message, self.name, path=path, hint=hint))

    def _mapping(self, data: object, path: str, allowed: set[str]) -> dict[str, Any]:
        if not isinstance(data, dict):
            self._wrong(path, f"must be a mapping, is {data!r:.60}.")
            return {}
        for key in data:
            if key not in allowed:
                near = difflib.get_close_matches(str(key), allowed, 1)
                self._wrong(
                    path,
                    f"{key!r} is not known; allowed are {', '.join(sorted(allowed))}.",
                    near[0] if near else "",
                )
        return {str(key): value for key, value in data.items() if key in allowed}

    def script(self, data: object) -> Faults:
        found = self._mapping(
            data,
            "",
            {"seed", "max_concurrent", "progression", "listing_lag_s", "callbacks", "faults"},
        )
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
            near = difflib.get_close_matches(rule.code, {**CI_STATUS, **COS_STATUS}, 1)
            self._wrong(
                f"{path}.code",
                f"{rule.code!r} is not an error code of the vendor; give its HTTP status too.",
                near[0] if near else "",
            )
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
            self._wrong(path, f"is {value!r}; it is a part, from 0 to 1.")
        return number

    def _word(self, kind: type[StrEnum], value: object, path: str) -> StrEnum:
        try:
            return kind(str(value))
        except ValueError:
            near = difflib.get_close_matches(str(value), list(kind), 1)
            self._wrong(
                path,
                f"is {value!r:.40}; allowed are {', '.join(kind)}.",
                near[0] if near else "",
            )
            return next(iter(kind))

    def _number(self, value: object, path: str, *, negative: bool = False) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or (value < 0 and not negative)
        ):
            self._wrong(
                path,
                f"is {value!r:.40}; it must be a number{'' if negative else ' of at least 0'}.",
            )
            return 0
        return value

    def _count(self, value: object, path: str, least: int = 0) -> int | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self._wrong(path, f"is {value!r:.40}; it must be a whole number of at least {least}.")
            return None
        return value
