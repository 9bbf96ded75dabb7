"""Translation of pydantic's errors into faults: our words, the place in the file, the nearest word.

Errors are read by their type and context. pydantic's own text is shown only for a type that is not
known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel

from orchestrator.domain.wording import listed, nearest_word, quoted
from orchestrator.manifest.schema.inputs import KIND_PREFIX
from orchestrator.manifest.schema.value_types import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from orchestrator.errors import Fault
    from orchestrator.manifest.yaml.document import Path
    from orchestrator.manifest.yaml.includes import Files

_KEY = "[key]"
"""Step of pydantic's location that means the key of a mapping, not its value."""
_SECRET_WORDS = frozenset({
    "secretid", "secretkey", "secret", "password", "passwd", "token", "sessiontoken",
    "securitytoken", "accesskey", "accesskeyid", "accesskeysecret", "apikey", "credential",
    "credentials", "authorization", "tencentcloudsecretid", "tencentcloudsecretkey",
})  # fmt: skip
NO_SECRETS = (
    "A manifest must not contain secrets. Remove it, replace the secret if the file was shared, "
    "and set TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY in the environment."
)


def is_secret_word(key: str) -> bool:
    """Return True if the name of a key says that its value is a secret."""
    return key.lower().replace("_", "").replace("-", "") in _SECRET_WORDS


def faults_of(error: ValidationError, model: type[BaseModel], files: Files) -> list[Fault]:
    """Return all errors of a validation as faults, in the order of the file."""
    faults = [_fault(detail, model, files) for detail in error.errors(include_url=False)]
    return sorted(faults, key=lambda fault: (fault.file, fault.line, fault.column))


def _fault(detail: ErrorDetails, model: type[BaseModel], files: Files) -> Fault:
    location = detail["loc"]
    path: Path = tuple(
        step
        for step in location
        if not (isinstance(step, str) and step.startswith(KIND_PREFIX)) and step != _KEY
    )
    is_key = detail["type"] == "extra_forbidden" or _KEY in location
    message, near = _message(detail, model)
    return files.fault(message, path, hint=near, key=is_key)


def _message(detail: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    """Return the message of an error and the nearest right word."""
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    key = str(detail["loc"][-1]) if detail["loc"] else ""
    if kind == "manifest":
        return context["text"], context["hint"]
    if kind == "extra_forbidden":
        if is_secret_word(key):
            return NO_SECRETS, ""
        known = list(allowed_keys(model, detail["loc"][:-1]))
        near = nearest_word(key, known)
        allowed = "" if near else f" Known here: {listed(sorted(known), 'and')}."
        return f"Unknown key {quoted(key)}.{allowed}", near
    if kind == "missing":
        return f"The key {quoted(key)} is missing.", ""
    if kind == "literal_error":
        words = list(_allowed_words(model, detail["loc"]))
        message = f"{_subject(value)} is not allowed here. Allowed: {listed(words)}."
        return message, nearest_word(str(value), words)
    return _MESSAGES.get(kind, _other)(detail), ""


def _subject(value: object) -> str:
    """Return a value as the first words of a sentence."""
    text = shown(value)
    return f"{text[:1].upper()}{text[1:]}" if not isinstance(value, str) else text


def _range_message(text: str) -> Callable[[ErrorDetails], str]:
    def message(detail: ErrorDetails) -> str:
        context = detail["ctx"]
        bound = next(context[name] for name in ("ge", "gt", "le", "lt") if name in context)
        return f"{_subject(detail['input'])} is out of range: it must be {text} {bound:,}."

    return message


def _kind_message(expected: str) -> Callable[[ErrorDetails], str]:
    return lambda detail: f"Expected {expected} here, not {shown(detail['input'])}."


def _other(detail: ErrorDetails) -> str:
    reason = detail["msg"]
    return f"{_subject(detail['input'])} is not valid: {reason[:1].lower()}{reason[1:]}."


_MESSAGES: dict[str, Callable[[ErrorDetails], str]] = {
    "greater_than_equal": _range_message("at least"),
    "greater_than": _range_message("more than"),
    "less_than_equal": _range_message("at most"),
    "less_than": _range_message("less than"),
    "model_type": _kind_message("a mapping (key: value)"),
    "dict_type": _kind_message("a mapping (key: value)"),
    "tuple_type": _kind_message("a list (lines that begin with '- ')"),
    "string_type": _kind_message("text"),
    "string_too_short": lambda _: "The text is empty.",
    "string_too_long": lambda detail: (
        f"{quoted(detail['input'])} is too long: at most {detail['ctx']['max_length']} characters."
    ),
    "string_pattern_mismatch": lambda detail: (
        f"{quoted(detail['input'])} does not have the form {detail['ctx']['pattern']}."
    ),
    "too_short": lambda _: "It is empty: remove it, or add something to it.",
    "too_long": lambda detail: f"Too many: at most {detail['ctx']['max_length']} are allowed.",
}


def allowed_keys(model: type[BaseModel], location: Iterable[str | int]) -> Iterator[str]:
    """Yield the keys that the mapping at a pydantic location may have."""
    for each in _models_at(model, location):
        for name, field in each.model_fields.items():
            yield field.alias or name


def _allowed_words(model: type[BaseModel], location: tuple[str | int, ...]) -> Iterator[str]:
    """Yield the words that the value at a pydantic location may be."""
    names = [index for index, step in enumerate(location) if isinstance(step, str)]
    last = next(index for index in reversed(names) if location[index] != _KEY)
    for each in _models_at(model, location[:last]):
        yield from _literals_in(_field(each, str(location[last])))


def _models_at(model: type[BaseModel], location: Iterable[str | int]) -> list[type[BaseModel]]:
    models = [model]
    for step in location:
        if isinstance(step, str) and step.startswith(KIND_PREFIX):
            kind = step.removeprefix(KIND_PREFIX)
            models = [each for each in models if each.__name__.lower().startswith(kind)]
        elif isinstance(step, str) and any(_field(each, step) for each in models):
            models = [inner for each in models for inner in _models_in(_field(each, step))]
        # An index of a list, or a name in a mapping of names: its models are already known.
    return models


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


def _literals_in(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for inner in get_args(annotation):
            yield from _literals_in(inner)
