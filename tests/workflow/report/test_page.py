import copy
import json
import os
import re
from pathlib import Path

import pytest
from support.report import EVIL, HISTORY, Reader, document, head, jpeg

from winnow.workflow.report import page as report

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = [EVIL, "\"quoted\" & 'so'", "🌻 玫瑰 ورد", "line\nbreak", "$x$ {{ 7 * 7 }}", "long" * 60]


@pytest.fixture(scope="module")
def page():
    return Reader(report.render(document(), jpeg))


def test_the_headline_names_the_best_head_its_score_and_what_it_was_measured_on(page):
    assert "0.900 95% interval 0.880 to 0.920 Weighted F1 of dense , the best head" in page.text
    assert "the mean over 10 random splits, each with 140 pictures to train on and 32 to test on" in page.text
    assert "chosen among 4 by its mean weighted F1 on the 30 validation pictures of each split. Some" in page.text


@pytest.mark.slow
def test_with_one_split_the_head_was_not_chosen_on_what_is_reported():
    run = document()
    run["data"]["repeats"] = 1
    text = Reader(report.render(run, jpeg)).text
    assert "chosen among 4 by its weighted F1 on the 30 validation pictures, not on these." in text
    assert "flatters" not in text


def test_every_head_has_its_row_of_numbers(page):
    for name, mean in (("lda", 0.89), ("knn", 0.8), ("dummy", 0.07)):
        row = page.text[page.text.index(f" {name} {mean:.3f}") :][:200]
        for value in (mean - 0.02, mean + 0.02, mean + 0.001, mean + 0.002, mean + 0.003):
            assert f"{value:.3f}" in row
        assert "0.400 0.043 1 min 15 s 2 ms" in row


def test_the_table_says_which_differences_mean_something(page):
    assert "1 of the 3 other heads" not in page.text
    assert "2 of the 3 other heads show no clear difference: lda , dummy ." in page.text
    assert "−0.010, no clear difference −0.030 to +0.010 , p 0.310" in page.text
    assert "−0.100, worse −0.120 to −0.080 , p < 0.001" in page.text


def test_intervals_are_drawn_on_one_axis_and_what_lies_off_it_is_an_arrow(page):
    assert report.limits(document()["heads"]) == (0.75, 0.95)
    circles = [float(attributes["cx"]) for tag, attributes in page.tags if tag == "circle"]
    assert circles == pytest.approx([135, 126, 45])
    assert sum(attributes.get("class") == "beyond" for _, attributes in page.tags) == 1


@pytest.mark.parametrize(("mean", "expected"), [(1.0, (0.95, 1.0)), (0.0, (0.0, 0.05))])
def test_the_axis_ends_at_nothing_and_everything(mean, expected):
    assert report.limits([{"weighted_f1": {"mean": mean, "low": mean, "high": mean}}]) == expected


@pytest.mark.parametrize(
    ("difference", "p", "words"),
    [(-0.1, 0.01, "worse"), (0.1, 0.01, "better"), (-0.1, 0.05, report.UNCLEAR), (0.0, float("nan"), report.UNCLEAR)],
)
def test_a_difference_counts_below_five_percent(difference, p, words):
    assert report.verdict({"difference": difference, "low": 0.0, "high": 0.0, "p": p}) == words


def test_each_head_has_its_classification_report_and_parameters(page):
    assert page.text.count("ants 0.500 0.250 0.333 5 bees 0.500 0.250 0.333 5") == 4
    assert page.text.count("weighted average 0.610 0.620 0.630 10") == 4
    assert page.text.count("lr 0.01 hidden 128 × 64") == 4


def test_only_the_chosen_head_is_open(page):
    assert ["open" in attributes for tag, attributes in page.tags if tag == "details"] == [True, False, False, False]


def test_plots_are_described_for_those_who_cannot_see_them(page):
    described = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg" and "role" in attributes]
    assert described[:4] == [
        "Pictures in each of 2 classes, from 101 to 101, by split",
        "Loss of dense over 2 epochs",
        "Accuracy of dense over 2 epochs",
        "Confusion matrix of dense. Training: 8 of 10 right",
    ]
    assert "Reliability of the probabilities of knn. Expected calibration error 0.043" in described
    assert all(attributes["alt"] for tag, attributes in page.tags if tag == "img")


def test_the_most_wrong_have_thumbnail_and_probabilities_and_a_gone_picture_a_placeholder(page):
    assert "predicted bees 0.98 labelled ants 0.01 ants/1.jpg" in page.text
    assert "picture gone predicted bees 0.98 labelled ants 0.01 ants/2.jpg" in page.text
    images = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 1
    assert images[0].startswith("data:image/jpeg;base64,/9j/")


def test_what_was_left_out_unreadable_or_doubtful_is_said(page):
    assert "Left out, with too few pictures to split: wasps (2)." in page.text
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
    names = ["data", "wrong", "again", "heads", "comparison", "problems"]
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
def test_names_from_a_person_are_text_wherever_they_stand():
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
    assert "On 32 test pictures that it never saw; it was trained on 140." in page.text
    assert "None: every test picture shown was predicted right." in page.text


@pytest.mark.slow
def test_one_split_says_that_its_intervals_are_of_its_test_pictures():
    run = document()
    run["data"]["repeats"] = 1
    assert "bootstrap over its test pictures" in report.render(run, jpeg)


@pytest.mark.slow
def test_an_untrained_backbone_is_said_loudly():
    run = document()
    run["vectors"]["untrained"] = True
    page = Reader(report.render(run, jpeg))
    assert "The backbone is untrained: these scores mean nothing" in page.text
    assert "alert" in [attributes.get("role") for _, attributes in page.tags]


def test_a_fit_that_diverged_is_shown_with_dashes():
    diverged = {
        "loss": [float("nan"), None],
        "val_loss": [None, None],
        "accuracy": [0.5, 0.5],
        "val_accuracy": [0.5, 0.5],
    }
    run = document(heads=[head("dense", 0.9, history=diverged)])
    run["heads"][0]["log_loss"] = float("nan")
    page = Reader(report.render(run, jpeg))
    assert "no finite values: the fit diverged" in page.text
    assert "log loss –" in page.text


@pytest.mark.slow
def test_what_changed_over_the_epochs_is_drawn_below_the_loss():
    rates = {"lr": [0.1, 0.05], "momentum": [0.9, 0.9]}
    dense = head("dense", 0.9, history=HISTORY | rates)
    drawn = {name: (alt, figure) for name, alt, figure in report.figures(document(heads=[dense]))}
    alt, figure = drawn["dense-loss"]
    assert alt == "Loss of dense over 2 epochs, with learning rate"
    upper, lower = figure.axes
    assert (upper.get_xlabel(), lower.get_xlabel()) == ("", "epoch")
    assert list(lower.lines[0].get_ydata()) == [0.1, 0.05]
    assert len(drawn["dense-accuracy"][1].axes) == 1
    dense["shown"]["history"] = HISTORY | {"lr": [0.1, 0.1], "momentum": [0.9, 0.5]}
    drawn = {name: alt for name, alt, _ in report.figures(document(heads=[dense]))}
    assert drawn["dense-loss"] == "Loss of dense over 2 epochs, with momentum"
    dense["shown"]["history"] = HISTORY | {"lr": [0.1, 0.1], "momentum": [0.9, 0.9]}
    drawn = {name: (alt, figure) for name, alt, figure in report.figures(document(heads=[dense]))}
    assert drawn["dense-loss"][0] == "Loss of dense over 2 epochs"
    assert len(drawn["dense-loss"][1].axes) == 1


def test_sixty_classes_and_ten_heads_fit_in_three_megabytes():
    classes = [f"class {i}" for i in range(60)]
    run = document(classes)
    run["heads"] += [copy.deepcopy(run["heads"][1]) | {"name": f"another {i}"} for i in range(6)]
    page = report.render(run, jpeg)
    assert len(page.encode()) < 3_000_000
    assert all(f">{label}<" in page for label in classes)
    assert "class 0 class 1 1 of 63" in Reader(page).text


def learned(**changes):
    f1 = {"mean": 0.9, "low": 0.88, "high": 0.92}
    sizes = [{"pictures": n, "share": n / 140, "weighted_f1": f1} for n in (14, 28, 70, 140)]
    guess = {"pictures": 280, "weighted_f1": {"mean": 0.92, "low": 0.9, "high": 0.94}}
    law = {"a": 0.06, "b": 5.6, "c": 1.0}
    return {"head": EVIL, "sizes": sizes, "guess": guess, "law": law, "reason": None, "exponent": 1.0} | changes


@pytest.mark.slow
def test_what_more_pictures_would_bring_is_drawn_and_called_a_guess(tmp_path):
    run = document(heads=[head("lda", 0.9)]) | {"learning_curve": learned()}
    page = report.write(run, tmp_path, jpeg).read_text(encoding="utf-8")
    read = Reader(page)
    assert f"{EVIL} on 280 training pictures instead of 140: 0.900 → about 0.920 [0.900, 0.940], a guess" in read.text
    assert "Dashed: error = a + b · pictures^−c" in read.text
    assert "<script" not in page
    assert (tmp_path / "pictures/learning-curve.png").is_file()
    run["learning_curve"] = learned(guess=None, law=None, reason="it takes two splits or more", exponent=None)
    text = Reader(report.render(run, jpeg)).text
    assert "no guess at twice as many: it takes two splits or more" in text
    assert "Dashed" not in text


def test_the_most_frequent_mistakes_come_first_and_right_ones_never():
    assert report.confused([[5, 2, 0], [0, 4, 0], [3, 1, 6]], ["a", "b", "c"]) == [
        ("c", "a", 3, 10),
        ("a", "b", 2, 7),
        ("c", "b", 1, 10),
    ]


def test_names_become_files_each_once():
    names = ["Dense (lr=0.1)", "dense lr 0.1", "dense", "頭", "../..", "dense-2", "dense"]
    assert report.slugs(names) == ["dense-lr-0.1", "dense-lr-0.1-2", "dense", "head", "head-2", "dense-2", "dense-3"]


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
def test_a_browser_renders_the_page_and_asks_for_nothing(browser, written, scheme, paper, width):
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
    drawn = tab.locator("figure svg:visible")
    assert drawn.count() == 6
    assert all(drawn.nth(i).bounding_box()["width"] > 200 for i in range(6))
    ink = tab.evaluate("getComputedStyle(document.body).color")
    assert ink in tab.evaluate("[...document.querySelectorAll('figure text')].map(text => getComputedStyle(text).fill)")
    assert tab.evaluate("document.documentElement.scrollWidth") == width, "nothing sticks out sideways"
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
