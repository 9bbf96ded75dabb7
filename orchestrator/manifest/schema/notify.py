"""Notifications when a run has ended: to whom, and after which runs."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, WithJsonSchema

from orchestrator.manifest.schema.job_settings import Part
from orchestrator.manifest.schema.value_types import Text, one_of, refuse

Occasion = Literal["failed", "stopped", "always"]
_VARIABLE = r"^env:[A-Za-z_][A-Za-z0-9_]*$"


def _target(value: str) -> str:
    if not re.match(_VARIABLE, value):
        refuse(
            "A notification address is a secret, so it is not written in a manifest. Put it into "
            "an environment variable, and name that: to: env:ORCHESTRATOR_NOTIFY_URL."
        )
    return value


class NotifySettings(Part):
    """A notification when a run has ended."""

    to: Annotated[
        Text,
        AfterValidator(_target),
        WithJsonSchema({"type": "string", "pattern": _VARIABLE}),
        Field(examples=["env:ORCHESTRATOR_NOTIFY_URL"]),
    ]
    """Environment variable that holds the address, as an apprise URL (mailto://, slack://, ...)."""
    on: Annotated[Occasion, one_of(get_args(Occasion), "occasion")] = "failed"
    """failed: the exit code is not 0. stopped: the run did not get to its end. always: each run."""

    @property
    def variable(self) -> str:
        """Name of the environment variable."""
        return self.to.removeprefix("env:")
