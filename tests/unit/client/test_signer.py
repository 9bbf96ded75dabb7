"""The signer corrects its clock and its key once, and knows when that was not the reason."""

from __future__ import annotations

import pytest

from orchestrator.client.credentials import Static
from orchestrator.client.endpoint import Endpoint
from orchestrator.client.signer import Signed, Signer
from orchestrator.client.wire.request import head_request
from orchestrator.client.wire.signature import Credentials
from orchestrator.domain.spec import Place
from orchestrator.errors import (
    ApiAnswer,
    AuthRejected,
    ClockSkewed,
    CredentialsExpired,
    Rejected,
    Throttled,
)

REQUEST = head_request(Place("b-1250000000", "ap-chongqing"), "a")
ANSWER = ApiAnswer(403, "RequestTimeTooSkewed", "text")


class SetClock:
    """Time that is set by hand."""

    def __init__(self, at: float) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, delay_s: float) -> None:
        self.at += delay_s


class Rotating:
    """Source of one key pair after the other, and then the last again."""

    def __init__(self, *credentials: Credentials) -> None:
        self.credentials = list(credentials)
        self.loads = 0

    def load(self) -> Credentials:
        self.loads += 1
        return self.credentials.pop(0) if len(self.credentials) > 1 else self.credentials[0]


def signer(clock: SetClock, *credentials: Credentials) -> Signer:
    return Signer(Endpoint(), Rotating(*(credentials or (Credentials("AKID", "secret"),))), clock)


def window(signed: Signed) -> str:
    return signed.prepared.headers["authorization"].partition("q-sign-time=")[2].partition("&")[0]


def test_requests_of_a_minute_share_a_window_and_the_next_minute_has_its_own() -> None:
    clock = SetClock(1700000040.0)
    ours = signer(clock)
    first = window(ours.sign(REQUEST))
    clock.at += 59
    same = window(ours.sign(REQUEST))
    clock.at += 1
    other = window(ours.sign(REQUEST))

    assert first == same == "1699999980;1700000940"
    assert other == "1700000040;1700001000"


def test_a_clock_that_is_set_back_gives_a_new_window() -> None:
    clock = SetClock(1700000040.0)
    ours = signer(clock)
    ours.sign(REQUEST)
    clock.at -= 3600

    assert window(ours.sign(REQUEST)) == "1699996380;1699997340"


def test_a_difference_of_the_clocks_is_corrected_once() -> None:
    clock = SetClock(1700000000.0)
    ours = signer(clock)
    signed = ours.sign(REQUEST)
    error = ClockSkewed(ANSWER, server_time=1700003640.0)

    raised = ours.learn(error, signed)

    assert raised is error
    assert ours.offset_s == 3640.0
    assert window(ours.sign(REQUEST)) == "1700003580;1700004540"


def test_requests_that_were_signed_before_the_correction_are_no_evidence_against_it() -> None:
    clock = SetClock(1700000000.0)
    ours = signer(clock)
    signed = [ours.sign(REQUEST) for _ in range(3)]
    raised = [ours.learn(ClockSkewed(ANSWER, server_time=1700003600.0), one) for one in signed]

    assert [type(error) for error in raised] == [ClockSkewed] * 3


def test_a_refusal_after_the_correction_stops_the_run() -> None:
    clock = SetClock(1700000000.0)
    ours = signer(clock)
    ours.learn(ClockSkewed(ANSWER, server_time=1700003600.0), ours.sign(REQUEST))

    raised = ours.learn(ClockSkewed(ANSWER, server_time=1700003610.0), ours.sign(REQUEST))

    assert isinstance(raised, AuthRejected)
    assert raised.fatal
    assert "our clocks agree" in str(raised)


def test_a_clock_corrected_while_a_request_is_on_its_way_stops_no_run() -> None:
    clock = SetClock(1700003600.0)
    ours = signer(clock)
    signed = ours.sign(REQUEST)
    clock.at = 1700000000.0

    raised = ours.learn(ClockSkewed(ANSWER, server_time=1700000001.0), signed)

    assert isinstance(raised, ClockSkewed)
    assert ours.offset_s == 1.0


def test_a_refusal_without_the_services_time_stops_the_run() -> None:
    ours = signer(SetClock(1700000000.0))

    raised = ours.learn(ClockSkewed(ANSWER), ours.sign(REQUEST))

    assert isinstance(raised, AuthRejected)
    assert "set the clock" in str(raised)


def test_an_expired_key_is_replaced_once_for_all_requests_signed_with_it() -> None:
    old, fresh = Credentials("AKIDold", "s", "t1"), Credentials("AKIDnew", "s", "t2")
    source = Rotating(old, fresh)
    ours = Signer(Endpoint(), source, SetClock(0.0))
    signed = [ours.sign(REQUEST) for _ in range(3)]
    errors = [CredentialsExpired(ANSWER) for _ in signed]
    raised = [ours.learn(error, one) for error, one in zip(errors, signed, strict=True)]

    assert raised == errors
    assert source.loads == 2
    assert "q-ak=AKIDnew" in ours.sign(REQUEST).prepared.headers["authorization"]
    assert ours.sign(REQUEST).prepared.headers["x-cos-security-token"] == "t2"


def test_an_expired_key_without_a_new_one_stops_the_run() -> None:
    ours = Signer(Endpoint(), Static(Credentials("AKID", "s", "t")), SetClock(0.0))

    raised = ours.learn(CredentialsExpired(ANSWER), ours.sign(REQUEST))

    assert isinstance(raised, AuthRejected)
    assert "set a new one" in str(raised)


def test_other_errors_pass_unchanged() -> None:
    ours = signer(SetClock(0.0))
    error = Throttled(ANSWER)

    assert ours.learn(error, ours.sign(REQUEST)) is error


def test_a_key_that_is_not_unicode_text_is_refused_before_anything_is_sent() -> None:
    ours = signer(SetClock(0.0))

    with pytest.raises(Rejected, match="nothing was sent"):
        ours.sign(head_request(Place("b-1", "r"), "a\ud800"))
