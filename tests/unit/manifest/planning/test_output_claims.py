"""The table of claims, and the records of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.manifest.planning.output_claims import Claims, InMemory, Records

if TYPE_CHECKING:
    from orchestrator.manifest.planning.output_claims import Scratch


class Counting(InMemory):
    """A scratch that counts its bytes."""

    taken = 0

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        self.taken += len(data)
        super().append(data)


few = st.integers(-5, 5)
same_tag = st.integers(-100, 100).map(lambda number: number << 32)
"""Values of one part with one tag: only their records tell them apart."""
anything = st.integers(-(2**63), 2**63 - 1)


def agree(steps: list[tuple[int, bool]], scratch: Scratch) -> None:
    """Check that the claims answer like a dictionary."""
    claims = Claims(scratch)
    known: dict[int, tuple[int, bool]] = {}
    for owner, (value, is_input) in enumerate(steps):
        first = known.setdefault(value, (owner, is_input))
        expected = None if first[0] == owner or (first[1] and is_input) else first

        assert claims.claim(value, owner, is_input=is_input) == expected
    assert len(claims) == len(known)


@given(st.lists(st.tuples(few | same_tag | anything, st.booleans()), max_size=300))
def test_claims_agree_with_a_dictionary(steps: list[tuple[int, bool]]) -> None:
    agree(steps, InMemory())


def test_claims_agree_with_a_dictionary_when_most_are_in_the_scratch() -> None:
    scratch = Counting()

    agree([(number % 1_500 << 14, number % 7 == 0) for number in range(3_000)], scratch)

    assert scratch.taken >= 12 * 1_400


def test_claims_are_found_in_a_large_table() -> None:
    claims = Claims()
    for number in range(20_000):
        assert claims.claim(hash(("bucket", f"name-{number}")), number, is_input=False) is None

    assert all(
        claims.claim(hash(("bucket", f"name-{number}")), 99_999, is_input=False) == (number, False)
        for number in range(20_000)
    )
    assert len(claims) == 20_000


def test_a_claim_takes_less_than_three_bytes_of_memory_in_a_large_table() -> None:
    """A plan of a million jobs, with three million claims, must fit in 200 MB."""
    claims = Claims(Counting())
    parts = 64  # as full as all parts with ten million claims, but in a second
    for number in range(parts * 600):
        claims.claim(
            hash(("name", number)) << 14 & 0x7FFF_FFFF_FFFF_C000 | number % parts,
            number,
            is_input=False,
        )
    before = Claims().size_bytes

    assert (claims.size_bytes - before) / len(claims) < 3


def test_records_are_read_in_any_order_from_memory_and_scratch() -> None:
    scratch = Counting()
    records = Records(scratch)
    for number in range(10_000):
        records.append(hash(str(number)), number * 7)

    assert [records[number] for number in reversed(range(10_000))] == [
        (hash(str(number)), number * 7) for number in reversed(range(10_000))
    ]
    assert scratch.taken == 12 * 8_192
