"""Example manifests that come with the package, each with what it needs to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.commands.options import check_word
from orchestrator.domain.home import with_home
from orchestrator.durable import unwritable, write_new
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES: Final = {
    "demo": "a first run: eight short files, separated on this machine",
    "matrix": "several jobs per object: archive and preview; on this machine",
    "from-list": "objects and their properties from a table; on this machine",
    "library": "a whole library, once: filters, lossless stays lossless",
    "nightly": "every night from cron: only what is new or changed",
    "backfill": "a backfill by year, at night, within a budget",
    "two-buckets": "two buckets in two regions",
    "template-id": "a template of the account",
    "callback": "notify other systems when a job ends",
}
"""Subject of each example, in the order in which they are worth reading."""
_WITH_MEDIA: Final = ("demo", "matrix", "from-list")
_WITH_LISTS: Final = ("from-list",)
_SCHEMA_LINE: Final = "# yaml-language-server:"


@dataclass(frozen=True, slots=True)
class Example:
    """An example that was written.

    Attributes:
        path: The manifest.
        others: Number of files that it needs, beside it.
        is_new: Something was written; else all of it was there.
    """

    path: Path
    others: int
    is_new: bool


def example_text(name: str) -> str:
    """Return the manifest of an example, as it is beside its media.

    Raises:
        ConfigError: If there is no such example.
    """
    check_word("--example", name, EXAMPLES)
    text = (_folder() / f"{name}.yaml").read_text("utf-8").replace("manifests/", "")
    lines = text.splitlines(keepends=True)
    # The file of the schema is not there.
    return "".join(line for line in lines if not line.startswith(_SCHEMA_LINE))


def write_example(name: str, output: Path | None = None) -> Example:
    """Write an example with its lists and media; never overwrite a file with other content.

    Args:
        name: One of :data:`EXAMPLES`.
        output: The manifest, or a folder for it; None for ``NAME.yaml`` in the current folder.

    Raises:
        ConfigError: If there is no such example, a file exists, or cannot be written.
    """
    text = example_text(name)
    path = Path(f"{name}.yaml") if output is None else with_home(output)
    if path.is_dir() or path.suffix not in {".yaml", ".yml"}:
        path = path / f"{name}.yaml"
    source, wanted = _folder(), {path: text.encode()}
    for file in _needed(name, source):
        wanted[path.parent / file.relative_to(source)] = file.read_bytes()
    missing = [target for target in wanted if not target.exists()]
    for target, content in wanted.items():
        if target not in missing and not (target.is_file() and target.read_bytes() == content):
            raise ConfigError(
                f"{target} exists, and is not overwritten. Choose another folder with -o DIR."
            )
    try:
        for target in missing:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_new(target, wanted[target])
    except OSError as error:
        blocked = error.filename or path
        raise ConfigError(
            unwritable(blocked, error, "Choose another folder with -o DIR.")
        ) from error
    return Example(path, len(wanted) - 1, is_new=bool(missing))


def _folder() -> Path:
    """Return the folder of the examples: inside the package, or in its repository."""
    package = Path(__file__).resolve().parents[1]
    packed = package / "examples"
    return packed if packed.is_dir() else package.parent / "manifests"


def _needed(name: str, source: Path) -> Iterator[Path]:
    if name in _WITH_LISTS:
        yield from sorted((source / "lists").iterdir())
    if name in _WITH_MEDIA:
        yield from sorted((source / "media").glob("*/input/*"))
