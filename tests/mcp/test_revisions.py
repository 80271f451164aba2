"""What differs between the revisions, and which of them a message is written in."""

import pytest

from proxy.mcp.revisions import (
    R2024_11_05,
    R2025_03_26,
    R2025_06_18,
    R2025_11_25,
    R2026_07_28,
    REVISIONS,
    Era,
    Mode,
    Revision,
    counter_offer,
    era_of_header,
    governing,
    negotiated,
    revision_of,
)

pytestmark = pytest.mark.requirement("mcp.revisions")


def test_revisions_stand_in_the_order_of_their_dates() -> None:
    names = [revision.name for revision in REVISIONS]
    assert names == ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"]
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("trait", "expected"),
    [
        # one letter per revision, the oldest first; Source: PROTOCOL.md 1.1, 1.3, 2.1, 2.7, 3.1
        ("has_back_channel", "yyyyn"),
        ("has_batch", "nynnn"),
        ("has_one_endpoint", "nyyyy"),
        ("sends_revision_header", "nnyyy"),
        ("has_elicitation", "nnyyy"),
        ("names_mode", "nnnyy"),
        ("sends_url_elicitation_id", "nnnyn"),
        ("has_question_meta", "nnnyn"),
        ("has_schema_dialect", "nnnyy"),
        ("has_all_defaults", "nnnyy"),
        ("has_titled_enums", "nnnyy"),
        ("has_multi_select", "nnnyy"),
        ("may_prime", "nnnyn"),
        ("cancels_by_http_notification", "yyyyn"),
        ("disconnect_is_cancel", "nnnny"),
        ("needs_result_type", "nnnny"),
        ("needs_cache_hints", "nnnny"),
    ],
)
def test_the_table(trait: str, expected: str) -> None:
    assert "".join("y" if getattr(revision, trait) else "n" for revision in REVISIONS) == expected


def test_eras_and_modes() -> None:
    assert [revision.era for revision in REVISIONS] == [Era.HANDSHAKE] * 4 + [Era.ENVELOPE]
    both = {Mode.FORM, Mode.URL}
    assert [set(revision.modes) for revision in REVISIONS] == [set(), set(), {Mode.FORM}, both, both]


@pytest.mark.parametrize(
    ("version", "era"),
    [
        (None, Era.HANDSHAKE),
        ("2024-11-05", Era.HANDSHAKE),
        ("2025-03-26", Era.HANDSHAKE),
        ("2025-06-18", Era.HANDSHAKE),
        ("2025-11-25", Era.HANDSHAKE),
        ("2026-07-28", Era.ENVELOPE),
        ("2099-01-01", Era.ENVELOPE),
        ("2025-06-19", Era.ENVELOPE),
        ("", Era.ENVELOPE),
    ],
)
@pytest.mark.requirement("mcp.revisions.era")
def test_the_era_follows_from_the_header_alone(version: str | None, era: Era) -> None:
    assert era_of_header(version) is era


def test_a_revision_is_found_by_its_name() -> None:
    assert [revision_of(revision.name) for revision in REVISIONS] == list(REVISIONS)
    assert revision_of("2025-06-19") is None


@pytest.mark.parametrize(
    ("version", "agreed", "expected"),
    [
        ("2025-06-18", R2025_11_25, R2025_06_18),
        ("2026-07-28", None, R2026_07_28),
        (None, R2025_11_25, R2025_11_25),
        (None, None, R2025_03_26),
        ("2099-01-01", R2025_11_25, None),
    ],
)
def test_the_header_governs_and_the_handshake_stands_in_for_it(
    version: str | None, agreed: Revision | None, expected: Revision | None
) -> None:
    assert governing(version, agreed) is expected


def test_a_handshake_ends_with_a_handshake_revision_or_with_none_we_know() -> None:
    assert negotiated("2024-11-05") is R2024_11_05
    assert negotiated("2025-11-25") is R2025_11_25
    assert negotiated("2026-07-28") is None
    assert negotiated("2099-01-01") is None


def test_an_offer_is_echoed_or_countered_with_the_latest_handshake() -> None:
    assert counter_offer("2025-06-18") is R2025_06_18
    assert counter_offer("2026-07-28") is R2025_11_25
    assert counter_offer("1999-01-01") is R2025_11_25
