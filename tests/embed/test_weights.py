"""Weights are found, downloaded completely, or reported as missing within seconds; servers are local sockets."""

from __future__ import annotations

import hashlib
import http.server
import socket
import threading
import time

import pytest

from winnow.commands.remedies import with_remedy
from winnow.common.errors import InputError
from winnow.embed import weights
from winnow.embed.recipe import Recipe
from winnow.embed.weights import WeightsMissing, find_weights

NAME = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 400


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


@pytest.fixture
def loopback():
    """This machine can talk to itself; in a namespace without any network (`unshare -n`) it cannot."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=1).close()
    except OSError as error:
        pytest.skip(f"no loopback network: {error}")


@pytest.fixture
def serve(monkeypatch, loopback):
    """A function that serves one answer (status, headers, body) for every request, at the address of the weights."""
    servers = []

    def start(body: bytes, status: int = 200, **headers: str) -> list[str]:
        requests = []

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                requests.append(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setattr(weights, "URL", f"http://127.0.0.1:{server.server_port}/")
        return requests

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def left_in(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_random_weights_need_no_file_and_differ_by_width():
    assert find_weights(Recipe(weights="random")).file is None
    digests = {find_weights(Recipe(weights="random", alpha=alpha)).digest for alpha in (0.35, 1.0)}
    assert len(digests) == 2
    assert find_weights(Recipe(weights="random")) == find_weights(Recipe(weights="random"))


def test_imagenet_weights_are_searched_where_keras_keeps_them(home):
    home.mkdir(parents=True)
    (home / NAME).write_bytes(HDF5)
    found_weights = find_weights(Recipe())
    assert found_weights.file == home / NAME
    assert found_weights.digest == hashlib.sha256(HDF5).hexdigest()


def test_every_size_uses_the_weights_of_224(home):
    assert weights.imagenet_file(1.4).name == "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.4_224_no_top.h5"
    home.mkdir(parents=True)
    (home / NAME).write_bytes(HDF5)
    assert find_weights(Recipe(size=96)) == find_weights(Recipe(size=448))


def test_without_keras_home_it_is_the_users_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights.keras_home() == tmp_path / ".keras"
    monkeypatch.setenv("KERAS_HOME", "~/elsewhere")
    assert weights.keras_home() == tmp_path / "elsewhere"


def test_custom_weights_are_identified_by_their_bytes(tmp_path):
    for name in ("a.h5", "b.weights.h5"):
        (tmp_path / name).write_bytes(HDF5)
    first, second = (find_weights(Recipe(weights=str(tmp_path / name))) for name in ("a.h5", "b.weights.h5"))
    assert first.digest == second.digest == hashlib.sha256(HDF5).hexdigest()
    assert first.file == tmp_path / "a.h5"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsMissing, match=r"mine\.h5: no such weights file; weights are imagenet, random or a"):
        find_weights(Recipe(weights=str(tmp_path / "mine.h5")))


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "weights.pt").write_bytes(HDF5)
    with pytest.raises(InputError, match=r"weights\.pt is not a Keras weights file, whose name ends in \.h5"):
        find_weights(Recipe(weights=str(tmp_path / "weights.pt")))


def test_without_a_network_the_error_names_the_file_and_the_folder(home, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setattr(weights, "URL", f"http://127.0.0.1:{port}/")
    with pytest.raises(WeightsMissing) as caught:
        find_weights(Recipe())
    message = str(caught.value)
    assert f"not in {home} (set KERAS_HOME for another folder)" in message
    assert message.endswith(f"their file is {NAME}")
    assert "\n" not in message
    assert "use --weights random" in with_remedy(caught.value)
    assert not home.exists()


def test_a_server_that_never_responds_times_out(home, monkeypatch, loopback):
    monkeypatch.setattr(weights, "TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(weights, "URL", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        start = time.monotonic()
        with pytest.raises(WeightsMissing, match="cannot be downloaded"):
            find_weights(Recipe())
        assert 0.4 < time.monotonic() - start < 5


def test_a_name_look_up_that_hangs_times_out_too(home, monkeypatch):
    monkeypatch.setattr(weights, "TIMEOUT", 0.3)
    over = threading.Event()
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: over.wait(20))
    start = time.monotonic()
    with pytest.raises(WeightsMissing):
        find_weights(Recipe())
    assert time.monotonic() - start < 5
    over.set()


def test_a_download_is_stored_and_requested_once(home, serve):
    requests = serve(HDF5, Content_Length=str(len(HDF5)))
    assert find_weights(Recipe()).digest == hashlib.sha256(HDF5).hexdigest()
    assert find_weights(Recipe()).file == home / NAME
    assert requests == [f"/{NAME}"]
    (home.parent / "plain").touch()
    assert (home / NAME).stat().st_mode == (home.parent / "plain").stat().st_mode
    assert left_in(home) == [NAME]
    assert (home / NAME).read_bytes() == HDF5


def test_a_download_cut_short_leaves_nothing(home, serve):
    serve(HDF5[:5000], Content_Length=str(len(HDF5)))
    with pytest.raises(
        WeightsMissing, match=rf"downloading {NAME} into .* failed \(5000 of {len(HDF5)} bytes arrived\)"
    ):
        find_weights(Recipe())
    assert left_in(home) == []


def test_a_chunked_download_cut_short_leaves_nothing(home, monkeypatch, loopback):
    def answer(server):
        connection, _ = server.accept()
        with connection:
            connection.recv(9999)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\n" + HDF5[:100])

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(weights, "URL", f"http://127.0.0.1:{server.getsockname()[1]}/")
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        with pytest.raises(WeightsMissing, match="try again"):
            find_weights(Recipe())
    assert left_in(home) == []


def test_a_web_page_instead_of_the_weights_is_not_stored(home, serve):
    serve(b"<html>Please log in to the hotel's network</html>")
    with pytest.raises(WeightsMissing, match="the response is not a weights file"):
        find_weights(Recipe())
    assert left_in(home) == []


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_refused_download_is_missing_weights(home, serve, status):
    serve(b"", status)
    with pytest.raises(WeightsMissing, match="cannot be downloaded"):
        find_weights(Recipe())


def test_a_response_that_is_not_http_is_missing_weights(home, monkeypatch, loopback):
    def answer(server):
        connection, _ = server.accept()
        with connection:
            connection.recv(9999)
            connection.sendall(b"220 mail.example.org ESMTP\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(weights, "URL", f"http://127.0.0.1:{server.getsockname()[1]}/")
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        with pytest.raises(WeightsMissing):
            find_weights(Recipe())


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path, monkeypatch, serve):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    serve(HDF5)
    with pytest.raises(WeightsMissing, match=r"downloading .* failed \(.*Not a directory"):
        find_weights(Recipe())
