"""The two tiny models: download with all its faults, the fallback, and bad input."""
import http.server
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from conftest import REPO, blob_id, load_script, made_tweets, run_script, tree

SCRIPTS = {
    "10kB": REPO / "tinymodel-emotion-classification-10kB.py",
    "250kB": REPO / "tinymodel-emotion-classification-250kB.py",
}
both = pytest.mark.parametrize("size", SCRIPTS)
TRAIN = b"\n".join(made_tweets(400, 1)) + b"\n"
TEST = b"\n".join(made_tweets(100, 2)) + b"\n"
OLD = b"the model of an earlier run"


# Helpers


@pytest.fixture
def call(monkeypatch, capfd, tmp_path):
    """Run main() of a fresh module: call(size, *arguments) gives code, out and err.

    OUTPUT_DIR is tmp_path/out, one epoch a phase. before: called with the module before main().
    """

    def run(size, *arguments, before=None):
        module = load_script(SCRIPTS[size])
        pauses = []
        module.time = SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic, perf_counter=time.perf_counter)
        if before:
            before(module)
        options = ["--OUTPUT_DIR", tmp_path / "out", "--NUM_EPOCHS", 1, *arguments]
        monkeypatch.setattr(sys, "argv", [str(SCRIPTS[size]), *map(str, options)])
        capfd.readouterr()
        code = module.main()
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=err, pauses=pauses)

    return run


@pytest.fixture
def old_model(tmp_path):
    """An earlier model in tmp_path/out; it must be there unchanged when the test is over."""
    path = tmp_path / "out" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(OLD)
    yield path
    assert path.read_bytes() == OLD
    assert not list((tmp_path / "out").rglob(".partial*"))


def assert_one_line(result, *words):
    assert result.code == 2
    assert result.err.startswith("error: ") and result.err.count("\n") == 1 and result.err.endswith("\n")
    assert "FINAL SUMMARY" not in result.out
    for word in words:
        assert str(word) in result.err, result.err


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves /<behaviour>/<train or test>; what each does is in do_GET."""

    def log_message(self, *_):
        pass

    def answer(self, status, length, body=b""):
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        server = self.server
        server.asked.append(self.path)
        _, how, name = self.path.split("/")
        body = {"train": TRAIN, "test": TEST}[name]
        times = server.asked.count(self.path)
        try:
            if how.isdigit():
                self.answer(int(how), 0)
            elif how == "flaky" and times < 3:
                self.answer(500, 0)
            elif how == "cut-once" and times == 1 or how == "cut":
                self.answer(200, len(body), body[:len(body) // 2])
            elif how == "wrong":
                self.answer(200, len(body), body[:-1] + b"?")
            elif how == "mute":
                server.over.wait(60)
            elif how == "stall":
                self.answer(200, len(body), body[:len(body) // 2])
                self.wfile.flush()
                server.over.wait(60)
            elif how == "trickle":
                self.answer(200, 300)
                while server.trickled < 300 and not server.over.wait(0.02):
                    self.wfile.write(b"0")
                    server.trickled += 1
            elif how == "chunked":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for part in (body[:1000], body[1000:], b""):
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            elif how == "unsized":
                self.answer(200, None, body)
            else:
                self.answer(200, len(body), body)
        except OSError:
            pass


@pytest.fixture
def server(direct_network):
    """A local server. url(behaviour, name) is an address, asked the list of paths asked for."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        served.daemon_threads, served.block_on_close = True, False
        served.asked, served.over, served.trickled = [], threading.Event(), 0
        served.url = lambda how, name="train": f"http://127.0.0.1:{served.server_port}/{how}/{name}"
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield served
        served.over.set()
        served.shutdown()
        thread.join()


@pytest.fixture
def dead_url(direct_network):
    """An address where nothing listens: the port is bound, but not open."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/train.txt"


@pytest.fixture
def rows(tmp_path):
    """Options that name good local data."""
    (tmp_path / "train.txt").write_bytes(TRAIN)
    (tmp_path / "test.txt").write_bytes(TEST)
    return ["--TRAIN_URL", tmp_path / "train.txt", "--TEST_URL", tmp_path / "test.txt"]


def addresses(server, how):
    return ["--TRAIN_URL", server.url(how), "--TEST_URL", server.url("ok", "test"),
            "--TRAIN_HASH", blob_id(TRAIN), "--TEST_HASH", blob_id(TEST)]


# Download


@both
def test_a_download_is_checked_cached_and_used_again_without_a_server(call, server, tmp_path, size):
    first = call(size, *addresses(server, "ok"))
    assert first.code == 0, first.err
    assert server.asked == ["/ok/train", "/ok/test"]
    cached = tree(tmp_path / "out" / "data")
    assert TRAIN in cached.values() and TEST in cached.values()
    model = (tmp_path / "out" / "model.safetensors").read_bytes()
    results = json.loads((tmp_path / "out" / "results.json").read_bytes())
    assert results["dataset"] == "Twitter sentiment" and results["note"] == "" and results["test_rows"] == 100

    second = call(size, *addresses(server, "ok"), before=forbid_network)
    assert second.code == 0, second.err
    assert len(server.asked) == 2
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == model


def forbid_network(module):
    module.requests = SimpleNamespace(**vars(module.requests))
    module.requests.get = lambda *_, **__: pytest.fail("a connection")


@both
@pytest.mark.parametrize("damage", [TRAIN[:-5], b"", TRAIN.replace(b"a", b"b", 1)], ids=["cut", "empty", "changed"])
def test_a_broken_cached_file_is_replaced(call, server, tmp_path, size, damage):
    module = load_script(SCRIPTS[size])
    module.DOWNLOAD_RETRIES = 0
    cache = str(tmp_path / "cache")
    path, data = module.acquire_file("train", server.url("ok"), "", blob_id(TRAIN), cache)
    assert data == TRAIN
    with open(path, "wb") as file:
        file.write(damage)
    with pytest.raises(module.InputError):
        module.acquire_file("train", server.url("404"), "", blob_id(TRAIN), cache)
    assert damage not in tree(cache).values()
    with open(path, "wb") as file:
        file.write(damage)
    assert module.acquire_file("train", server.url("ok"), "", blob_id(TRAIN), cache) == (path, TRAIN)
    assert list(tree(cache).values()) == [TRAIN]


FAULTS = {
    "404": ("the server answered 404", 1), "403": ("the server answered 403", 1),
    "500": ("the server answered 500", 3), "503": ("the server answered 503", 3),
    "stall": ("no byte for 0.3 s (DOWNLOAD_TIMEOUT)", 3), "mute": ("no byte for 0.3 s (DOWNLOAD_TIMEOUT)", 3),
    "cut": ("cut off", 3), "wrong": ("wrong bytes", 1),
}


@both
@pytest.mark.parametrize("how", FAULTS)
def test_a_download_that_fails_is_one_line_and_leaves_nothing(call, server, old_model, tmp_path, size, how):
    why, times = FAULTS[how]
    result = call(size, *addresses(server, how), "--DOWNLOAD_TIMEOUT", "0.3")
    assert_one_line(result, server.url(how), why, "TRAIN_URL", *(["TRAIN_HASH"] if how == "wrong" else []))
    assert server.asked == [f"/{how}/train"] * times
    assert len(result.pauses) == times - 1
    assert result.pauses == sorted(set(result.pauses)), "pauses grow"
    assert set(tree(tmp_path / "out" / "data").values()) <= {b""}


@both
def test_a_refused_connection_is_one_line(call, dead_url, old_model, size):
    result = call(size, "--TRAIN_URL", dead_url)
    assert_one_line(result, dead_url, "refused", "TRAIN_URL")


@both
def test_a_fault_of_the_test_data_names_their_constant(call, server, old_model, size):
    result = call(size, *addresses(server, "ok"), "--TEST_URL", server.url("404", "test"))
    assert_one_line(result, server.url("404", "test"), "TEST_URL")
    assert "TRAIN_URL" not in result.err


@both
@pytest.mark.parametrize("how, times", [("flaky", 3), ("cut-once", 2), ("unsized", 1), ("chunked", 1)])
def test_a_download_that_succeeds_at_last_is_used(call, server, tmp_path, size, how, times):
    result = call(size, *addresses(server, how))
    assert result.code == 0, result.err
    assert server.asked.count(f"/{how}/train") == times
    assert TRAIN in tree(tmp_path / "out" / "data").values()


@both
def test_a_trickle_is_given_up_at_the_limit(call, server, old_model, size):
    """A byte every 20 ms never runs into the timeout; the limit must end it well before its end."""
    result = call(size, *addresses(server, "trickle"), "--DOWNLOAD_LIMIT", "0.5", "--DOWNLOAD_RETRIES", "0")
    assert_one_line(result, server.url("trickle"), "DOWNLOAD_LIMIT")
    assert server.trickled < 200


@both
def test_the_mirror_is_asked_where_a_default_address_fails(server, tmp_path, monkeypatch, size):
    module = load_script(SCRIPTS[size])
    for split, data in (("train", TRAIN), ("test", TEST)):
        url = server.url("404", split)
        monkeypatch.setattr(module, f"DEFAULT_{split.upper()}_URL", url)
        _, got = module.acquire_file(split, url, server.url("ok", split), blob_id(data), str(tmp_path / "cache"))
        assert got == data
    assert server.asked == ["/404/train", "/ok/train", "/404/test", "/ok/test"]


@both
def test_where_both_addresses_fail_both_are_named(server, tmp_path, monkeypatch, size):
    module = load_script(SCRIPTS[size])
    monkeypatch.setattr(module, "DEFAULT_TRAIN_URL", server.url("404"))
    with pytest.raises(module.InputError) as error:
        module.acquire_file("train", server.url("404"), server.url("wrong"), blob_id(TRAIN), str(tmp_path))
    assert server.url("404") in str(error.value) and server.url("wrong") in str(error.value)
    assert "TRAIN_HASH" in str(error.value) and "\n" not in str(error.value)


@both
def test_the_mirror_is_not_asked_for_an_address_of_the_users(server, tmp_path, size):
    module = load_script(SCRIPTS[size])
    with pytest.raises(module.InputError):
        module.acquire_file("train", server.url("404"), server.url("ok"), blob_id(TRAIN), str(tmp_path))
    assert server.asked == ["/404/train"]


@both
@pytest.mark.parametrize("url", ["http://", "ftp://127.0.0.1/x", "http://[::1", "http://127.0.0.1:99999/x"])
def test_an_address_that_is_none_is_one_line(call, direct_network, old_model, size, url):
    assert_one_line(call(size, "--TRAIN_URL", url), url, "TRAIN_URL")


def test_a_missing_certificate_bundle_is_one_line(call, direct_network, old_model, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
    result = call("10kB", "--TRAIN_URL", "https://127.0.0.1:9/x", "--DOWNLOAD_RETRIES", "0")
    assert_one_line(result, "https://127.0.0.1:9/x", "bundle.pem", "TRAIN_URL")


def test_the_command_itself_reports_a_failed_download_in_one_line(server, old_model, tmp_path):
    process = run_script(SCRIPTS["10kB"], *addresses(server, "wrong"), "--OUTPUT_DIR", tmp_path / "out")
    assert process.returncode == 2
    assert re.fullmatch(rb"error: [^\n]*/wrong/train[^\n]*TRAIN_URL[^\n]*\n", process.stderr)


# Fallback


@pytest.fixture(scope="session")
def fallback(tmp_path_factory):
    """A run of the 10kB script that falls back to the VADER tweets, through the real pip."""
    out = tmp_path_factory.mktemp("fallback")
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    options = ["--FALLBACK", "always", "--TRAIN_URL", "http://127.0.0.1:9/x", "--DOWNLOAD_RETRIES", "0", "--OUTPUT_DIR", out]
    process = run_script(SCRIPTS["10kB"], *options, env=environment)
    if process.returncode:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(out / "pip"), "vaderSentiment==0.5"]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("pip cannot download vaderSentiment here")
    assert process.returncode == 0, process.stderr.decode()
    return SimpleNamespace(out=out, stdout=process.stdout.decode(), results=json.loads((out / "results.json").read_bytes()))


def test_the_fallback_through_pip_says_so_everywhere(fallback):
    assert fallback.results["dataset"].startswith("VADER")
    note = fallback.results["note"]
    assert "smaller VADER set was used" in note
    assert "http://127.0.0.1:9/x" in note and "refused" in note
    lines = fallback.stdout.splitlines()
    assert lines[-7] == f"note: {note}", "just above the summary"
    assert sum(note in line for line in lines) == 2
    assert any("VADER" in line for line in lines)


def test_the_fallback_is_the_whole_set_with_a_fixed_split(fallback, monkeypatch):
    module = load_script(SCRIPTS["10kB"])
    data = module.acquire_vader(str(fallback.out / "data"), "why")
    assert 4000 < len(data.train_texts) + len(data.test_texts) <= 4200
    assert abs(len(data.train_texts) - 4 * len(data.test_texts)) <= 4
    assert fallback.results["test_rows"] == len(data.test_texts) == len(data.test_labels)
    assert len(data.train_texts) == len(data.train_labels)
    ratings = (row.split(b"\t", 2) for row in (fallback.out / "data" / "vader.txt").read_bytes().splitlines())
    signs = {text: float(rating) for _, rating, text in ratings}
    for text, label in zip(data.train_texts + data.test_texts, [*data.train_labels, *data.test_labels]):
        assert (signs[text] > 0) == (label == 1) and signs[text] != 0
    assert 0.5 < fallback.results["final_test_accuracy"]


def dead_defaults(url):
    def change(module):
        module.TRAIN_URL = module.TEST_URL = module.DEFAULT_TRAIN_URL = module.DEFAULT_TEST_URL = url
        module.TRAIN_MIRROR = module.TEST_MIRROR = url + "?mirror"
        module.DOWNLOAD_RETRIES = 0
    return change


@both
def test_the_default_addresses_fall_back_by_themselves(call, fallback, dead_url, tmp_path, size):
    shutil.copytree(fallback.out / "data", tmp_path / "out" / "data")
    result = call(size, before=dead_defaults(dead_url))
    assert result.code == 0, result.err
    assert result.out.count("the smaller VADER set was used") == 2
    assert dead_url in result.out and dead_url + "?mirror" in result.out


@both
def test_a_damaged_fallback_file_is_not_used(call, fallback, dead_url, tmp_path, size):
    shutil.copytree(fallback.out / "data", tmp_path / "out" / "data")
    path = tmp_path / "out" / "data" / "vader.txt"
    whole = path.read_bytes()
    path.write_bytes(whole[:20000] + b"\njunk")
    result = call(size, before=dead_defaults(dead_url))
    assert result.code == 0, result.err
    assert path.read_bytes() == whole


@both
def test_without_fallback_dead_default_addresses_are_one_line(call, dead_url, old_model, size):
    result = call(size, "--FALLBACK", "never", before=dead_defaults(dead_url))
    assert_one_line(result, dead_url, dead_url + "?mirror", "refused", "TRAIN_URL")


@both
def test_where_pip_fails_too_both_reasons_are_given(call, dead_url, old_model, monkeypatch, size):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    result = call(size, before=dead_defaults(dead_url))
    assert_one_line(result, dead_url, "refused", "TRAIN_URL", "vaderSentiment==0.5")


# Bad data


BAD_DATA = {
    "no tabs": (b"good day\nbad day\n", ["row 1", "tab"]),
    "label 2": (b"1\tgood\n0\tbad\n2\tso so\n", ["row 3", "'2'"]),
    "word as label": (b"label\ttext\n0\tbad\n", ["row 1", "'label'"]),
    "no text": (b"1\tgood\n0\t\n", ["row 2", "text"]),
    "no label": (b"1\tgood\n\tbad\n", ["row 2", "label"]),
    "empty": (b"", ["no rows"]),
    "one class": (b"1\tgood\n1\tfine\n", ["only rows with label 1"]),
    "not UTF-8": (b"1\tgood\n0\tb\xe4d\n", ["row 2", "UTF-8"]),
    "UTF-16": ("1\tgood\n0\tbad\n".encode("utf-16"), ["row 1"]),
    "missing": (None, ["no file"]),
}


@both
@pytest.mark.parametrize("which", ["TRAIN_URL", "TEST_URL"])
@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_are_one_line(call, rows, old_model, tmp_path, size, case, which):
    content, words = BAD_DATA[case]
    path = tmp_path / "bad.txt"
    if content is not None:
        path.write_bytes(content)
    assert_one_line(call(size, *rows, f"--{which}", path), path, *words)


@both
def test_too_few_rows_are_one_line(call, rows, old_model, tmp_path, size):
    path = tmp_path / "few.txt"
    path.write_bytes(b"1\tgood\n0\tbad\n" * 20)
    assert_one_line(call(size, *rows, "--TRAIN_URL", path), "too few")
    assert_one_line(call(size, *rows, "--MIN_COUNT", 10**6), "MIN_COUNT")


def test_the_command_itself_reports_bad_data_in_one_line(rows, old_model, tmp_path):
    path = tmp_path / "bad.txt"
    path.write_bytes(BAD_DATA["not UTF-8"][0])
    process = run_script(SCRIPTS["250kB"], *rows, "--TRAIN_URL", path, "--OUTPUT_DIR", tmp_path / "out")
    assert process.returncode == 2
    assert re.fullmatch(rb"error: [^\n]*bad\.txt, row 2: [^\n]*\n", process.stderr)


# Bad constants


@both
@pytest.mark.parametrize("arguments, word", [
    (["--NUM_EPOCHS", "-1"], "NUM_EPOCHS"), (["--NUM_EPOCHS", "0"], "NUM_EPOCHS"), (["--NUM_EPOCHS", "2.5"], "NUM_EPOCHS"),
    (["--BATCH_SIZE", "x"], "BATCH_SIZE"), (["--BATCH_SIZE", ""], "BATCH_SIZE"), (["--FALLBACK", "maybe"], "FALLBACK"),
    (["--CHAR_NGRAMS", "99"], "CHAR_NGRAMS"), (["--CHAR_NGRAMS", "3,x"], "CHAR_NGRAMS"), (["--WORD_NGRAMS", "0"], "WORD_NGRAMS"),
    (["--WORD_NGRAMS", "", "--CHAR_NGRAMS", ""], "WORD_NGRAMS"), (["--LEARNING_RATE", "nan"], "LEARNING_RATE"),
    (["--LEARNING_RATE", "inf"], "LEARNING_RATE"), (["--ENABLE_LOGS", "perhaps"], "ENABLE_LOGS"),
    (["--MODEL_BYTES", "300"], "MODEL_BYTES"), (["--VALUE_BITS", "8", "--FINGERPRINT_BITS", "8"], "VALUE_BITS"),
    (["--DOWNLOAD_TIMEOUT", "0"], "DOWNLOAD_TIMEOUT"), (["--VALIDATION_FRACTION", "1"], "VALIDATION_FRACTION"),
    (["--SEED", "-1"], "SEED"), (["--NO_SUCH_CONSTANT", "1"], "NO_SUCH_CONSTANT"), (["--NUM_EPOCH", "1"], "NUM_EPOCH"),
    (["stray"], "stray"), (["--predict"], "predict"), (["--explain"], "--predict"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_wrong_constant_is_one_line(call, rows, old_model, size, arguments, word):
    assert_one_line(call(size, *rows, *arguments), word)


@both
@pytest.mark.parametrize("name, value", [
    ("PATIENCE", "6"), ("PATIENCE", True), ("CHAR_NGRAMS", 4), ("TRAIN_URL", None), ("ENABLE_LOGS", 1),
    ("LEARNING_RATE", "0.1"), ("WORD_NGRAMS", ("1",)),
])
def test_a_constant_edited_to_a_wrong_type_is_one_line(call, old_model, size, name, value):
    assert_one_line(call(size, "--predict", "x", before=lambda module: setattr(module, name, value)), name)


# Bad model files


def safetensors_file(dtype, width, metadata, names=("weight",)):
    """Return a safetensors file of four zeros a tensor, `width` bytes each."""
    place = lambda i: [4 * width * i, 4 * width * (i + 1)]
    header = {name: {"dtype": dtype, "shape": [4], "data_offsets": place(i)} for i, name in enumerate(names)}
    header = json.dumps({**header, **({"__metadata__": metadata} if metadata else {})}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * width * len(names))


def numbers(*values):
    """Return a file with the tensors of a model and these numbers as its entries and bits."""
    description = f"1 512 1 0 4 {' '.join(map(str, values))} 1e-2 00000000"
    return safetensors_file("I8", 1, {"tinymodel": description}, ("steps", "table"))


OTHER_FILES = {
    "text": b"label\ttext\n" * 100, "empty": b"", "zeros": bytes(10**4), "zip": b"PK\x03\x04" + bytes(100), "huge header": b"\xff" * 100,
    "other model": safetensors_file("F32", 4, {"format": "pt"}), "no metadata": safetensors_file("U8", 1, None),
    "bfloat16": safetensors_file("BF16", 2, {"format": "pt"}), "float8": safetensors_file("F8_E4M3", 1, {"format": "pt"}),
    "our name": safetensors_file("U8", 1, {"tinymodel": "1 512 1,2 0 4 21 5 4 1e-2 00000000"}),
    "another version": safetensors_file("U8", 1, {"tinymodel": "2 x"}),
    "huge number": numbers(21, 5, 10**30), "negative number": numbers(21, 5, -4), "no entries": numbers(-64, 1, 0),
}


@both
@pytest.mark.parametrize("kind", OTHER_FILES)
def test_a_file_that_is_no_model_of_ours_is_one_line(call, tmp_path, size, kind):
    path = tmp_path / "out" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(OTHER_FILES[kind])
    assert_one_line(call(size, "--predict", "x"), path, f"{SCRIPTS[size].name} --OUTPUT_DIR")
    assert path.read_bytes() == OTHER_FILES[kind]


@both
def test_a_cut_or_flipped_model_is_one_line(call, rows, tmp_path, size):
    assert call(size, *rows).code == 0
    path = tmp_path / "out" / "model.safetensors"
    content = path.read_bytes()
    assert call(size, "--predict", "x").code == 0
    middle = len(content) // 2
    damaged = [content[:-1], content[:middle], content[:4], content + b"x"]
    damaged += [content[:i] + bytes([content[i] ^ 4]) + content[i + 1:] for i in (0, 30, 90, middle, len(content) - 1)]
    for data in damaged:
        path.write_bytes(data)
        assert_one_line(call(size, "--predict", "x"), path, f"{SCRIPTS[size].name} --OUTPUT_DIR")
    path.unlink()
    assert_one_line(call(size, "--predict", "x"), path, f"{SCRIPTS[size].name} --OUTPUT_DIR")


# Size, disk and folder


@both
@pytest.mark.parametrize("limit", [2000, 50_000])
def test_the_model_is_never_larger_than_its_limit(call, rows, tmp_path, size, limit):
    result = call(size, *rows, "--MODEL_BYTES", limit)
    assert result.code == 0, result.err
    content = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert limit - 400 < len(content) <= limit
    assert f"Model Size: {len(content)} bytes" in result.out


@both
def test_a_model_that_came_out_too_large_is_not_saved(call, rows, old_model, size):
    def grow(module):
        serialise, module.serialise = module.serialise, lambda model: serialise(model) + bytes(10**6 * bool(len(model.table)))
    assert_one_line(call(size, *rows, before=grow), "MODEL_BYTES")


@both
@pytest.mark.parametrize("options", [
    ["--WORD_NGRAMS", "", "--CHAR_NGRAMS", "8"], ["--CHAR_NGRAMS", "", "--SKIP_BIGRAMS", "1", "--WORD_NGRAMS", "4"],
    ["--EMBEDDING_DIM", "3", "--VALUE_BITS", "1"], ["--ENABLE_LOGS", "True"],
], ids=" ".join)
def test_other_constants_work_too(call, rows, tmp_path, size, options):
    (tmp_path / "train.txt").write_bytes(TRAIN + b"0\t@bob\n1\t'\n")
    result = call(size, *rows, *options)
    assert result.code == 0, result.err
    assert "FINAL SUMMARY" in result.out and "nan" not in result.out
    if "--ENABLE_LOGS" in options:
        assert "Self CPU" in result.out and "loss" in result.out


@both
def test_a_folder_that_cannot_be_written_is_one_line(call, rows, tmp_path, size):
    (tmp_path / "file").write_bytes(b"x")
    folder = tmp_path / "file" / "out"
    assert_one_line(call(size, *rows, "--OUTPUT_DIR", folder), folder, "OUTPUT_DIR")
    assert (tmp_path / "file").read_bytes() == b"x"


def disk_full_after(number):
    """Return a function for a new process, whose files can then have `number` bytes at most."""
    def limit():
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))
    return limit


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
@pytest.mark.parametrize("size, number, what", [
    ("10kB", 4000, "model.safetensors"), ("250kB", 4000, "model.safetensors"), ("10kB", 20_000, "tinymodel.h"),
])
def test_a_full_disk_is_one_line_and_loses_nothing(rows, old_model, tmp_path, size, number, what):
    """The file that does not fit is named, and no file of the earlier run has been replaced."""
    (tmp_path / "out" / "tinymodel.h").write_bytes(OLD)
    (tmp_path / "out" / "results.json").write_bytes(OLD)
    options = [*rows, "--NUM_EPOCHS", 1, "--OUTPUT_DIR", tmp_path / "out"]
    process = run_script(SCRIPTS[size], *options, preexec_fn=disk_full_after(number))
    result = SimpleNamespace(code=process.returncode, out=process.stdout.decode(), err=process.stderr.decode())
    assert_one_line(result, what, "OUTPUT_DIR")
    assert (tmp_path / "out" / "tinymodel.h").read_bytes() == OLD
    assert (tmp_path / "out" / "results.json").read_bytes() == OLD


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_full_disk_in_a_download_is_one_line(server, old_model, tmp_path):
    options = [*addresses(server, "ok"), "--OUTPUT_DIR", tmp_path / "out"]
    process = run_script(SCRIPTS["10kB"], *options, preexec_fn=disk_full_after(1000))
    result = SimpleNamespace(code=process.returncode, out=process.stdout.decode(), err=process.stderr.decode())
    assert_one_line(result, "cannot write")
    assert TRAIN not in tree(tmp_path / "out" / "data").values()


# What pip brings is checked too


FAKE_PIP = """\
import io, sys, tarfile, zipfile
folder = sys.argv[sys.argv.index("--dest") + 1]
content = {content!r}
inner = io.BytesIO()
with tarfile.open(fileobj=inner, mode="w:gz") as archive:
    info = tarfile.TarInfo("hutto_ICWSM_2014/tweets_GroundTruth.txt")
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))
with zipfile.ZipFile(folder + "/vaderSentiment-0.5.zip", "w") as outer:
    outer.writestr("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz", inner.getvalue())
if {junk}:
    open(folder + "/vaderSentiment-0.5.zip", "wb").write(b"junk")
"""


@pytest.mark.parametrize("junk", [False, True])
def test_a_wrong_archive_from_pip_is_never_trained_on(tmp_path, junk):
    """A pip that brings other bytes stands in for a broken index, which cannot be had."""
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").write_text("")
    content = b"".join(b"%d\t%d\tsome text %d\n" % (i, i % 2 * 2 - 1, i) for i in range(40))
    (tmp_path / "pip" / "__main__.py").write_text(FAKE_PIP.format(content=content, junk=junk))
    out = tmp_path / "out"
    result = run_script(SCRIPTS["10kB"], "--TRAIN_URL", "http://127.0.0.1:9/x", "--FALLBACK", "always",
                        "--DOWNLOAD_RETRIES", 0, "--OUTPUT_DIR", out,
                        env={**os.environ, "PYTHONPATH": str(tmp_path), "NO_PROXY": "*"})
    error = result.stderr.decode()
    assert result.returncode == 2 and error.startswith("error: ") and error.count("\n") == 1
    assert "vaderSentiment" in error and "refused" in error
    assert not (out / "data" / "vader.txt").exists()


def test_a_utf_16_file_is_told_so(call, tmp_path):
    path = tmp_path / "utf16.txt"
    path.write_bytes("0\tsad\n1\tglad\n".encode("utf-16"))
    assert_one_line(call("10kB", "--TRAIN_URL", path, "--TEST_URL", path), "utf16.txt, row 1", "UTF-8")


def test_an_address_does_not_change_the_reason(call):
    result = call("10kB", "--TRAIN_URL", "http://127.0.0.1:9/resolve/broken/a.txt", "--DOWNLOAD_RETRIES", "0")
    assert_one_line(result, "refused")
