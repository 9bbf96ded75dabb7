"""Settings of the report: where it goes, in which form, and how many are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from orchestrator.manifest.schema.job_settings import Part
from orchestrator.manifest.schema.value_types import Integer, Text, Truth, one_of

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

Rows = Literal["changed", "all"]


class ReportSettings(Part):
    """The report of a run."""

    path: Annotated[Text, Field(min_length=1)] = "reports/{run}.jsonl"
    """Report file, relative to the manifest; {run} is the id of the run. A name that ends in .gz is
    compressed when the run has ended."""
    rows: Annotated[Rows, one_of(get_args(Rows), "choice of rows")] = "changed"
    """changed: a row for each job that the run worked on. all: also one for each job that was done
    in an earlier run (state skipped)."""
    html: Truth = False
    """Also write the report as a page beside it, when the run ends or stops: with players,
    waveforms and a timeline. It opens in a browser, without a network."""
    keep: Annotated[Integer, Field(ge=1)] | None = Field(default=None, examples=[30])
    """Number of the latest reports that are kept; older ones of this ledger are deleted, with their
    summaries, when a run has ended. All are kept if left out."""


def _in_full(value: Any) -> Any:
    """Return a plain path as a mapping."""
    return {"path": value} if isinstance(value, str) else value


class _OrPath:
    """Allow a plain path in the JSON Schema."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        path = {"type": "string", "minLength": 1, "examples": ["reports/{run}.jsonl"]}
        return {"anyOf": [path, handler(schema)]}


AnyReport = Annotated[ReportSettings, BeforeValidator(_in_full), _OrPath()]
"""A report in a manifest: a path, or a mapping."""
