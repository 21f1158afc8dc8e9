"""The buttons of the App. They run in the App's server process; every click is in the journal before it is shown."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
from fiftyone import ViewField as F
from fiftyone.operators import types
from fiftyone.server.view import get_view

from winnow.common.errors import InputError
from winnow.curate.app.sync import verdict_fields
from winnow.curate.decisions import normalize_label
from winnow.curate.journal import REASONS, UNDO, Decision, Journal, Line, current_verdicts

REASON_BY_FIELD = {"duplicate_group": "duplicate", "quality": "quality"}  # field of the view -> reason of a drop
MAX_FRESH_LABELS = 20_000  # pictures up to which Re-rank also scores label errors: more would take too long
SIMILAR = 50  # pictures that are shown as similar
NOTHING_SELECTED = "Nothing is selected: hover over a picture and tick its box first."

Notice = tuple[str, str]  # a message, and how it looks: success, info, warning or error


class Button(foo.Operator):
    """A button above the grid, the base of all others. It shows an InputError as a notice in the App."""

    label = icon = ""
    prompt = False

    @property
    def config(self) -> foo.OperatorConfig:
        """Name, label and description of the operator in the App."""
        return foo.OperatorConfig(
            name=type(self).__name__.lower(),
            label=self.label,
            description=self.__doc__,
            icon=self.icon,
            dynamic=False,
            unlisted=not self.icon,
        )

    def resolve_placement(self, ctx: Any) -> types.Placement:
        """Place the button above the grid."""
        return types.Placement(
            types.Places.SAMPLES_GRID_ACTIONS, types.Button(label=self.label, icon=self.icon, prompt=self.prompt)
        )

    def execute(self, ctx: Any) -> None:
        """Act, and show the notice."""
        try:
            message, variant = self._act(ctx)
        except InputError as error:
            message, variant = str(error), "error"
        ctx.ops.notify(message, variant=variant)

    def _act(self, ctx: Any) -> Notice:
        """Do what the button is for."""
        raise NotImplementedError


class Drop(Button):
    """Drop the selected pictures; in a view of duplicates, as duplicates."""

    label, icon = "Drop", "block"

    def _act(self, ctx: Any) -> Notice:
        return record_verdict(ctx, "drop", reason=_reason(ctx))


class Keep(Button):
    """Keep the selected pictures."""

    label, icon = "Keep", "check_circle"

    def _act(self, ctx: Any) -> Notice:
        return record_verdict(ctx, "keep")


class Relabel(Button):
    """Give the selected pictures another label."""

    label, icon = "Relabel…", "edit"
    prompt = True

    def resolve_input(self, ctx: Any) -> types.Property:
        """Ask for the label: a known one, with the suggested one chosen, or a new one."""
        labels = sorted({*ctx.dataset.distinct("label"), *ctx.dataset.distinct("new_label")})
        inputs = types.Object()
        if not ctx.selected:
            inputs.view("nothing", types.Warning(label=NOTHING_SELECTED))
        choices = types.RadioGroup() if len(labels) <= 12 else types.DropdownView()
        for label in labels:
            choices.add_choice(label, label=label)
        inputs.enum("known", choices.values(), label="Label", default=_suggestion(ctx), view=choices)
        inputs.str("new", label="Or a new one")
        heading = f"Relabel {_count(len(ctx.selected), 'picture')}"
        return types.Property(inputs, view=types.PromptView(label=heading, submit_button_label="Relabel"))

    def _act(self, ctx: Any) -> Notice:
        label = (ctx.params.get("new") or "").strip() or ctx.params.get("known")
        if not label:
            return "No label was given, so nothing was recorded.", "warning"
        known = {*ctx.dataset.distinct("label"), *ctx.dataset.distinct("new_label")}
        return record_verdict(ctx, "relabel", label=normalize_label(label, known, lambda _: None))


class Undo(Button):
    """Take back the last verdicts, made in the App or by a command."""

    label, icon = "Undo", "undo"

    def _act(self, ctx: Any) -> Notice:
        lines = _journal(ctx).undo()
        if not lines:
            return "There is nothing to undo.", "info"
        show_verdicts(ctx, lines)
        return f"Taken back: {_count(len(lines), 'verdict')}.", "success"


class Similar(Button):
    """Show the pictures most like the selected ones."""

    label, icon = "More like these", "image_search"

    def _act(self, ctx: Any) -> Notice:
        if not ctx.selected:
            return NOTHING_SELECTED, "warning"
        if not ctx.dataset.has_brain_run("similar"):
            return "Too few pictures have vectors for a comparison.", "warning"
        ctx.ops.set_view(ctx.dataset.sort_by_similarity(ctx.selected, k=SIMILAR, brain_key="similar"))
        ctx.ops.clear_selected_samples()
        return "The most similar pictures come first.", "info"


class Rerank(Button):
    """Learn from the verdicts so far, and show the next ten."""

    label, icon = "Re-rank", "autorenew"

    def _act(self, ctx: Any) -> Notice:
        ctx.trigger("@winnow/review/learn")
        return "Learning from the verdicts…", "info"


class Learn(Button):
    """The work of Re-rank, after its notice that it takes a while. It ends with a sentence that stays until closed."""

    def resolve_placement(self, ctx: Any) -> None:
        """Place no button: Re-rank triggers the operator."""

    def _act(self, ctx: Any) -> Notice:
        from winnow.curate.noise import score_summary, score_table
        from winnow.curate.workspace import find_workspace

        paths, fresh_labels = _stored_paths(ctx), ctx.dataset.count() <= MAX_FRESH_LABELS
        workspace = find_workspace(None, paths["workspace"])
        table = score_table.score(workspace, paths["store"], fresh_labels=fresh_labels)
        rows = {row["path"]: row for row in table.to_pylist()}
        ids = dict(zip(*ctx.dataset.values(["path", "id"]), strict=True))
        for name in ("off_topic", "label_suspect", "suggested_label"):
            values = {id: rows[path][name] for path, id in ids.items() if path in rows}
            ctx.dataset.set_values(name, values, key_field="id", validate=False)
        batch = score_summary.next_to_review(table)
        ctx.ops.clear_selected_samples()
        view = ctx.dataset.select([ids[path] for path in batch.paths if path in ids], ordered=True)
        ctx.ops.set_view(view)
        _show_until_closed(ctx, batch.outlook.summary_sentence)
        return "These are the next pictures to review.", "success"


def record_verdict(ctx: Any, verdict: str, reason: str | None = None, label: str | None = None) -> Notice:
    """Record a verdict on the selected pictures, and show it."""
    if not ctx.selected:
        return NOTHING_SELECTED, "warning"
    names = ["picture", "path", "off_topic"]
    rows = list(zip(*ctx.dataset.select(ctx.selected).values(names), strict=True))
    selected = {id: Decision(id, path, verdict, reason, label, score) for id, path, score in rows if id is not None}
    decisions = _without_current(ctx, selected)
    if decisions:
        _journal(ctx).record(decisions)
    show_verdicts(ctx, selected.values())
    unreadable = sum(id is None for id, _, _ in rows)
    done = {"drop": f"dropped as {reason}", "keep": "kept", "relabel": f"relabelled {label}"}[verdict]
    if selected and not decisions:
        return f"Already {done}, so nothing was recorded.", "info"
    message = f"{done[:1].upper()}{done[1:]}: {_count(len(decisions), 'picture')}."
    if unreadable:
        return f"{message} {_count(unreadable, 'file')} cannot be read and got no verdict.", "warning"
    return message, "success"


def _without_current(ctx: Any, selected: dict[str, Decision]) -> list[Decision]:
    """Leave out the decisions that are current verdicts already, so that a double click is one batch."""
    current = current_verdicts(_journal(ctx).lines())
    return [
        decision for id, decision in selected.items() if verdict_fields(decision) != verdict_fields(current.get(id))
    ]


def show_verdicts(ctx: Any, verdicts: Iterable[Decision | Line]) -> None:
    """Update the samples of these verdicts, including copies, and reload the App's view."""
    by_id = {verdict.id: verdict_fields(None if verdict.verdict == UNDO else verdict) for verdict in verdicts}
    view = ctx.dataset.match(F("picture").is_in(list(by_id)))
    samples = list(zip(*view.values(["id", "picture"]), strict=True))
    for name in verdict_fields(None):
        values = {sample: by_id[picture][name] for sample, picture in samples}
        ctx.dataset.set_values(name, values, key_field="id", validate=False)
    ctx.ops.clear_selected_samples()
    if filters := ctx.request_params.get("filters"):  # a reload would drop them, so they become part of the view
        ctx.ops.set_view(get_view(ctx.dataset, stages=ctx.view._serialize(), filters=filters))
    else:
        ctx.ops.reload_dataset()


def _show_until_closed(ctx: Any, sentence: str) -> None:
    """Show a sentence until the user closes it; a notice disappears after three seconds."""
    outputs = types.Object()
    outputs.view("sentence", types.Notice(label=sentence))
    ctx.ops.show_output(types.Property(outputs).to_json(), {})


def _reason(ctx: Any) -> str:
    """Return the reason of a drop in the current view. In a view of duplicates it is not "off_topic", from which the
    ranking would learn."""
    stages = str(ctx.view._serialize())
    return next((reason for field, reason in REASON_BY_FIELD.items() if field in stages), REASONS[0])


def _suggestion(ctx: Any) -> str | None:
    """Return the suggested label of the selected pictures, when they agree."""
    suggestions = set(ctx.dataset.select(ctx.selected).values("suggested_label")) if ctx.selected else set()
    return suggestions.pop() if len(suggestions) == 1 else None


def _stored_paths(ctx: Any) -> dict[str, Path]:
    """Return the paths of the `workspace` and the `store` of vectors, which `push` left in the dataset."""
    return {name: Path(path) for name, path in ctx.dataset.info["winnow"].items()}


def _journal(ctx: Any) -> Journal:
    return Journal(_stored_paths(ctx)["workspace"])


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def register(plugin: Any) -> None:
    """Register the buttons, from left to right; FiftyOne calls this."""
    for button in (Drop, Keep, Relabel, Undo, Rerank, Similar, Learn):
        plugin.register(button)
