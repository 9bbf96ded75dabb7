"""From pydantic's errors to faults that a person can act on: our words, the place in the file, the nearest right word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from orchestrator.domain.wording import did_you_mean, listed, quoted
from orchestrator.manifest.schema.inputs import KIND_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from orchestrator.errors import Fault
    from orchestrator.manifest.yaml.document import Path
    from orchestrator.manifest.yaml.includes import Files

_KEY = "[key]"
"""How pydantic says that a key of a mapping is meant, not its value."""
_SECRET_WORDS = frozenset({
    "secretid", "secretkey", "secret", "password", "passwd", "token", "sessiontoken", "securitytoken", "accesskey", "accesskeyid",
    "accesskeysecret", "apikey", "credential", "credentials", "authorization", "tencentcloudsecretid", "tencentcloudsecretkey",
})  # fmt: skip
NO_SECRETS = (
    "Secrets never stand in a manifest. Remove it, change the secret if the file was shared, and set TENCENTCLOUD_SECRET_ID and "
    "TENCENTCLOUD_SECRET_KEY in the environment."
)


def is_secret_word(key: str) -> bool:
    """Whether a key's name says that a secret stands behind it."""
    return key.lower().replace("_", "").replace("-", "") in _SECRET_WORDS


def faults_of(error: ValidationError, model: type[BaseModel], files: Files) -> Iterator[Fault]:
    """All errors of a validation, in the order of the file."""
    told = [_tell(detail, model, files) for detail in error.errors(include_url=False)]
    return iter(sorted(told, key=lambda fault: (fault.file, fault.line, fault.column)))


def _tell(detail: ErrorDetails, model: type[BaseModel], files: Files) -> Fault:
    location = detail["loc"]
    path: Path = tuple(
        step
        for step in location
        if not (isinstance(step, str) and step.startswith(KIND_PREFIX)) and step != _KEY
    )
    is_key = detail["type"] == "extra_forbidden" or _KEY in location
    message, hint = _words(detail, model)
    return files.fault(message, path, hint=hint, key=is_key)


def _words(detail: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    key = str(detail["loc"][-1]) if detail["loc"] else ""
    if kind == "manifest":
        text, _, hint = str(context["text"]).partition(" Did you mean ")
        return text, f"Did you mean {hint}" if hint else ""
    if kind == "extra_forbidden":
        return _unknown_key(key, list(allowed_keys(model, detail["loc"][:-1])))
    if kind == "missing":
        return f"The key {quoted(key)} is missing.", ""
    if kind == "literal_error":
        words = [
            word.strip("'") for word in str(context["expected"]).replace(" or ", ", ").split(", ")
        ]
        return f"{_shown(value)} is not allowed here. Allowed: {listed(words)}.", did_you_mean(
            str(value), words
        )
    return _BOUNDS.get(kind, _other)(detail), ""


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "A mapping"
    if isinstance(value, list | tuple):
        return "A list"
    return "An empty value" if value is None else quoted(value)


def _unknown_key(key: str, known: list[str]) -> tuple[str, str]:
    if is_secret_word(key):
        return NO_SECRETS, ""
    near = did_you_mean(key, known)
    allowed = "" if near else f" Known here: {listed(sorted(known), 'and')}."
    return f"The key {quoted(key)} is not known here.{allowed}", near


def _bound(text: str) -> Any:
    def words(detail: ErrorDetails) -> str:
        (bound,) = [
            value
            for name, value in detail.get("ctx", {}).items()
            if name in {"ge", "gt", "le", "lt"}
        ]
        return f"{_shown(detail['input'])} is out of range: it must be {text} {bound:,}."

    return words


def _kind_expected(what: str) -> Any:
    return lambda detail: (
        f"{what} is expected here, not {_shown(detail['input'])[:1].lower()}{_shown(detail['input'])[1:]}."
    )


def _other(detail: ErrorDetails) -> str:
    return (
        f"{_shown(detail['input'])} does not fit: {detail['msg'][:1].lower()}{detail['msg'][1:]}."
    )


_BOUNDS = {
    "greater_than_equal": _bound("at least"),
    "greater_than": _bound("more than"),
    "less_than_equal": _bound("at most"),
    "less_than": _bound("less than"),
    "model_type": _kind_expected("A mapping (key: value)"),
    "dict_type": _kind_expected("A mapping (key: value)"),
    "tuple_type": _kind_expected("A list (lines that begin with '- ')"),
    "string_type": _kind_expected("A text"),
    "string_too_short": lambda _: "The text is empty.",
    "string_too_long": lambda detail: (
        f"{quoted(detail['input'])} is too long: at most {detail['ctx']['max_length']} characters."
    ),
    "string_pattern_mismatch": lambda detail: (
        f"{quoted(detail['input'])} does not have the form {detail['ctx']['pattern']}."
    ),
    "too_short": lambda _: "It is empty: remove it, or put something in.",
    "too_long": lambda detail: f"Too many: at most {detail['ctx']['max_length']} are allowed.",
}


def allowed_keys(model: type[BaseModel], location: Iterable[str | int]) -> Iterator[str]:
    """The keys that may stand in the mapping at a pydantic location."""
    models: list[Any] = [model]
    for step in location:
        if isinstance(step, str) and step.startswith(KIND_PREFIX):
            kind = step.removeprefix(KIND_PREFIX)
            models = [each for each in models if each.__name__.lower().startswith(kind)]
        elif isinstance(step, str) and any(_field(each, step) for each in models):
            models = [
                inner
                for each in models
                if (field := _field(each, step))
                for inner in _models_in(field)
            ]
        # An index of a list, or a name in a mapping of names: its models are already known.
    for each in models:
        for name, field in each.model_fields.items():
            yield field.alias or name


def _field(model: type[BaseModel], key: str) -> Any:
    for name, field in model.model_fields.items():
        if key == (field.alias or name):
            return field.annotation
    return None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if get_origin(annotation) is Annotated:
        yield from _models_in(get_args(annotation)[0])
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for inner in get_args(annotation):
            yield from _models_in(inner)
