"""Templates of names: ``stems/{dir}/{stem|slug}/voice.${ext}``.

The planner fills in ``{name}`` and ``{name|filter}``. The service fills in ``${ext}`` and
``${jobid}``, so they stay. ``{{`` and ``}}`` mean plain braces.
"""

from __future__ import annotations

import re
import unicodedata
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from orchestrator.domain.value_formats import calendar_date
from orchestrator.domain.wording import listed, nearest_word, quoted
from orchestrator.manifest.schema import vendor_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

_TOKEN = re.compile(r"\$\{[^{}]*\}|\{\{|\}\}|\{[^{}]*\}|[{}]")
_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)((?:\|[^|{}]*)*)\}")
_SLASHES = re.compile("/{2,}")
_NO_SLUG = re.compile(r"[^a-z0-9]+")
_MAX_PAD = 32
_DATE_FORMAT = re.compile(r"(?:%[YmdjyVGu%]|[^%])+")


class TemplateError(ValueError):
    """A fault of a template; ``hint`` is the nearest right word, or empty."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def slug(text: str) -> str:
    """Return text as lower-case ASCII letters, digits and hyphens.

    Accents are dropped, and other characters become one hyphen. Text without any such letter (for
    example Chinese) becomes its code points in hex, so that different names stay different.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    result = _NO_SLUG.sub("-", plain).strip("-")
    return result or "-".join(f"{ord(char):x}" for char in text)


def _pad(argument: str) -> Callable[[str], str]:
    if not argument.isdigit() or not 1 <= int(argument) <= _MAX_PAD:
        raise TemplateError(
            f"The filter pad needs a width from 1 to {_MAX_PAD}, as in {{index|pad:6}}, "
            f"not {quoted(argument)}."
        )
    width = int(argument)
    return lambda text: text.zfill(width)


def _date(argument: str) -> Callable[[str], str]:
    if not _DATE_FORMAT.fullmatch(argument):
        raise TemplateError(
            "The filter date needs a format made of %Y %m %d %j %y %G %V %u, "
            f"as in {{date|date:%Y/%m/%d}}, not {quoted(argument)}."
        )

    def render(text: str) -> str:
        day = calendar_date(text)
        if day is None:
            raise TemplateError(
                f"The filter date needs a date such as 2026-11-22, not {quoted(text)}."
            )
        return day.strftime(argument)

    return render


_PLAIN: Final[dict[str, Callable[[str], str]]] = {
    "lower": str.lower,
    "upper": str.upper,
    "slug": slug,
}
_WITH_ARGUMENT: Final[dict[str, Callable[[str], Callable[[str], str]]]] = {
    "pad": _pad,
    "date": _date,
}


def _filter(text: str) -> Callable[[str], str]:
    name, colon, argument = text.partition(":")
    if name in _PLAIN and not colon:
        return _PLAIN[name]
    if name in _WITH_ARGUMENT:
        return _WITH_ARGUMENT[name](argument)
    message = f"{quoted(text)} is not a filter. Use lower, upper, slug, pad:WIDTH or date:FORMAT."
    raise TemplateError(message, nearest_word(name, (*_PLAIN, *_WITH_ARGUMENT)))


class Template:
    """A parsed template.

    Args:
        text: The template as written.

    Attributes:
        fields: Names that the template uses.
        wildcards: Number of ``${...}``, which the service fills in.

    Raises:
        TemplateError: If a brace, filter or wildcard is wrong.
    """

    __slots__ = ("_filters", "_names", "_pattern", "_pick", "fields", "text", "wildcards")

    def __init__(self, text: str) -> None:
        self.text = text
        self._names: list[str] = []
        self._filters: list[tuple[Callable[[str], str], ...]] = []
        self._pattern = _TOKEN.sub(self._token, text.replace("%", "%%"))
        self.fields = frozenset(self._names)
        self.wildcards = self._pattern.count("${")
        # Without filters, one C call picks all values of the pattern (or the only one).
        is_plain = self._names and not any(self._filters)
        self._pick: Callable[[Mapping[str, str]], object] | None = (
            itemgetter(*self._names) if is_plain else None
        )

    def _token(self, match: re.Match[str]) -> str:
        token = match[0].replace("%%", "%")
        if token in {"{{", "}}"}:
            return token[0]
        if token.startswith("$"):
            return _wildcard(token)
        field = _FIELD.fullmatch(token)
        if field is None:
            raise TemplateError(
                f"{quoted(token)} is not a placeholder. Write {{name}} or {{name|filter}}, "
                "or {{ and }} for plain braces."
            )
        self._names.append(field[1])
        self._filters.append(tuple(_filter(part) for part in field[2].split("|")[1:]))
        return "%s"

    def check(self, known: Collection[str]) -> None:
        """Raise ``TemplateError`` if a placeholder is not in ``known``."""
        for name in self._names:
            if name not in known:
                message = f"Unknown placeholder {{{name}}}. Known: {listed(sorted(known), 'and')}."
                raise TemplateError(message, nearest_word(name, known))

    def render(self, values: Mapping[str, str]) -> str:
        """Return the text with every placeholder filled in.

        Raises:
            TemplateError: If a value is missing, or a filter does not accept it.
        """
        try:
            if self._pick is not None:
                return self._pattern % self._pick(values)
            return self._pattern % tuple(
                [self._filtered(values[name], number) for number, name in enumerate(self._names)]
            )
        except KeyError as error:
            name = str(error.args[0])
            message = f"{{{name}}} has no value here."
            raise TemplateError(message, nearest_word(name, values)) from error

    def _filtered(self, value: str, number: int) -> str:
        for change in self._filters[number]:
            value = change(value)
        return value

    def fill(self, values: Mapping[str, str]) -> Template:
        """Return the template with the names in ``values`` filled in and the others kept."""
        if not self.fields & values.keys():
            return self
        return Template(_TOKEN.sub(lambda match: self._filled(match[0], values), self.text))

    @staticmethod
    def _filled(token: str, values: Mapping[str, str]) -> str:
        field = _FIELD.fullmatch(token)
        if field is None or field[1] not in values:
            return token
        value = Template(token).render(values)
        return value.replace("{", "{{").replace("}", "}}")


def _wildcard(token: str) -> str:
    if token in vendor_limits.WILDCARDS:
        return token
    known = vendor_limits.WILDCARDS
    message = f"{quoted(token)} is not a wildcard of the service, which are {listed(known, 'and')}."
    message = f"{message} Placeholders of a manifest are written without $."
    raise TemplateError(message, nearest_word(token, known))


def object_name(rendered: str) -> str:
    """Return a rendered name without the extra slashes that an empty ``{dir}`` leaves."""
    if "//" in rendered:
        rendered = _SLASHES.sub("/", rendered)
    return rendered[1:] if rendered[:1] == "/" else rendered


def parts_of(key: str) -> dict[str, str]:
    """Return ``object``, ``dir``, ``name``, ``stem`` and ``ext`` of an object name.

    ``dir`` has no slash at the end and is empty at the top level.
    """
    folder, _, name = key.rpartition("/")
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem:
        stem, extension = name, ""
    return {"object": key, "dir": folder, "name": name, "stem": stem, "ext": extension}


PART_NAMES: Final = ("object", "dir", "name", "stem", "ext")
ITEM_NAMES: Final = (*PART_NAMES, "bucket", "region", "index", "variant")
"""Names that templates of a job know besides params and columns. ``index`` counts the objects of a
source from 1."""
