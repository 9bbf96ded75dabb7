"""Names that scripts of users depend on, spelt out: a rename in the code must not reach them."""

from __future__ import annotations

from orchestrator.manifest.planning.forecast import PLAN_SCHEMA
from orchestrator.reporting.row import ROW_SCHEMA
from orchestrator.reporting.summary import SUMMARY_SCHEMA


def test_the_schemas_of_what_is_written_keep_their_names() -> None:
    assert ROW_SCHEMA == "orchestrator.report/1"
    assert SUMMARY_SCHEMA == "orchestrator.summary/1"
    assert PLAN_SCHEMA == "orchestrator.plan/1"
