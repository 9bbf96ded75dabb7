"""Jobs that no line of the manifest names, as the ledger keeps them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.remote import RemoteJob, RemoteState
from orchestrator.domain.spec import key_of_user_data
from orchestrator.runner.settling.unnamed_jobs import MOST_UNNAMED, decoded, encoded

TEXTS = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20)


@given(
    st.lists(
        st.builds(
            RemoteJob,
            job_id=TEXTS,
            state=st.sampled_from([RemoteState.RUNNING, RemoteState.SUCCEEDED]),
            queue_id=TEXTS,
            created_at=st.none() | st.floats(0, 4e9),
            user_data=TEXTS.map(lambda text: f" {text} my own"),
        ),
        max_size=5,
    )
)
def test_what_is_needed_to_adopt_a_job_is_kept(jobs: list[RemoteJob]) -> None:
    kept = decoded(encoded(jobs))

    assert [(job.job_id, job.queue_id, job.created_at) for job in kept] == [
        (job.job_id, job.queue_id, job.created_at) for job in jobs
    ]
    assert [job.user_data for job in kept] == [key_of_user_data(job.user_data) for job in jobs]


def test_nothing_kept_is_no_job() -> None:
    assert decoded(None) == []
    assert decoded(encoded([])) == []


def test_the_state_of_a_kept_job_is_not_believed() -> None:
    job = RemoteJob("j1", RemoteState.FAILED, user_data="v1.a")

    assert decoded(encoded([job]))[0].state is RemoteState.UNKNOWN


def test_the_most_that_is_kept_is_about_a_megabyte() -> None:
    job = RemoteJob(
        f"j{'0' * 32}",
        RemoteState.RUNNING,
        queue_id=f"p{'0' * 32}",
        created_at=1_700_000_000.123,
        user_data=f"v1.{'a' * 26}",
    )

    assert len(encoded([job] * MOST_UNNAMED)) < 1_500_000
