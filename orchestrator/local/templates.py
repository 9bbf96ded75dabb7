"""Stored voice-separation templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.local.jobrequest import Sound, Template
from orchestrator.local.refusal import Refusal
from orchestrator.model import AudioConfig, AudioMode

if TYPE_CHECKING:
    from orchestrator.local.database import Database

COLUMNS = "template_id, bucket, name, body, created_at, updated_at"


class Templates:
    """All templates, by id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def row(self, template_id: str) -> tuple[Any, ...] | None:
        """The stored row (``COLUMNS``), or None."""
        rows = self._database.read(f"SELECT {COLUMNS} FROM templates WHERE template_id = ?", (template_id,))  # noqa: S608 - our own words only
        return rows[0] if rows else None

    def find(self, template_id: str) -> Template:
        """A template that a job names; those of other buckets count too (the vendor does not say otherwise).

        Raises:
            Refusal: ``TemplateNotFound``.
        """
        row = self.row(template_id)
        if row is None:
            raise Refusal("TemplateNotFound", f"The template {template_id[:40]!r} does not exist.")
        body = orjson.loads(row[3])
        return Template(row[0], row[2], Sound(AudioMode(body["mode"]), AudioConfig(**body["audio"]), body["echo"]))
