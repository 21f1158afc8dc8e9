import copy
import json
import os
import re
from pathlib import Path

import pytest
from support.report import EVIL, HISTORY, Reader, document, head, jpeg

from winnow.workflow.report import page as report
from winnow.workflow.report.figures import f1_axis_limits

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = [EVIL, "\"quoted\" & 'so'", "🌻 玫瑰 ورد", "line\nbreak", "$x$ {{ 7 * 7 }}", "long" * 60]


@pytest.fixture(scope="module")
def page():
    return Reader(report.render(document(), jpeg))


def test_the_headline_names_the_best_head_its_score_and_what_it_was_measured_on(page):
    assert "0.900 95% interval 0.880 to 0.920 Weighted F1 of dense , the best head" in page.text
    assert (
        "The mean over 10 random splits. Each split has 140 training pictures and 32 test pictures, which are"
        in page.text
    )
    assert "chosen among 4 by its mean weighted F1 on the 30 validation pictures of each split. Some" in page.text


@pytest.mark.slow
def test_with_one_split_the_page_states_that_the_test_pictures_did_not_influence_the_choice():
    run = document()
    run["data"]["repeats"] = 1
    text = Reader(report.render(run, jpeg)).text
    assert "chosen among 4 by its weighted F1 on the 30 validation pictures, so the test pictures had no" in text
    assert "optimistic" not in text


def test_every_head_has_its_row_of_numbers(page):
    for name, mean in (("lda", 0.89), ("knn", 0.8), ("dummy", 0.07)):
        row = page.text[page.text.index(f" {name} {mean:.3f}") :][:200]
        for value in (mean - 0.02, mean + 0.02, mean + 0.001, mean + 0.002, mean + 0.003):
            assert f"{value:.3f}" in row
        assert "0.400 0.043 1 min 15 s 2 ms" in row


def test_the_table_states_which_differences_are_significant(page):
    assert "2 of the 3 other heads show no clear difference from dense : lda , dummy ." in page.text
    assert "−0.010, no clear difference −0.030 to +0.010 , p 0.310" in page.text
    assert "−0.100, worse −0.120 to −0.080 , p < 0.001" in page.text


def test_intervals_are_drawn_on_one_axis_and_what_lies_off_it_is_an_arrow(page):
    assert f1_axis_limits(document()["heads"]) == (0.75, 0.95)
    circles = [float(attributes["cx"]) for tag, attributes in page.tags if tag == "circle"]
    assert circles == pytest.approx([135, 126, 45])
    assert sum(attributes.get("class") == "beyond" for _, attributes in page.tags) == 1


@pytest.mark.parametrize(
    ("difference", "p", "expected"),
    [
        (-0.1, 0.01, "worse"),
        (0.1, 0.01, "better"),
        (-0.1, 0.05, report.NO_CLEAR_DIFFERENCE),
        (0.0, float("nan"), report.NO_CLEAR_DIFFERENCE),
    ],
)
def test_a_difference_is_significant_below_five_percent(difference, p, expected):
    assert report.describe_difference({"difference": difference, "low": 0.0, "high": 0.0, "p": p}) == expected


def test_each_head_has_its_classification_report_and_parameters(page):
    assert page.text.count("ants 0.500 0.250 0.333 5 bees 0.500 0.250 0.333 5") == 4
    assert page.text.count("weighted average 0.610 0.620 0.630 10") == 4
    assert page.text.count("lr 0.01 hidden 128 × 64") == 4


def test_only_the_chosen_head_is_open(page):
    assert ["open" in attributes for tag, attributes in page.tags if tag == "details"] == [True, False, False, False]


def test_figures_are_described_for_screen_readers(page):
    described = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg" and "role" in attributes]
    assert described[:4] == [
        "Pictures in each of 2 classes, from 101 to 101, by split",
        "Loss of dense over 2 epochs",
        "Accuracy of dense over 2 epochs",
        "Confusion matrix of dense. Training: 8 of 10 correct",
    ]
    assert "Reliability diagram of knn. Expected calibration error 0.043" in described
    assert all(attributes["alt"] for tag, attributes in page.tags if tag == "img")


def test_misclassified_pictures_have_a_thumbnail_or_a_placeholder_and_probabilities(page):
    assert "predicted bees 0.98 labelled ants 0.01 ants/1.jpg" in page.text
    assert "picture not found predicted bees 0.98 labelled ants 0.01 ants/2.jpg" in page.text
    images = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 1
    assert images[0].startswith("data:image/jpeg;base64,/9j/")


def test_pictures_that_are_left_out_or_unreadable_are_listed(page):
    assert "Classes left out because they have too few pictures to split: wasps (2)." in page.text
    assert "bees/9.jpg truncated image file is truncated" in page.text
    assert "1 file is an exact copy of another" in page.text
    assert "Look at the wasps." in page.text


def test_the_command_and_the_vectors_are_there_to_run_it_again(page):
    assert "winnow run ../insects" in page.text
    assert "crop(224)|pool(avg)" in page.text
    assert "scan 3.1 s, compare 1 min 1 s" in page.text


def test_headings_descend_one_level_at_a_time_and_tables_have_scopes(page):
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in page.tags if tag == "th")


def test_every_link_has_its_target_and_no_id_comes_twice(page):
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert links <= {f"#{name}" for name in ids}


@pytest.mark.slow
def test_heads_and_classes_may_be_called_anything():
    names = ["data", "misclassified", "reproduce", "heads", "comparison", "problems"]
    versus = {"difference": -0.01, "low": -0.03, "high": 0.01, "p": 0.31}
    classes = ["accuracy", "macro avg", "weighted avg"]
    heads = [head(name, 0.9, versus if index else None, classes=classes) for index, name in enumerate(names)]
    read = Reader(report.render(document(classes, heads), jpeg))
    ids = [attributes["id"] for _, attributes in read.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert read.text.count("weighted avg 0.500 0.250 0.333 6") == len(names)


def test_nothing_in_the_page_points_outside_it(page):
    assert not page.open
    assert not {"script", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
        assert not any(name.startswith("on") for name in attributes)
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")


@pytest.mark.slow
def test_names_from_a_person_stay_text_everywhere():
    run = document(HOSTILE)
    for field in (run, run["data"], run["vectors"]):
        field.update({key: EVIL for key, value in field.items() if isinstance(value, str)})
    run["data"] |= {
        "left_out": {EVIL: 1},
        "warnings": [EVIL],
        "problems": [dict.fromkeys(["path", "code", "message"], EVIL)],
    }
    run["heads"][0]["name"] = run["heads"][0]["kind"] = run["most_wrong"][0]["path"] = EVIL
    run["heads"][0]["params"] = {EVIL: EVIL}
    page = report.render(run, lambda path: None)
    assert "<script" not in page
    read = Reader(page)
    assert not read.open
    assert read.text.count(EVIL) > 20
    assert "alert" not in json.dumps([tag for tag, _ in read.tags])
    for label in HOSTILE:
        assert " ".join(label.split()) in read.text
    assert "49" not in re.findall(r"\{\{ .*?\}\}|\b49\b", read.text)


@pytest.mark.slow
def test_one_head_alone_has_no_comparison():
    run = document(heads=[head("dense", 0.9, history=HISTORY)]) | {"kind": "train", "most_wrong": []}
    run["data"]["repeats"] = 1
    page = Reader(report.render(run, jpeg))
    assert "Comparison" not in page.text
    assert "Measured on 32 test pictures that are not used for training; the head is trained on 140" in page.text
    assert "dense classifies every test picture correctly." in page.text


@pytest.mark.slow
def test_with_one_split_the_intervals_are_from_a_bootstrap_over_its_test_pictures():
    run = document()
    run["data"]["repeats"] = 1
    assert "bootstrap over the test pictures" in report.render(run, jpeg)


@pytest.mark.slow
def test_an_untrained_backbone_is_an_alert():
    run = document()
    run["vectors"]["untrained"] = True
    page = Reader(report.render(run, jpeg))
    assert "The backbone is untrained: these scores are meaningless" in page.text
    assert "alert" in [attributes.get("role") for _, attributes in page.tags]


def test_training_that_diverged_is_shown_with_dashes():
    diverged = {
        "loss": [float("nan"), None],
        "val_loss": [None, None],
        "accuracy": [0.5, 0.5],
        "val_accuracy": [0.5, 0.5],
    }
    run = document(heads=[head("dense", 0.9, history=diverged)])
    run["heads"][0]["log_loss"] = float("nan")
    page = Reader(report.render(run, jpeg))
    assert "no finite values: training diverged" in page.text
    assert "log loss –" in page.text


def test_sixty_classes_and_ten_heads_fit_in_three_megabytes():
    classes = [f"class {i}" for i in range(60)]
    run = document(classes)
    run["heads"] += [copy.deepcopy(run["heads"][1]) | {"name": f"another {i}"} for i in range(6)]
    page = report.render(run, jpeg)
    assert len(page.encode()) < 3_000_000
    assert all(f">{label}<" in page for label in classes)
    assert "class 0 class 1 1 of 63" in Reader(page).text


def learning_curve(**changes):
    f1 = {"mean": 0.9, "low": 0.88, "high": 0.92}
    sizes = [{"pictures": n, "share": n / 140, "weighted_f1": f1} for n in (14, 28, 70, 140)]
    guess = {"pictures": 280, "weighted_f1": {"mean": 0.92, "low": 0.9, "high": 0.94}}
    law = {"a": 0.06, "b": 5.6, "c": 1.0}
    return {"head": EVIL, "sizes": sizes, "guess": guess, "law": law, "reason": None, "exponent": 1.0} | changes


@pytest.mark.slow
def test_a_learning_curve_is_drawn_and_its_extrapolation_explained(tmp_path):
    run = document(heads=[head("lda", 0.9)]) | {"learning_curve": learning_curve()}
    page = report.write(run, tmp_path, jpeg).read_text(encoding="utf-8")
    read = Reader(page)
    assert f"{EVIL} on 280 training pictures instead of 140: 0.900 → about 0.920 [0.900, 0.940], a guess" in read.text
    assert "The dashed line is the power law error = a + b · pictures^−c" in read.text
    assert "<script" not in page
    assert (tmp_path / "pictures/learning-curve.png").is_file()
    run["learning_curve"] = learning_curve(guess=None, law=None, reason="it takes two splits or more", exponent=None)
    text = Reader(report.render(run, jpeg)).text
    assert "no guess at twice as many: it takes two splits or more" in text
    assert "dashed" not in text


def test_the_most_frequent_confusions_come_first_without_correct_predictions():
    assert report.most_confused([[5, 2, 0], [0, 4, 0], [3, 1, 6]], ["a", "b", "c"]) == [
        report.Confusion("c", "a", 3, 10),
        report.Confusion("a", "b", 2, 7),
        report.Confusion("c", "b", 1, 10),
    ]


@pytest.mark.slow
def test_the_page_and_each_plot_in_two_formats_are_written_and_nothing_else(tmp_path):
    run = document()
    run["heads"] = run["heads"][:2]
    page = report.write(run, tmp_path, jpeg)
    assert page == tmp_path / "report.html"
    assert page.read_text(encoding="utf-8") == report.render(run, jpeg)
    plots = ["classes", "intervals", "dense-loss", "dense-accuracy", "dense-confusion-train", "dense-confusion-test"]
    plots += ["dense-reliability", "lda-confusion-train", "lda-confusion-test", "lda-reliability"]
    files = {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*") if file.is_file()}
    assert files == {"report.html"} | {f"pictures/{name}.{kind}" for name in plots for kind in ("png", "svg")}
    assert (tmp_path / "pictures/classes.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return report.write(document(["ants", *HOSTILE]), tmp_path_factory.mktemp("run"), jpeg)


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("sudo apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "paper"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(21, 24, 28)")])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_renders_the_page_without_requests(browser, written, scheme, paper, width):
    requests, messages = [], []
    tab = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.goto(written.as_uri())
    tab.wait_for_load_state("networkidle")
    assert tab.locator("h1").inner_text() == "insects"
    assert tab.evaluate("[...document.images].map(image => image.naturalWidth)") == [40]
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == paper
    figures = tab.locator("figure svg:visible")
    assert figures.count() == 6
    assert all(figures.nth(i).bounding_box()["width"] > 200 for i in range(6))
    ink = tab.evaluate("getComputedStyle(document.body).color")
    assert ink in tab.evaluate("[...document.querySelectorAll('figure text')].map(text => getComputedStyle(text).fill)")
    assert tab.evaluate("document.documentElement.scrollWidth") == width, "nothing is wider than the window"
    assert [url for url in requests if not url.startswith("data:")] == [written.as_uri()]
    assert messages == []
    tab.close()


@pytest.mark.slow
def test_a_link_in_the_table_opens_the_head_that_it_names(browser, written):
    tab = browser.new_page()
    tab.goto(written.as_uri())
    assert not tab.locator("#head-knn").is_visible()
    tab.locator(".comparison a", has_text="knn").click()
    tab.locator("#head-knn").wait_for(state="visible")
    tab.close()
