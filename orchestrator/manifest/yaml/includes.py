"""The manifest and its included files as one document, with the place of each value."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path as FilePath
from typing import Any, NoReturn

from orchestrator.domain.media_files import is_media
from orchestrator.domain.wording import nearest_word, quoted
from orchestrator.errors import Fault, ManifestError
from orchestrator.manifest.diagnostics import FILE_LENGTH
from orchestrator.manifest.yaml.document import Document, Mark, Path, decode, render_path

MAX_FILE_BYTES = 64 * 1024 * 1024
"""A manifest with 100,000 objects has about 10 MB; a list file is better for more."""
MAX_INCLUDES = 50
_LISTS = ("inputs", "rules")
_WHOLE = ("service", "callback", "window")
"""Keys whose value is replaced as a whole, because a mixture of two would have no meaning."""


class Files:
    """All files of a manifest: the innermost include first, the manifest itself last.

    Args:
        path: The manifest.
        content: Its content, if that is not in the file.

    Attributes:
        data: Their data. Mappings are merged, and a later file wins; ``inputs`` and ``rules`` are
            joined.

    Raises:
        ManifestError: If a file cannot be read, is not YAML, or includes itself.
    """

    def __init__(self, path: FilePath, content: bytes | None = None) -> None:
        self.path = path
        self._content = content
        self._documents: list[tuple[Document, FilePath]] = []
        self._open: list[FilePath] = []
        self._read(path, str(path), None)
        self.data: dict[str, Any] = {}
        self._starts: dict[str, list[int]] = {key: [] for key in _LISTS}
        for document, _ in self._documents:
            self._join(document)

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
            message = "The file is empty. Begin with 'version: 1' and 'inputs:'."
            raise ManifestError([Fault(message, file=shown)])
        if not isinstance(document.data, dict):
            message = "A manifest is a mapping with keys such as inputs: and defaults:, "
            raise ManifestError([Fault(f"{message}not a list or text.", shown, 1, 1)])
        for index, other in enumerate(_includes(document)):
            mark = document.mark(("include", index))
            asked_here = Fault("", shown, mark.line, mark.column, "include")
            self._read(path.parent / other, str(FilePath(shown).parent / other), asked_here)
        self._documents.append((document, path.parent))
        self._open.pop()

    def _bytes(self, path: FilePath, shown: str, asked: Fault | None) -> bytes:
        if asked is None and self._content is not None:
            return self._content
        name = quoted(shown, FILE_LENGTH)
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            self._refuse(asked, f"The file {name} does not exist.{_near(path, asked)}", shown)
        except IsADirectoryError:
            way = f" To separate its media: orchestrator separate {shlex.quote(shown)}"
            text = f"{name} is a folder, not a manifest. Name a file in it.{'' if asked else way}"
            self._refuse(asked, text, shown)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            self._refuse(asked, f"The file {name} cannot be read: {reason}.", shown)
        if asked is None and is_media(path.name):
            way = f"To separate it: orchestrator separate {shlex.quote(shown)}"
            self._refuse(asked, f"{name} is a media file, not a manifest. {way}", shown)
        if len(raw) > MAX_FILE_BYTES:
            message = f"The file has more than {MAX_FILE_BYTES // 2**20} MiB. Put the objects into"
            self._refuse(asked, f"{message} a list file (inputs: [{{list: objects.csv}}]).", shown)
        return raw

    @staticmethod
    def _refuse(asked: Fault | None, message: str, shown: str = "") -> NoReturn:
        if asked is None:
            is_named = quoted(shown, FILE_LENGTH) in message
            raise ManifestError([Fault(message, file="" if is_named else shown)])
        raise ManifestError([Fault(message, asked.file, asked.line, asked.column, asked.path)])

    # --- joining

    def _join(self, document: Document) -> None:
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
        """Return the document with the value at ``path``, its folder, and the path inside it."""
        if path and path[0] in _LISTS and len(path) > 1 and isinstance(path[1], int):
            key, index = str(path[0]), path[1]
            starts = enumerate(self._starts[key])
            number = max(
                (n for n, start in starts if start <= index and self._has_list(n, key)), default=-1
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
        """Return file and line of an item of ``inputs`` or ``rules``, without a second reading."""
        document, _, inner = self.document_of((key, index))
        return document.file, document.item_line(key, int(inner[1]))

    def where(self, path: Path, *, key: bool = False) -> tuple[str, Mark]:
        """Return file and mark of the value (or key) at ``path``."""
        document, _, inner = self.document_of(path)
        return document.file, document.mark(inner, key=key)

    def folder_of(self, path: Path) -> FilePath:
        """Return the folder that a relative path at ``path`` starts from."""
        return self.document_of(path)[1]

    def fault(self, message: str, path: Path, *, hint: str = "", key: bool = False) -> Fault:
        """Return a fault at the place of ``path``."""
        file, mark = self.where(path, key=key)
        return Fault(message, file, mark.line, mark.column, render_path(path), hint)

    def texts(self) -> list[tuple[str, str]]:
        """Return name and text of every file."""
        return [(document.file, document.text) for document, _ in self._documents]


def _includes(document: Document) -> list[str]:
    named = document.data.get("include")
    if named is None:
        return []
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        mark = document.mark(("include",))
        message = "include needs a file name, or a list of file names."
        raise ManifestError([Fault(message, document.file, mark.line, mark.column, "include")])
    return names


def _merged(below: Any, above: Any) -> Any:
    """Merge mappings key by key; replace other values."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    result = dict(below)
    for key, value in above.items():
        if key == "operation":
            below_it = result.get(key)
            # A template replaces inline parameters and the other way round: they never mix.
            is_other_kind = (
                isinstance(below_it, dict)
                and isinstance(value, dict)
                and ("template_id" in below_it) != ("template_id" in value)
            )
            result[key] = value if is_other_kind else _merged(below_it, value)
        elif value is not None or key not in result:
            result[key] = value if key in _WHOLE else _merged(result.get(key), value)
    return result


def _near(path: FilePath, asked: Fault | None) -> str:
    """Return the next step for a manifest that does not exist: the one that was meant, if any."""
    with suppress(OSError):
        others = {other.stem: other.name for other in path.parent.glob("*.y*ml")}
        if near := nearest_word(path.stem, others):
            return f" Did you mean {others[near]}?"
    return "" if asked else " To write one: orchestrator init"
