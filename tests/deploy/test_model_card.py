import html
import re
import runpy
from dataclasses import asdict
from typing import Any

import pytest
from markdown_it import MarkdownIt
from PIL import Image
from support.models import make_metadata, write_model
from support.pictures import picture
from support.project import absent

from winnow.deploy.inference.model import load
from winnow.deploy.inference.predict import predict
from winnow.deploy.model_card import plain, render_card
from winnow.embed.recipe import Recipe

ADVERSARIAL = [
    "<script>alert(1)</script>",
    "a|b `c` *d* _e_ ~f~",
    "[link](http://evil.example) www.evil.example @someone",
    "# heading\n---\n- item",
    "\"quoted\": 'so' \\(x\\) {{ 7 * 7 }} $y$",
    "=1+1",
    "..",
    "花 🌻 \u202eright to left \x1b[31m",
]


def model_metadata(labels: Any = ("blue", "green", "red"), **changes: Any) -> dict[str, Any]:
    return make_metadata(labels, any_size=False) | changes


def class_report(labels: Any) -> dict[str, Any]:
    """A classification report, each class a little worse than the one before."""
    scores = {"precision": 0.75, "recall": 0.5, "support": 30}
    return {"classes": [{"label": label, "f1-score": 0.9 - n / 100} | scores for n, label in enumerate(labels)]}


def front_matter(text: str) -> dict[str, Any]:
    try:
        import yaml
    except ImportError:
        absent("PyYAML is not installed")
    _, matter, _ = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    return yaml.safe_load(matter)


def rendered(text: str) -> str:
    return MarkdownIt("commonmark").enable("table").render(text.split("\n---\n", 1)[1])


def test_the_front_matter_is_what_hugging_face_reads():
    matter = front_matter(render_card(model_metadata(title="flowers")))
    assert matter["license"] == "other"
    assert (matter["library_name"], matter["pipeline_tag"]) == ("onnx", "image-classification")
    [model] = matter["model-index"]
    assert model["name"] == "flowers"
    [result] = model["results"]
    assert result["task"]["type"] == "image-classification"
    assert result["dataset"] == {"name": "flowers", "type": "imagefolder", "split": "test"}
    assert result["metrics"][0] == {"type": "f1", "name": "Weighted F1", "value": 0.91, "args": {"average": "weighted"}}
    assert result["metrics"][1]["value"] == 0.92


def test_the_sections_are_those_of_the_layout_in_its_order():
    assert re.findall("^## (.*)$", render_card(model_metadata()), flags=re.MULTILINE) == [
        "Model details",
        "Uses",
        "Bias, risks and limitations",
        "How to get started",
        "Training details",
        "Evaluation",
        "Technical specifications",
    ]


def test_states_what_the_metadata_hold():
    text = render_card(model_metadata(title="hues", split_rule="70/15/15, stratified"))
    assert "weighted F1 of 0.910 (95% interval 0.880 to 0.940)" in text
    assert "with a head of kind lda (shrinkage 0.1)\n" in text
    assert "trained on 42 pictures (43 before pruning). Of 62 pictures in the collection, 60 were used" in text
    assert "dropped: off-topic (2); relabelled: 1. They were split 70/15/15, stratified." in text
    assert "10 random splits with about 9 test pictures each." in text
    assert "differ by at most 1e-06" in text
    assert "and no labels differ. The weighted F1 is 0.910 for these and 0.910 for the file." in text
    assert "0.0% of 9 test pictures lie below the threshold of 0.05." in text
    assert "Classes with few training pictures: blue (14), green (14), red (14)." in text
    assert "under Apache-2.0" in text
    assert "`[batch, 96, 96, 3]`" in text


def test_scores_by_class_are_stated_when_they_are_known():
    text = render_card(model_metadata(classification_report=class_report(("blue", "green", "red"))))
    assert "| green | 14 | 0.750 | 0.500 | 0.890 | 30 |" in text
    assert "Classes with the lowest F1 on the test pictures: red (0.880), green (0.890), blue (0.900)." in text
    assert "| green | 14 |\n" in render_card(model_metadata())


def test_a_file_with_other_options_states_its_own_score_beside_that_before_the_export():
    measured = {"pictures": 9, "largest_difference": 0.1, "labels_differ": 1}
    measured |= {"weighted_f1": {"ordinary": 0.848, "file": 0.803}}
    text = render_card(model_metadata(["a", "b"], precision="int8", parity=measured))
    assert "weighted F1 of 0.803 on test pictures (before the export it had 0.848 on the same pictures;" in text
    assert "value: 0.803" in text
    assert "name: Accuracy" not in text


def test_one_split_untrained_weights_and_other_weights_are_stated():
    one = render_card(model_metadata(metrics=model_metadata()["metrics"] | {"splits": 1}))
    assert "one split with 9 test pictures. The interval is a bootstrap" in one
    assert "The backbone is untrained" in render_card(model_metadata(weights="random"))
    mine = render_card(model_metadata(weights="mine*.h5"))
    assert "unknown; they come from the file mine\\*.h5. The author of the model should state it here." in mine
    assert "ImageNet" not in mine


@pytest.mark.parametrize("has_report", [False, True])
def test_names_are_shown_literally_and_never_read_as_markup(has_report):
    changes = {"classification_report": class_report(ADVERSARIAL)} if has_report else {}
    text = render_card(
        model_metadata(ADVERSARIAL, title=ADVERSARIAL[3], file="`x`\n```\n.onnx", split_rule=ADVERSARIAL[0], **changes)
    )
    page = rendered(text)
    tags = {tag.split()[0].strip("/") for tag in re.findall("<([^>]*)>", page)}
    assert tags <= {
        "!--",  # the digest in the last line
        "h1",
        "h2",
        "h3",
        "p",
        "ul",
        "li",
        "strong",
        "code",
        "pre",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    cells = re.findall("<td>(.*?)</td>", page)
    names = [html.unescape(cell) for cell in cells]
    for label in ADVERSARIAL:
        assert "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in label) in names
    assert page.count("<tr>") == 4 + 1 + len(ADVERSARIAL)
    assert page.count("<h1>") == 1
    assert page.count("<pre>") == 2
    assert front_matter(text)["model-index"][0]["name"] == ADVERSARIAL[3]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a_b", "a\\_b"), ("a/b.c-d", "a/b.c-d"), ("<b>&", "&lt;b&gt;&amp;"), ("\\(", "&#92;("), ("www.x", "www\\.x")],
)
def test_only_what_could_be_markup_is_escaped(text, shown):
    assert plain(text) == shown


def test_the_table_lists_the_first_two_hundred_of_a_thousand_classes():
    text = render_card(model_metadata([f"class {n}" for n in range(1000)]))
    assert text.count("| class ") == 200 + 1
    assert "… and 800 more classes, in the metadata of the file." in text
    assert "class 49, … 950 more\n" in text


@pytest.mark.parametrize("resize", ["crop", "squash", "pad", "any"])
def test_its_python_snippet_predicts_what_predict_predicts(resize, tmp_path, capsys):
    is_any = resize == "any"
    recipe = Recipe(size=96, resize="crop" if is_any else resize)
    model = load(write_model(tmp_path / 'my "model".onnx', any_size=is_any, recipe=asdict(recipe)))
    Image.fromarray(picture(3, (130, 101))).save(tmp_path / "picture.jpg")
    text = render_card(model.metadata | {"file": model.file.name})
    (tmp_path / "lines.py").write_text(re.search("```python\n(.*?)```", text, re.DOTALL)[1])
    runpy.run_path(str(tmp_path / "lines.py"))
    [expected] = predict(model, [("picture.jpg", tmp_path / "picture.jpg")])
    label, probability, familiarity = capsys.readouterr().out.split()
    assert label == expected.label
    assert float(probability) == pytest.approx(expected.probability, abs=1e-6)
    assert float(familiarity) == pytest.approx(expected.familiarity, abs=1e-6)
