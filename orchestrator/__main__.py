"""``python -m orchestrator`` is the command."""

from orchestrator.cli import main

main()
