"""A fault script is parsed strictly, and plays the same way with the same seed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from orchestrator.domain.clock import SystemClock
from orchestrator.errors import ManifestError
from orchestrator.server.faults.player import FaultPlayer
from orchestrator.server.faults.script import Do, Faults, Route, Rule
from orchestrator.server.pace import Pace
from orchestrator.server.settings import LocalSettings
from tests.repository import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
seed: 7
max_concurrent: 50
progression: {pace: seconds, finish_after: 2, media_s: 180}
listing_lag_s: 3
callbacks: {lose: 0.1, double: 0.2}
faults:
  - {route: submit, do: refuse, code: SlowDown, retry_after_s: 2, times: 3}
  - {route: any, do: lose_answer, share: 0.5}
"""


def load(tmp_path: Path, text: str) -> Faults:
    path = tmp_path / "faults.yaml"
    path.write_text(text)
    return Faults.load(path)


def test_a_script_is_read_and_changes_the_settings(tmp_path: Path) -> None:
    faults = load(tmp_path, SCRIPT)
    settings = LocalSettings(tmp_path).with_faults(faults)

    assert faults.rules[0] == Rule(Route.SUBMIT, Do.REFUSE, "SlowDown", retry_after_s=2, times=3)
    assert settings.faults is faults
    assert (settings.seed, settings.max_concurrent, settings.progression.pace) == (
        7,
        50,
        Pace.SECONDS,
    )
    assert settings.progression.media_s == 180


def test_the_script_in_the_documentation_is_valid() -> None:
    page = (REPOSITORY / "docs" / "local-service.md").read_text()
    (example,) = re.findall("```yaml\n(.*?)```", page, re.DOTALL)

    faults = Faults.parse(yaml.safe_load(example))

    assert len(faults.rules) == 3
    assert faults.progression is not None


def test_an_empty_script_has_no_faults(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Faults()


def test_every_mistake_is_reported_with_its_position_and_the_nearest_word(tmp_path: Path) -> None:
    text = (
        "faults:\n  - {rout: submit, do: refus, share: 2, times: -1, code: SlowDwn}\n"
        "progression: {pace: sometimes}\nseeed: 1\n"
    )
    with pytest.raises(ManifestError) as wrong:
        load(tmp_path, text)

    message = str(wrong.value)
    for part in (
        "faults[0]",
        'Did you mean "route"?',
        'Did you mean "refuse"?',
        "faults[0].share",
        "faults[0].times",
        'Did you mean "SlowDown"?',
        "progression.pace",
        'Did you mean "seed"?',
        "faults.yaml",
    ):
        assert part in message


@pytest.mark.parametrize(
    "text",
    [
        "faults: {",
        "- 1",
        "faults: 3",
        "faults: [x]",
        "callbacks: no",
        "listing_lag_s: soon",
        "seed: true",
    ],
)
def test_nonsense_is_refused_without_a_traceback(tmp_path: Path, text: str) -> None:
    with pytest.raises(ManifestError):
        load(tmp_path, text)


def test_a_missing_script_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"nothing\.yaml"):
        Faults.load(tmp_path / "nothing.yaml")


def draws(faults: Faults, count: int, seed: int = 7) -> list[str]:
    player = FaultPlayer(faults, SystemClock(), seed)
    return [rule.do.value if (rule := player.draw(Route.SUBMIT)) else "" for _ in range(count)]


def test_the_same_seed_draws_the_same_faults() -> None:
    faults = Faults((Rule(do=Do.DROP, share=0.3),))

    assert draws(faults, 200) == draws(faults, 200)
    assert draws(faults, 200) != draws(faults, 200, seed=8)
    assert 30 < draws(faults, 200).count("drop") < 90


def test_skip_and_times_bound_a_rule_and_the_next_one_follows() -> None:
    faults = Faults(
        (
            Rule(do=Do.DROP, skip=1, times=2),
            Rule(Route.QUERY),
            Rule(Route.SUBMIT, Do.GARBLE, skip=4),
        )
    )

    assert draws(faults, 8) == ["", "drop", "drop", "", "", "", "garble", "garble"]
