"""The result of an export in sentences."""

from dataclasses import replace
from pathlib import Path

from winnow.commands.output.export_summary import describe_export
from winnow.deploy.export import ExportReport, FamiliarityReport
from winnow.deploy.onnx.parity import F1Change, ParityReport

EXACT = ExportReport(
    model=Path("model.onnx"),
    card=Path("model.md"),
    run=Path("runs/20260101-120000-train-lda"),
    head="lda",
    bytes=9_000_000,
    input="square",
    precision="fp32",
    tta="none",
    familiarity=FamiliarityReport(0.05, calibrated_on=150, held_out_pictures=150, held_out_rejected=0.04),
    parity=ParityReport(150, 1e-6, 0, 0.001, F1Change(0.91, 0.91, 0.0, 0.0, 0.0)),
    metrics={"tta": "none"},
)


def test_an_exact_file_is_described_by_its_parity_and_what_it_rejects():
    assert describe_export(EXACT).splitlines() == [
        "Parity on 150 test pictures: the same labels, probabilities within 1e-06 of Python's.",
        "A picture with a familiarity below 0.05 counts as unfamiliar: 4.0% of the test pictures.",
    ]


def test_the_effect_of_options_is_stated_in_points():
    parity = ParityReport(150, 0.0539, 1, 0.06, F1Change(0.91, 0.9, -0.01, -0.025, 0.004))
    for changes in ({"precision": "int8"}, {"input": "any"}, {"tta": "flip"}):
        first, second, _ = describe_export(replace(EXACT, parity=parity, **changes)).splitlines()
        assert first == "Parity on 150 test pictures: 1 label differs, probabilities within 0.054 of Python's."
        assert second == "Weighted F1 changes from 0.910 to 0.900: -1.0 points [-2.5, +0.4]."


def test_equal_probabilities_and_a_small_calibration_are_mentioned():
    familiarity = FamiliarityReport(0.05, calibrated_on=9, held_out_pictures=9, held_out_rejected=0.0)
    report = replace(EXACT, familiarity=familiarity, parity=replace(EXACT.parity, largest_difference=0.0))
    first, *_, last = describe_export(report).splitlines()
    assert first == "Parity on 150 test pictures: the same labels, equal probabilities."
    assert last == "note: familiarity is a rough estimate, because it is calibrated on only 9 val pictures"


def test_the_json_form_keeps_its_keys():
    document = EXACT.to_json()
    assert list(document) == [
        *("model", "card", "run", "head", "bytes", "input", "precision", "tta", "familiarity", "parity", "metrics")
    ]
    assert document["model"] == "model.onnx"
    assert document["familiarity"] == {
        "threshold": 0.05,
        "calibrated_on": 150,
        "held_out": {"pictures": 150, "rejected": 0.04},
    }
