"""The section on curation: the pictures dropped and why, the effect on the scores, and that names stay text."""

from __future__ import annotations

from typing import Any

import pytest
from support.report import EVIL, Reader, document, head, jpeg

from winnow.workflow.report import page as report


def curation(name: str = "roses", path: str = "roses/1.jpg") -> dict[str, Any]:
    line = {"when": "2026-01-31T12:00:00+00:00", "who": name, "batch": "b", "id": "i", "path": path}
    line |= {"verdict": "relabel", "reason": None, "label": name, "score": 0.9, "version": "0", "undoes": None}
    pictures = [
        {"path": path, "label": name, "dropped": False},
        {"path": "x/2.jpg", "label": "tulips", "dropped": True},
    ]
    return {
        "verdicts": {"drop": 31, "relabel": 1},
        "reasons": {"off_topic": 30, "other": 1},
        "dropped": [{"path": path, "label": name, "reason": "off_topic", "to": None}],
        "relabelled": [{"path": path, "label": None, "reason": None, "to": name}],
        "classes": [
            {"label": name, "found": 200, "decided": 170},
            {"label": None, "found": 5, "decided": 4},
        ],
        "duplicates": {"groups": [{"mixed": True, "pictures": pictures}], "count": 3, "mixed": 1},
        "suspects": [{"path": path, "label": name, "suggested_label": "daisy", "label_suspect": 0.97}],
        "journal": [line, line | {"verdict": "drop", "reason": "off_topic", "label": None, "undoes": "a"}],
        "lines": 33,
    }


def cleaning() -> dict[str, Any]:
    row = {"before": 0.88, "after": 0.884, "difference": 0.004, "low": -0.001, "high": 0.009, "p": 0.1}
    heads = [{"name": "lda", "as_found": row, "as_decided": row | {"before": 0.9}}]
    return {"heads": heads, "repeats": 10, "dropped": 31, "relabelled": 0, "added": 0, "classes_changed": False}


def page(**extra: Any) -> Reader:
    return Reader(report.render(document(heads=[head("lda", 0.9)]) | extra, jpeg))


@pytest.fixture(scope="module")
def shown() -> Reader:
    """A page with everything that can be in the section."""
    return page(curation=curation(), cleaning=cleaning())


def test_shows_the_verdicts_their_reasons_and_their_effect(shown: Reader) -> None:
    text = shown.text
    assert "Verdicts so far: 31 dropped, 1 relabelled (33 lines in the journal)." in text
    assert "Reasons for dropping: off-topic (30), other (1)." in text
    assert "Dropping 31: +0.4 points [−0.1, +0.9] of weighted F1 (lda): no clear gain. The same" in text
    assert "lda 0.880 0.884 +0.004 −0.001 to +0.009 0.900 0.884" in text
    assert "Class As found As decided roses 200 170 no label 5 4" in text
    assert "Dropped pictures (1 of 31 shown) off-topic labelled roses roses/1.jpg" in text
    assert "now roses before no label" in text


def test_shows_near_duplicates_side_by_side_and_label_errors_with_the_suggested_label(shown: Reader) -> None:
    text = shown.text
    assert "3 groups of near-duplicates, 1 with different labels." in text
    assert "roses kept roses/1.jpg" in text
    assert "tulips dropped x/2.jpg" in text
    assert "suggested daisy 0.97 labelled roses roses/1.jpg" in text


def test_lists_the_journal_newest_first(shown: Reader) -> None:
    text = shown.text
    assert "The last 2 of 33 lines, newest first" in text
    assert "roses/1.jpg relabel to roses 2026-01-31 12:00 roses" in text
    assert "roses/1.jpg undo: drop, off-topic 2026-01-31 12:00" in text


def test_without_verdicts_the_command_to_begin_with_is_named() -> None:
    nothing = {"verdicts": {}, "reasons": {}, "dropped": [], "relabelled": [], "classes": [], "suspects": []}
    nothing |= {"duplicates": {"groups": [], "count": 0, "mixed": 0}, "journal": [], "lines": 0}
    text = page(curation=nothing).text
    assert "There are no verdicts yet" in text
    assert "winnow review" in text
    assert "Journal" not in text


def test_a_run_on_the_pictures_as_found_has_no_such_section() -> None:
    assert "Curation" not in page(curation=None).text


def test_names_from_a_person_stay_text() -> None:
    name = EVIL + "\"quoted\" & 'so' 🌻 玫瑰 {{ 7 * 7 }}"
    shown = page(curation=curation(name, f"{name}/1.jpg"), cleaning=cleaning())
    assert shown.text.count(name) >= 9
    assert not any(tag == "script" for tag, _ in shown.tags)
    sources = [attributes["src"] for tag, attributes in shown.tags if tag == "img"]
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)


def test_every_link_has_its_target_and_headings_descend(shown: Reader) -> None:
    ids = {attributes["id"] for _, attributes in shown.tags if "id" in attributes}
    links = [attributes["href"][1:] for tag, attributes in shown.tags if tag == "a"]
    assert set(links) <= ids
    assert "curation" in links
    levels = [int(tag[1]) for tag, _ in shown.tags if tag in ("h1", "h2", "h3", "h4")]
    assert all(after <= before + 2 for before, after in zip(levels, levels[1:], strict=False))
