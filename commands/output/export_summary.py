"""The result of an export in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from winnow.deploy.export import ExportReport

FEW_CALIBRATED = 40  # val pictures below which familiarity is only a rough estimate


def describe_export(report: ExportReport) -> str:
    """How far the file is from Python, what its options cost, and what familiarity rejects: a sentence per line."""
    from winnow.deploy.onnx.parity import format_upper_bound

    parity, familiarity, f1 = report.parity, report.familiarity, report.parity.weighted_f1
    differ, bound = parity.labels_differ, format_upper_bound(parity.largest_difference)
    labels = f"{_count(differ, 'label')} {'differs' if differ == 1 else 'differ'}" if differ else "the same labels"
    probabilities = f"probabilities within {bound} of Python's" if parity.largest_difference else "equal probabilities"
    lines = [f"Parity on {_count(parity.pictures, 'test picture')}: {labels}, {probabilities}."]
    if report.input == "any" or report.precision != "fp32" or report.tta != report.metrics["tta"]:
        change, low, high = (f"{100 * value:+.1f}" for value in (f1.change, f1.low, f1.high))
        lines.append(f"Weighted F1 changes from {f1.ordinary:.3f} to {f1.file:.3f}: {change} points [{low}, {high}].")
    lines.append(
        f"A picture with a familiarity below {familiarity.threshold:g} counts as unfamiliar: "
        f"{familiarity.held_out_rejected:.1%} of the test pictures."
    )
    if familiarity.calibrated_on < FEW_CALIBRATED:
        pictures = _count(familiarity.calibrated_on, "val picture")
        lines.append(f"note: familiarity is a rough estimate, because it is calibrated on only {pictures}")
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
