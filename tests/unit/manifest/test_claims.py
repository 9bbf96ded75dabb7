"""The table of claims."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.claims import Claims


@given(st.lists(st.tuples(st.integers(-5, 5) | st.integers(-(2**63), 2**63 - 1), st.booleans()), max_size=300))
def test_claims_agree_with_a_dictionary(steps: list[tuple[int, bool]]) -> None:
    claims = Claims()
    known: dict[int, tuple[int, bool]] = {}
    for owner, (value, is_input) in enumerate(steps):
        first = known.setdefault(value, (owner, is_input))
        expected = None if first[0] == owner or (first[1] and is_input) else first

        assert claims.claim(value, owner, is_input=is_input) == expected


def test_claims_survive_growing() -> None:
    claims = Claims()
    for number in range(20_000):
        assert claims.claim(hash(("bucket", f"name-{number}")), number, is_input=False) is None

    assert all(claims.claim(hash(("bucket", f"name-{number}")), 99_999, is_input=False) == (number, False) for number in range(20_000))
    assert len(claims) == 20_000
