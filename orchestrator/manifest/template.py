"""Names made from other names: ``stems/{dir}/{stem|slug}/voice.${ext}``.

``{name}`` and ``{name|filter}`` are ours and are expanded when planning. ``${ext}`` and ``${jobid}`` are the service's and
stay as they are. ``{{`` and ``}}`` stand for plain braces.
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
    """Lower-case ASCII letters, digits and hyphens: accents are dropped, other characters become one hyphen.

    Text that has no such letter at all (in Chinese, for example) becomes its code points in hex, so that two names do not become one.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    made = _NO_SLUG.sub("-", plain).strip("-")
    return made or "-".join(f"{ord(char):x}" for char in text)


def _pad(argument: str) -> Callable[[str], str]:
    if not argument.isdigit() or not 1 <= int(argument) <= _MAX_PAD:
        raise TemplateError(
            f"The filter pad takes a width from 1 to {_MAX_PAD}, as in {{index|pad:6}}; {quoted(argument)} is none."
        )
    width = int(argument)
    return lambda text: text.zfill(width)


def _date(argument: str) -> Callable[[str], str]:
    if not _DATE_FORMAT.fullmatch(argument):
        message = f"The filter date takes a format made of %Y %m %d %j %y %G %V %u, as in {{date|date:%Y/%m/%d}}; {quoted(argument)} is none."
        raise TemplateError(message)

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
FILTERS = (*_PLAIN, *_WITH_ARGUMENT)


def _filter(text: str) -> Callable[[str], str]:
    name, colon, argument = text.partition(":")
    if name in _PLAIN and not colon:
        return _PLAIN[name]
    if name in _WITH_ARGUMENT:
        return _WITH_ARGUMENT[name](argument)
    message = f"{quoted(text)} is no filter. There are {listed(('lower', 'upper', 'slug', 'pad:WIDTH', 'date:FORMAT'), 'and')}."
    raise TemplateError(message, nearest_word(name, FILTERS))


class Template:
    """A parsed template.

    Args:
        text: As the user wrote it.

    Attributes:
        fields: Names that it uses.

    Raises:
        TemplateError: If a brace, filter or wildcard is wrong.
    """

    __slots__ = ("_filters", "_names", "_pattern", "_pick", "fields", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._names: list[str] = []
        self._filters: list[tuple[Callable[[str], str], ...]] = []
        self._pattern = _TOKEN.sub(self._token, text.replace("%", "%%"))
        self.fields = frozenset(self._names)
        # Without filters, one C call picks all values (or the only one) that the pattern takes.
        plain = self._names and not any(self._filters)
        self._pick: Callable[[Mapping[str, str]], object] | None = (
            itemgetter(*self._names) if plain else None
        )

    def _token(self, match: re.Match[str]) -> str:
        token = match[0].replace("%%", "%")
        if token in {"{{", "}}"}:
            return token[0]
        if token.startswith("$"):
            return _wildcard(token)
        field = _FIELD.fullmatch(token)
        if field is None:
            message = f"{quoted(token)} is no placeholder. It is {{name}} or {{name|filter}}; write {{{{ and }}}} for plain braces."
            raise TemplateError(message)
        self._names.append(field[1])
        self._filters.append(tuple(_filter(part) for part in field[2].split("|")[1:]))
        return "%s"

    def check(self, known: Collection[str]) -> None:
        """Raise ``TemplateError`` if a placeholder is none of ``known``."""
        for name in self._names:
            if name not in known:
                message = f"{{{name}}} is not known here. Known: {listed(sorted(known), 'and')}."
                raise TemplateError(message, nearest_word(name, known))

    def render(self, values: Mapping[str, str]) -> str:
        """The text, with every placeholder filled in.

        Raises:
            TemplateError: If a value is missing or does not suit a filter.
        """
        try:
            if self._pick is not None:
                return self._pattern % self._pick(values)
            return self._pattern % tuple(
                [self._filtered(values[name], number) for number, name in enumerate(self._names)]
            )
        except KeyError as error:
            name = str(error.args[0])
            raise TemplateError(
                f"{{{name}}} has no value here.", nearest_word(name, values)
            ) from error

    def _filtered(self, value: str, number: int) -> str:
        for change in self._filters[number]:
            value = change(value)
        return value

    def fill(self, values: Mapping[str, str]) -> Template:
        """The template that is left when the names in ``values`` are filled in and the others stay placeholders."""
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
    message = f"{quoted(token)} is no wildcard of the service. It fills in {listed(vendor_limits.WILDCARDS, 'and')}; ours are written without $."
    raise TemplateError(message, nearest_word(token, vendor_limits.WILDCARDS))


def object_name(rendered: str) -> str:
    """A rendered name as an object name: runs of slashes (left by an empty ``{dir}``) become one, and none stands in front."""
    if "//" in rendered:
        rendered = _SLASHES.sub("/", rendered)
    return rendered[1:] if rendered[:1] == "/" else rendered


def parts_of(key: str) -> dict[str, str]:
    """``{object} {dir} {name} {stem} {ext}`` of an object's name. ``dir`` has no slash at the end and is empty at the top."""
    folder, _, name = key.rpartition("/")
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem:
        stem, extension = name, ""
    return {"object": key, "dir": folder, "name": name, "stem": stem, "ext": extension}


PART_NAMES: Final = ("object", "dir", "name", "stem", "ext")
ITEM_NAMES: Final = (*PART_NAMES, "bucket", "region", "index", "variant")
"""Names that a job's templates know besides params and columns. ``index`` counts the objects of a source, from 1."""
