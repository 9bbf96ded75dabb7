"""Check an engine: what it is, if it can be loaded, and if it separates."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import orjson

from orchestrator.domain.wording import listed
from orchestrator.errors import EngineMissing
from orchestrator.separation.child_process import ending, environment, last_output
from orchestrator.separation.install.installed import check_ready, installed_engine
from orchestrator.separation.trial import NOISE_S

if TYPE_CHECKING:
    from orchestrator.commands.examination import Examination
    from orchestrator.domain.engines import EngineChoice

_PATIENCE_S: Final = 300.0
"""Time for the trial; the largest models load in a minute from a cold disk."""


def examine_engine(found: Examination, choice: EngineChoice) -> None:
    """Add what an engine is, how it was loaded, and how long it takes for a piece of noise."""
    with found.checking("engine"):
        check_ready(choice)
        found.add("engine", _facts(choice))
        for step in _trial(choice):
            if "fault" in step:
                raise EngineMissing(step["fault"])
            if "runtime" in step:
                found.add("runtime", f"loads in {step['loaded_s']:.1f} s; {step['runtime']}")
            else:
                took_s, stems = step["separated_s"], listed(step["stems"], "and")
                share = took_s / NOISE_S
                text = f"{NOISE_S} s of noise took {took_s:.2f} s, {share:.3f} of its length"
                found.add("separation", f"{text}; finds {stems}")


def _facts(choice: EngineChoice) -> str:
    if choice.model is not None:
        from orchestrator.separation.engines.loading import recognise

        return f"{choice.model} is {'; '.join(recognise(choice.model).facts)}"
    if choice.plugin:
        from orchestrator.separation.engines.plugins import plugin_entry, plugin_version

        return f"plug-in {plugin_version(plugin_entry(choice.plugin))}"
    return f"weights {installed_engine()}"


def _trial(choice: EngineChoice) -> list[dict[str, Any]]:
    """Return the steps of a trial in a process of its own, which the engine may end."""
    command = [sys.executable, "-P", "-m", "orchestrator.separation.trial"]
    given = orjson.dumps({"model": str(choice.model or ""), "plugin": choice.plugin})
    try:
        done = subprocess.run(  # noqa: S603 - this program
            command,
            input=given,
            capture_output=True,
            env=environment(),
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        fault = (
            f"It took {choice.named} more than {_PATIENCE_S:g} s to load and to separate "
            f"{NOISE_S} s of noise. Run again when this machine is idle, or replace the engine."
        )
        return [{"fault": fault}]
    steps = [orjson.loads(line) for line in done.stdout.splitlines()]
    if done.returncode:
        when = "while it separated noise" if steps else "while it was loaded"
        steps.append({"fault": _death(choice, done, when)})
    return steps


def _death(choice: EngineChoice, done: subprocess.CompletedProcess[bytes], when: str) -> str:
    how, last = ending(done.returncode), last_output(done.stderr)
    remedy = "Install it again" if choice.is_default else "Replace it, or ask its maker"
    return f"The process of {choice.named} was {how} {when}.{last} {remedy}."
