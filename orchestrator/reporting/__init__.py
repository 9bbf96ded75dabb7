"""Results of a run for people and programs: report, row schema, summary."""
