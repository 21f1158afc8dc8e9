from __future__ import annotations

from winnow.workflow.runs import write_history


def test_a_head_that_ended_early_has_fewer_rows(tmp_path):
    file = tmp_path / "history.csv"
    write_history(
        file, {"long": {"loss": [0.9, 0.5, 0.4], "lr": [0.1, 0.1, 0.05]}, "short": {"loss": [0.8], "lr": [0.2]}}
    )
    assert file.read_text().splitlines() == [
        "head,epoch,loss,lr",
        "long,0,0.9,0.1",
        "long,1,0.5,0.1",
        "long,2,0.4,0.05",
        "short,0,0.8,0.2",
    ]
