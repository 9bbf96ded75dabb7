"""Voice-separation templates: stored, listed, and used in jobs."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.domain.spec import AudioConfig, AudioMode
from orchestrator.server.http import xml
from orchestrator.server.http.errors import Refusal, invalid_argument
from orchestrator.server.jobs.ids import vendor_time
from orchestrator.server.jobs.row import TAG
from orchestrator.server.jobs.sound import Sound, read_sound
from orchestrator.server.jobs.submit_request import Template

if TYPE_CHECKING:
    from orchestrator.server.http.xml import Node, Tree
    from orchestrator.server.jobs.database import Database

_NAME = re.compile(r"[\w*-]{1,64}")  # letters (also Chinese ones), digits, _ - *
_COLUMNS = "template_id, bucket, name, body, created_at, updated_at"


@dataclass(frozen=True, slots=True)
class StoredTemplate:
    """One stored template."""

    template_id: str
    bucket: str
    name: str
    sound: Sound
    created_at: float
    updated_at: float

    def tree(self) -> dict[str, Tree]:
        """Return ``Template``; it wraps the parameters in ``VoiceSeparate``, unlike the request."""
        return {
            "Tag": TAG,
            "TemplateId": self.template_id,
            "Name": self.name,
            "BucketId": self.bucket,
            "Category": "Custom",
            "VoiceSeparate": self.sound.echo,
            "CreateTime": vendor_time(self.created_at),
            "UpdateTime": vendor_time(self.updated_at),
        }


def read(root: Node) -> tuple[str, Sound]:
    """Parse a create or update request into name and parameters.

    Raises:
        Refusal: ``InvalidArgument``.
    """
    tag = xml.value(root, "Tag")
    if tag != TAG:
        raise invalid_argument(f"Tag is {tag[:40]!r}; this service keeps {TAG} templates only.")
    name = xml.value(root, "Name")
    if not _NAME.fullmatch(name):
        raise invalid_argument("Name must have 1 to 64 letters, digits, _, - or *.")
    return name, read_sound(root, mode_required=True)


class Templates:
    """All templates."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, template_id: str) -> Template:
        """Return a job's template, of any bucket (the vendor documents no restriction).

        Raises:
            Refusal: ``TemplateNotFound``.
        """
        stored = self.get(template_id)
        return Template(stored.template_id, stored.name, stored.sound)

    def get(self, template_id: str, bucket: str = "") -> StoredTemplate:
        """Return a template, of the given bucket if one is given.

        Raises:
            Refusal: ``TemplateNotFound``.
        """
        sql = f"SELECT {_COLUMNS} FROM templates WHERE template_id = ?"  # noqa: S608
        for row in self._database.read(sql, (template_id,)):
            stored = _load(row)
            if not bucket or stored.bucket == bucket:
                return stored
        raise Refusal("TemplateNotFound", f"The template {template_id[:40]!r} does not exist.")

    def page(
        self, bucket: str, prefix: str, page: int, size: int
    ) -> tuple[int, list[StoredTemplate]]:
        """Count the templates with a name prefix, and return one page of them, oldest first."""
        where = "WHERE bucket = ? AND substr(name, 1, ?) = ?"
        values = (bucket, len(prefix), prefix)
        sql = f"SELECT COUNT(*) FROM templates {where}"  # noqa: S608 - constant text
        total = self._database.read(sql, values)[0][0]
        sql = f"""SELECT {_COLUMNS} FROM templates {where}
            ORDER BY created_at, template_id LIMIT ? OFFSET ?"""  # noqa: S608 - constant text
        rows = self._database.read(sql, (*values, size, (page - 1) * size))
        return total, [_load(row) for row in rows]

    async def save(self, stored: StoredTemplate) -> None:
        """Create or replace a template.

        Raises:
            Refusal: ``TemplateNameDuplicate``.
        """
        sound = stored.sound
        body = orjson.dumps({"mode": sound.mode.value, "audio": sound.audio, "echo": sound.echo})
        names = (stored.template_id, stored.bucket, stored.name)
        values = (*names, body, stored.created_at, stored.updated_at)
        sql = """INSERT INTO templates VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (template_id) DO UPDATE
            SET name = excluded.name, body = excluded.body, updated_at = excluded.updated_at"""
        try:
            await self._database.execute(sql, values)
        except sqlite3.IntegrityError:
            raise Refusal(
                "TemplateNameDuplicate",
                f"{stored.bucket} has another template named {stored.name!r}.",
            ) from None

    async def delete(self, template_id: str) -> None:
        """Delete a template; its jobs keep their parameters."""
        await self._database.execute("DELETE FROM templates WHERE template_id = ?", (template_id,))

    async def clear(self) -> None:
        """Delete every template."""
        await self._database.execute("DELETE FROM templates")


def _load(row: tuple[Any, ...]) -> StoredTemplate:
    template_id, bucket, name, raw, created_at, updated_at = row
    body = orjson.loads(raw)
    sound = Sound(AudioMode(body["mode"]), AudioConfig(**body["audio"]), body["echo"])
    return StoredTemplate(template_id, bucket, name, sound, created_at, updated_at)
