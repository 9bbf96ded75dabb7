"""The manifest's file and the files that it includes, as one document that still knows where each value stands."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any, NoReturn

from orchestrator.domain.wording import quoted
from orchestrator.errors import Fault, ManifestError
from orchestrator.manifest.diagnostics import FILE_LENGTH
from orchestrator.manifest.yaml.document import Document, Mark, Path, decode, render_path

MAX_FILE_BYTES = 64 * 1024 * 1024
"""A manifest of 100,000 written-out objects has about 10 MB; beyond that a list file is the better place."""
MAX_INCLUDES = 50
_LISTS = ("inputs", "rules")
_WHOLE = ("service", "callback", "window")
"""Keys whose value is replaced as a whole: two halves of them would not make sense together."""


class Files:
    """All files of a manifest, the innermost include first, the manifest itself last.

    Args:
        path: The manifest.

    Attributes:
        data: What they say together: mappings are merged (a later file wins), ``inputs`` and ``rules`` are joined.

    Raises:
        ManifestError: If a file cannot be read, is not YAML, or includes itself.
    """

    def __init__(self, path: FilePath) -> None:
        self.path = path
        self._documents: list[tuple[Document, FilePath]] = []
        self._open: list[FilePath] = []
        self._read(path, str(path), None)
        self.data: dict[str, Any] = {}
        self._starts: dict[str, list[int]] = {key: [] for key in _LISTS}
        for document, _ in self._documents:
            self._lay_over(document)

    # --- reading

    def _read(self, path: FilePath, shown: str, asked: Fault | None) -> None:
        resolved = path.resolve()
        if resolved in self._open:
            self._refuse(asked, f"{quoted(shown, FILE_LENGTH)} includes itself.")
        if len(self._documents) >= MAX_INCLUDES:
            self._refuse(asked, f"More than {MAX_INCLUDES} files are included.")
        self._open.append(resolved)
        document = Document(shown, decode(shown, self._bytes(path, shown, asked)))
        if document.data is None:
            raise ManifestError(
                [Fault("The file is empty. Begin with 'version: 1' and 'inputs:'.", file=shown)]
            )
        if not isinstance(document.data, dict):
            text = "A manifest is a mapping with keys such as inputs: and defaults:, not a list or a text."
            raise ManifestError([Fault(text, shown, 1, 1)])
        for index, other in enumerate(_includes(document)):
            mark = document.mark(("include", index))
            asked_here = Fault("", shown, mark.line, mark.column, "include")
            self._read(path.parent / other, str(FilePath(shown).parent / other), asked_here)
        self._documents.append((document, path.parent))
        self._open.pop()

    def _bytes(self, path: FilePath, shown: str, asked: Fault | None) -> bytes:
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            self._refuse(asked, f"The file {quoted(shown, FILE_LENGTH)} does not exist.", shown)
        except IsADirectoryError:
            self._refuse(
                asked,
                f"{quoted(shown, FILE_LENGTH)} is a folder, not a manifest. Name the file in it.",
                shown,
            )
        except (OSError, ValueError) as error:
            self._refuse(
                asked,
                f"The file {quoted(shown, FILE_LENGTH)} cannot be read: {getattr(error, 'strerror', None) or error}.",
                shown,
            )
        if len(raw) > MAX_FILE_BYTES:
            self._refuse(
                asked,
                f"The file has more than {MAX_FILE_BYTES // 2**20} MB. Put the objects into a list file (inputs: [{{list: objects.csv}}]).",
                shown,
            )
        return raw

    @staticmethod
    def _refuse(asked: Fault | None, message: str, shown: str = "") -> NoReturn:
        if asked is None:
            raise ManifestError(
                [Fault(message, file="" if quoted(shown, FILE_LENGTH) in message else shown)]
            )
        raise ManifestError([Fault(message, asked.file, asked.line, asked.column, asked.path)])

    # --- joining

    def _lay_over(self, document: Document) -> None:
        for key in _LISTS:
            known = self.data.get(key)
            self._starts[key].append(len(known) if isinstance(known, list) else 0)
        for key, value in document.data.items():
            if key == "include":
                self.data[key] = value
            elif key in _LISTS and isinstance(value, list) and isinstance(self.data.get(key), list):
                self.data[key] = self.data[key] + value
            elif value is None and key in self.data:
                continue
            else:
                self.data[key] = value if key in _WHOLE else _merged(self.data.get(key), value)

    # --- places

    def document_of(self, path: Path) -> tuple[Document, FilePath, Path]:
        """The document that says the value at ``path``, its folder, and the path inside that document."""
        if path and path[0] in _LISTS and len(path) > 1 and isinstance(path[1], int):
            key, index = str(path[0]), path[1]
            number = max(
                (
                    n
                    for n, start in enumerate(self._starts[key])
                    if start <= index and self._has_list(n, key)
                ),
                default=-1,
            )
            document, folder = self._documents[number]
            return document, folder, (key, index - self._starts[key][number], *path[2:])
        for length in range(len(path), 0, -1):
            for document, folder in reversed(self._documents):
                if document.has(path[:length]):
                    return document, folder, path
        document, folder = self._documents[-1]
        return document, folder, path

    def _has_list(self, number: int, key: str) -> bool:
        return bool(self._documents[number][0].data.get(key))

    def item(self, key: str, index: int) -> tuple[str, int]:
        """File and line of one item of ``inputs`` or ``rules``, without reading the file again."""
        document, _, inner = self.document_of((key, index))
        return document.file, document.lines.line(key, int(inner[1]))

    def where(self, path: Path, *, key: bool = False) -> tuple[str, Mark]:
        """File and mark of the value (or key) at ``path``."""
        document, _, inner = self.document_of(path)
        return document.file, document.mark(inner, key=key)

    def folder_of(self, path: Path) -> FilePath:
        """The folder to which a relative path at ``path`` is relative."""
        return self.document_of(path)[1]

    def fault(self, message: str, path: Path, *, hint: str = "", key: bool = False) -> Fault:
        """A fault at the place of ``path``."""
        file, mark = self.where(path, key=key)
        return Fault(message, file, mark.line, mark.column, render_path(path), hint)

    def texts(self) -> list[tuple[str, str]]:
        """Name and text of every file."""
        return [(document.file, document.text) for document, _ in self._documents]


def _includes(document: Document) -> list[str]:
    named = document.data.get("include")
    if named is None:
        return []
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        mark = document.mark(("include",))
        raise ManifestError(
            [
                Fault(
                    "include takes a file name, or a list of them.",
                    document.file,
                    mark.line,
                    mark.column,
                    "include",
                )
            ]
        )
    return names


def _merged(below: Any, above: Any) -> Any:
    """``above`` laid over ``below``: mappings key by key, all else replaced."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    result = dict(below)
    for key, value in above.items():
        if key == "operation":
            result[key] = _merged_operation(result.get(key), value)
        elif value is not None or key not in result:
            result[key] = value if key in _WHOLE else _merged(result.get(key), value)
    return result


def _merged_operation(below: Any, above: Any) -> Any:
    """A template replaces inline parameters and the other way round: the two never mix."""
    if (
        isinstance(below, dict)
        and isinstance(above, dict)
        and ("template_id" in below) != ("template_id" in above)
    ):
        return above
    return _merged(below, above)
