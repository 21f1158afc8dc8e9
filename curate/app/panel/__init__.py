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

REASON_IN = {"duplicate_group": "duplicate", "quality": "quality"}  # field that the view asks for -> reason of a drop
FEW = 20_000  # pictures whose labels are judged anew at each Re-rank: more would be waited for
LIKE = 50  # pictures that are shown as similar
NOTHING = "Nothing is selected: hover over a picture and tick its box first."


class Button(foo.Operator):
    """A button above the grid: what they all have in common. An InputError becomes a notice in the App."""

    label = icon = ""
    prompt = False

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App names it."""
        return foo.OperatorConfig(
            name=type(self).__name__.lower(),
            label=self.label,
            description=self.__doc__,
            icon=self.icon,
            dynamic=False,
            unlisted=not self.icon,
        )

    def resolve_placement(self, ctx: Any) -> types.Placement:
        """Above the grid."""
        return types.Placement(
            types.Places.SAMPLES_GRID_ACTIONS, types.Button(label=self.label, icon=self.icon, prompt=self.prompt)
        )

    def execute(self, ctx: Any) -> None:
        """Do it, and say what was done."""
        try:
            message, variant = self._act(ctx)
        except InputError as error:
            message, variant = str(error), "error"
        ctx.ops.notify(message, variant=variant)

    def _act(self, ctx: Any) -> tuple[str, str]:
        """What the button does. Returns: what to tell, and how: success, info, warning or error."""
        raise NotImplementedError


class Drop(Button):
    """Drop the selected pictures (shown as duplicates: as duplicate)."""

    label, icon = "Drop", "block"

    def _act(self, ctx: Any) -> tuple[str, str]:
        return decide(ctx, "drop", reason=_reason(ctx))


class Keep(Button):
    """Keep the selected pictures."""

    label, icon = "Keep", "check_circle"

    def _act(self, ctx: Any) -> tuple[str, str]:
        return decide(ctx, "keep")


class Relabel(Button):
    """Give the selected pictures another label."""

    label, icon = "Relabel…", "edit"
    prompt = True

    def resolve_input(self, ctx: Any) -> types.Property:
        """Ask for the label: one of those known, the suggested one chosen, or a new one."""
        labels = sorted({*ctx.dataset.distinct("label"), *ctx.dataset.distinct("new_label")})
        inputs = types.Object()
        if not ctx.selected:
            inputs.view("nothing", types.Warning(label=NOTHING))
        choices = types.RadioGroup() if len(labels) <= 12 else types.DropdownView()
        for label in labels:
            choices.add_choice(label, label=label)
        inputs.enum("known", choices.values(), label="Label", default=_suggestion(ctx), view=choices)
        inputs.str("new", label="Or a new one")
        heading = f"Relabel {_many(len(ctx.selected), 'picture')}"
        return types.Property(inputs, view=types.PromptView(label=heading, submit_button_label="Relabel"))

    def _act(self, ctx: Any) -> tuple[str, str]:
        label = (ctx.params.get("new") or "").strip() or ctx.params.get("known")
        if not label:
            return "No label was given: nothing was recorded.", "warning"
        known = {*ctx.dataset.distinct("label"), *ctx.dataset.distinct("new_label")}
        return decide(ctx, "relabel", label=normalize_label(label, known, lambda _: None))


class Undo(Button):
    """Take back the last verdicts, of the App or of a command."""

    label, icon = "Undo", "undo"

    def _act(self, ctx: Any) -> tuple[str, str]:
        lines = _journal(ctx).undo()
        if not lines:
            return "There is nothing to undo.", "info"
        show(ctx, lines)
        return f"Taken back: {_many(len(lines), 'verdict')}.", "success"


class Similar(Button):
    """Show the pictures most like the selected ones."""

    label, icon = "More like these", "image_search"

    def _act(self, ctx: Any) -> tuple[str, str]:
        if not ctx.selected:
            return NOTHING, "warning"
        if not ctx.dataset.has_brain_run("similar"):
            return "There are too few pictures with vectors for this.", "warning"
        ctx.ops.set_view(ctx.dataset.sort_by_similarity(ctx.selected, k=LIKE, brain_key="similar"))
        ctx.ops.clear_selected_samples()
        return "The most similar ones first.", "info"


class Rerank(Button):
    """Learn from the verdicts so far, and show the next ten."""

    label, icon = "Re-rank", "autorenew"

    def _act(self, ctx: Any) -> tuple[str, str]:
        ctx.trigger("@winnow/review/learn")
        return "Learning from the verdicts…", "info"


class Learn(Button):
    """What Re-rank does once it has said that it takes a while. The sentence it ends with stays until it is closed."""

    def resolve_placement(self, ctx: Any) -> None:
        """Nowhere: Re-rank calls it."""

    def _act(self, ctx: Any) -> tuple[str, str]:
        from winnow.curate.noise import score_summary, score_table
        from winnow.curate.workspace import find_workspace

        place, few = _place(ctx), ctx.dataset.count() <= FEW
        table = score_table.score(find_workspace(None, place["workspace"]), place["store"], fresh_labels=few)
        changed = {path: row for row in table.to_pylist() if (path := row["path"])}
        ids = dict(zip(*ctx.dataset.values(["path", "id"]), strict=True))
        for name in ("off_topic", "label_suspect", "suggested_label"):
            values = {id: changed[path][name] for path, id in ids.items() if path in changed}
            ctx.dataset.set_values(name, values, key_field="id", validate=False)
        batch = score_summary.next_to_review(table)
        ctx.ops.clear_selected_samples()
        view = ctx.dataset.select([ids[path] for path in batch.paths if path in ids], ordered=True)
        ctx.ops.set_view(view)
        _stay(ctx, batch.outlook.summary_sentence)
        return "These are the next to look at.", "success"


def decide(ctx: Any, verdict: str, reason: str | None = None, label: str | None = None) -> tuple[str, str]:
    """Record a verdict of the selected pictures, and show it. Returns: what to tell, and how."""
    if not ctx.selected:
        return NOTHING, "warning"
    names = ["picture", "path", "off_topic"]
    rows = list(zip(*ctx.dataset.select(ctx.selected).values(names), strict=True))
    picked = {id: Decision(id, path, verdict, reason, label, score) for id, path, score in rows if id is not None}
    decisions = _news(ctx, picked)
    if decisions:
        _journal(ctx).record(decisions)
    show(ctx, picked.values())
    unread = sum(id is None for id, _, _ in rows)
    done = {"drop": f"dropped as {reason}", "keep": "kept", "relabel": f"relabelled {label}"}[verdict]
    if picked and not decisions:
        return f"Already {done}: nothing was recorded.", "info"
    told = f"{done[:1].upper()}{done[1:]}: {_many(len(decisions), 'picture')}."
    if unread:
        return f"{told} {unread} cannot be read, so they have no verdict.", "warning"
    return told, "success"


def _news(ctx: Any, picked: dict[str, Decision]) -> list[Decision]:
    """Those that the journal does not hold already: a second click is no second batch."""
    given = current_verdicts(_journal(ctx).lines())
    return [
        decision
        for id, decision in picked.items()
        if id not in given
        or (given[id].verdict, given[id].reason, given[id].label) != (decision.verdict, decision.reason, decision.label)
    ]


def show(ctx: Any, verdicts: Iterable[Decision | Line]) -> None:
    """Bring the samples of these ids up to date, copies among them too, and what the App shows of them."""
    by_id = {verdict.id: verdict_fields(None if verdict.verdict == UNDO else verdict) for verdict in verdicts}
    view = ctx.dataset.match(F("picture").is_in(list(by_id)))
    samples = list(zip(*view.values(["id", "picture"]), strict=True))
    for name in verdict_fields(None):
        values = {sample: by_id[picture][name] for sample, picture in samples}
        ctx.dataset.set_values(name, values, key_field="id", validate=False)
    ctx.ops.clear_selected_samples()
    if filters := ctx.request_params.get("filters"):  # a reload would forget them: they become part of the view
        ctx.ops.set_view(get_view(ctx.dataset, stages=ctx.view._serialize(), filters=filters))
    else:
        ctx.ops.reload_dataset()


def _stay(ctx: Any, words: str) -> None:
    """Show a sentence until it is closed: a notice is gone after three seconds."""
    outputs = types.Object()
    outputs.view("said", types.Notice(label=words))
    ctx.ops.show_output(types.Property(outputs).to_json(), {})


def _reason(ctx: Any) -> str:
    """Among duplicates a drop is one of a duplicate: as off-topic the ranking would learn from it."""
    asked = str(ctx.view._serialize())
    return next((reason for field, reason in REASON_IN.items() if field in asked), REASONS[0])


def _suggestion(ctx: Any) -> str | None:
    """The suggested label of the selected pictures, when they agree."""
    found = set(ctx.dataset.select(ctx.selected).values("suggested_label")) if ctx.selected else set()
    return found.pop() if len(found) == 1 else None


def _place(ctx: Any) -> dict[str, Path]:
    return {name: Path(path) for name, path in ctx.dataset.info["winnow"].items()}


def _journal(ctx: Any) -> Journal:
    return Journal(_place(ctx)["workspace"])


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def register(plugin: Any) -> None:
    """What FiftyOne calls: the buttons, from left to right."""
    for button in (Drop, Keep, Relabel, Undo, Rerank, Similar, Learn):
        plugin.register(button)
