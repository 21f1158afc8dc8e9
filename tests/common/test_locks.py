"""A lock is exclusive, and a long wait for it is reported."""

from __future__ import annotations

import threading

from winnow.common.locks import acquire_lock


def test_a_wait_of_more_than_a_second_is_reported(tmp_path):
    messages, waiting = [], threading.Event()

    def on_message(text):
        messages.append(text)
        waiting.set()

    def wait():
        with acquire_lock(tmp_path / ".lock", "another command is running", on_message):
            pass

    with acquire_lock(tmp_path / ".lock", "never reported", messages.append):
        thread = threading.Thread(target=wait)
        thread.start()
        assert waiting.wait(10)
    thread.join(10)
    assert not thread.is_alive()
    assert messages == ["another command is running"]
