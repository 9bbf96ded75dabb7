"""Write a first manifest: commented, and ready to run."""

from __future__ import annotations

import csv
import gzip
import os
import re
import shlex
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import orjson

from orchestrator.domain.home import home_folder, with_home
from orchestrator.domain.wording import quoted
from orchestrator.durable import unwritable, write_new
from orchestrator.errors import ConfigError
from orchestrator.manifest.local_buckets import bucket_name
from orchestrator.manifest.manifest import STEMS_BUCKET
from orchestrator.manifest.schema.job_settings import account_bucket_problem, region_problem
from orchestrator.manifest.sources.row_formats import format_of
from orchestrator.manifest.yaml_text import literal, scalar

if TYPE_CHECKING:
    from collections.abc import Callable

REGION_PLACEHOLDER = "REGION"
"""Not a valid region, so that ``validate`` asks for the right one."""
STDOUT = Path("-")
_URL = re.compile(
    r"https?://([a-z0-9-]+)\.cos\.([a-z0-9-]+)\.(?:myqcloud\.com|tencentcos\.cn)/?(.*)"
)
_NAME_COLUMNS = ("object", "path", "file", "filename", "key", "name", "url", "uri")
_MAX_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Draft:
    """A manifest that was written.

    Attributes:
        path: Its file; ``-`` if it goes to standard output.
        text: Its text.
        note: What is left to do before it can run, or empty.
    """

    path: Path
    text: str
    note: str = ""


class _Bucket(NamedTuple):
    """An address of objects; the region is empty if it is not known."""

    bucket: str
    region: str
    prefix: str


def init(source: str | None, output: Path | None = None, region: str | None = None) -> Draft:
    """Write a manifest for a folder, a list file or a prefix of a bucket.

    Args:
        source: ``FOLDER``, ``LIST`` or ``cos://BUCKET/PREFIX``; None for the current folder.
        output: The manifest's file, ``-`` for none; None for a name made from the source, in the
            current folder.
        region: Region of the bucket.

    Raises:
        ConfigError: If the source cannot be used, or the file exists.
    """
    text = "." if source is None else source
    if "://" in text:
        place = _bucket_of(text, region)
        name = _file_name(place.prefix.strip("/").rpartition("/")[2] or place.bucket)
        note = ""
        if not place.region:
            note = "Write the bucket's region in its line region:, for example ap-chongqing."
        return _written(_target(output, name), lambda path: _cloud(place, path), note)
    if region is not None:
        raise ConfigError("--region is only for cos://BUCKET/PREFIX.")
    given = Path(os.path.abspath(with_home(text)))  # noqa: PTH100 - a link keeps its name
    if given.is_dir():
        target = _target(output, _file_name(given.name))
        return _written(target, lambda path: _folder(given, path))
    if given.is_file():
        peek = _peek(given)
        target = _target(output, _file_name(given.name.partition(".")[0]))
        return _written(target, lambda path: _list(given, peek, path))
    raise ConfigError(
        f"{quoted(text, 200)} does not exist. "
        "Name a folder of media, a list file, or cos://BUCKET/PREFIX."
    )


def _file_name(text: str) -> str:
    """Return the name of a manifest, without its extension."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:60]
    return name.lower() or "manifest"


def _target(output: Path | None, name: str) -> Path:
    return Path(f"{name}.yaml") if output is None else with_home(output)


def _written(path: Path, make: Callable[[Path], str], note: str = "") -> Draft:
    """Write the text that ``make`` returns for a path into a new file.

    Raises:
        ConfigError: If the file exists, or cannot be written.
    """
    text = make(path)
    if path == STDOUT:
        return Draft(path, text, note)
    try:
        write_new(path, text.encode())
    except FileExistsError:
        raise ConfigError(
            f"{path} exists, and is not overwritten. Choose another name with -o FILE."
        ) from None
    except OSError as error:
        raise ConfigError(unwritable(path, error, "Choose another name with -o FILE.")) from error
    return Draft(path, text, note)


def _head(path: Path, about: str) -> str:
    shown = "manifest.yaml" if path == STDOUT else shlex.quote(str(path))
    return f"""\
# {about}
#   orchestrator plan {shown}    shows what a run would do
#   orchestrator run {shown}     does it; run it again to resume
version: 1
"""


def _shown_path(target: Path, manifest: Path) -> str:
    """Return a path as the manifest writes it: relative if it is below the manifest's folder."""
    base = Path(os.path.abspath(manifest.parent))  # noqa: PTH100
    if target.is_relative_to(base):
        return str(target.relative_to(base))
    home = home_folder()
    if home is not None and home != base and target.is_relative_to(home) and target != home:
        return f"~/{target.relative_to(home)}"
    return str(target)


def _folder(folder: Path, manifest: Path) -> str:
    bucket = bucket_name(folder, {STEMS_BUCKET})
    base = Path(os.path.abspath(manifest.parent))  # noqa: PTH100
    # Stems in the folder that holds the inputs would be inputs themselves.
    is_inside = folder.is_relative_to(base / STEMS_BUCKET)
    stems = "separated" if is_inside else STEMS_BUCKET
    service = f"{{local: {{buckets: {{stems: {stems}}}}}}}" if is_inside else "local"
    return f"""\
{_head(manifest, "Voice and background of a folder, on this machine, free of charge.")}\
service: {service}

inputs:
  - folder: {scalar(literal(_shown_path(folder, manifest)))}
    # include: ["*.mp3", "2024/*"]    only these files; exclude: leaves some out
    # min_age: 15m                    not those that are still being written

defaults:
  operation:
    audio: {{codec: mp3}}               # mp3, wav, flac, aac or amr
  # The stems are in the folder {stems} beside this file:
  #   {stems}/{bucket}/FILE/voice.mp3 and background.mp3
  # Only voices, under other names:
  # output: {{voice: "{{bucket}}/{{dir}}/{{stem}}.${{ext}}"}}

# service: {{local: {{buckets: {{stems: /mnt/disk/stems}}}}}}    another place for the stems
"""


class _Peek(NamedTuple):
    """Content of a list: the column with the names, and the first name."""

    column: str
    first: str


def _peek(path: Path) -> _Peek:
    """Return what the first lines of a list say.

    Raises:
        ConfigError: If it is not a list, or its names cannot be used here.
    """
    kind = format_of(path.name)
    if kind is None:
        raise ConfigError(
            f"{quoted(path.name)} is neither a folder nor a list (txt, csv, tsv, jsonl, parquet). "
            f"To separate one file: orchestrator separate {shlex.quote(str(path))}"
        )
    if kind == "parquet":
        return _Peek("object", "")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            lines = [file.readline(_MAX_LINE).decode("utf-8-sig").strip("\r\n") for _ in range(2)]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a list: {error}.") from error
    found = _first_name(kind, *lines)
    if found.first.startswith("/"):
        raise ConfigError(
            f"{path} names absolute paths ({quoted(found.first)}). Write them relative to the "
            "folder of the list, or name the files to orchestrator separate."
        )
    return found


def _first_name(kind: str, first: str, second: str) -> _Peek:
    """Return what the first two lines of a list say."""
    if kind == "txt":
        return _Peek("object", first)
    if kind == "jsonl":
        return _of_row(_json_row(first))
    delimiter = "\t" if kind == "tsv" else max(",;", key=first.count)
    names = next(csv.reader([first], delimiter=delimiter), [])
    values = next(csv.reader([second], delimiter=delimiter), [])
    return _of_row(dict(zip_longest(names, values[: len(names)], fillvalue="")))


def _json_row(line: str) -> dict[str, str]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return {str(name): str(value) for name, value in row.items()} if isinstance(row, dict) else {}


def _of_row(row: dict[str, str]) -> _Peek:
    """Return the column that has the names: by its name, else the first one."""
    by_lower = {name.strip().lower(): name for name in reversed(row)}
    column = next((by_lower[name] for name in _NAME_COLUMNS if name in by_lower), None)
    if column is None:
        column = next(iter(row), "object")
    return _Peek(column, row.get(column, ""))


def _list(path: Path, peek: _Peek, manifest: Path) -> str:
    shown = scalar(literal(_shown_path(path, manifest)))
    # A template's name has letters, digits and _.
    is_plain = peek.column == "object" or not re.fullmatch(r"[A-Za-z_]\w*", peek.column, re.ASCII)
    column = "" if is_plain else f'\n    object: "{{{peek.column}}}"'
    bucket = bucket_name(path.parent, {STEMS_BUCKET})
    home = scalar(literal(_shown_path(path.parent, manifest)))
    return f"""\
{_head(manifest, "Voice and background of the files in a list, on this machine, free of charge.")}\
service:
  local:
    buckets:
      {bucket}: {home}    # names in the list start here
      stems: stems                    # the stems go here
bucket: {bucket}

inputs:
  - list: {shown}{column}

defaults:
  operation:
    audio: {{codec: mp3}}               # mp3, wav, flac, aac or amr
  output:
    bucket: stems
    voice: "{{object}}/voice.${{ext}}"
    background: "{{object}}/background.${{ext}}"
"""


def _bucket_of(text: str, region: str | None) -> _Bucket:
    """Return the place that an address names.

    Raises:
        ConfigError: If it is not an address of a bucket, or its region is not valid.
    """
    if match := _URL.fullmatch(text):
        found = _Bucket(match[1], match[2], match[3])
    elif text.lower().startswith("cos://"):
        bucket, _, prefix = text[len("cos://") :].partition("/")
        found = _Bucket(bucket, "", prefix)
    else:
        raise ConfigError(f"{quoted(text, 200)} is not an address such as cos://BUCKET/PREFIX.")
    found = found._replace(region=region or found.region)
    problem = account_bucket_problem(found.bucket) or (
        region_problem(found.region) if found.region else None
    )
    if problem is not None:
        hint = f" Did you mean {problem.hint}?" if problem.hint else ""
        raise ConfigError(f"{text}: {problem.message}{hint}")
    return found


def _cloud(place: _Bucket, manifest: Path) -> str:
    own = 'exclude: ["stems/*"]              # the stems'
    exclude = f"\n    {own}" if "stems/".startswith(place.prefix) else ""
    note = "" if place.region else "    # write the bucket's region here, for example ap-chongqing"
    return f"""\
{_head(manifest, "Voice and background of objects, at Tencent Cloud CI. EVERY JOB COSTS MONEY.")}\
service: tencent                      # with TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY
bucket: {place.bucket}
region: {place.region or REGION_PLACEHOLDER}{note}

inputs:
  - prefix: {scalar(literal(place.prefix))}{exclude}
    # include: ["*.mp3", "*.wav"]     only these objects

defaults:
  operation:
    audio: {{codec: mp3}}               # mp3, wav, flac, aac or amr
  output:
    voice: "stems/{{object}}/voice.${{ext}}"
    background: "stems/{{object}}/background.${{ext}}"

canary: 3                             # three jobs must succeed before the rest is sent
# budget: {{max_cost: 40, max_failures: 5%}}
"""
