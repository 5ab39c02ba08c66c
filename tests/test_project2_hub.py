"""Project2: models from the hub and the default data from their address, from a local server that fails in many ways."""
import hashlib
import http.server
import json
import os

import pytest

from project2 import Forks, assert_good

from safetensors.torch import load_file

from conftest import assert_one_line, blob_id, csv_bytes, serving, tree

pytest_plugins = ["project2"]


# A stand-in for the hub


class Handler(http.server.BaseHTTPRequestHandler):
    """Enough of the hub: a model's list of files, and the files. A name's first part says how it fails, until healed."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, body, code=200, length=None, **headers):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
        self.close_connection = length is not None and length != len(body)

    def answer_data(self, how, name):
        """Answer a request for one of the data files."""
        served, body = self.server, self.server.data[name]
        if how in ("missing", "500"):
            return self.answer(b"", 404 if how == "missing" else 500)
        if how in served.failing:  # the first time alone
            served.failing.remove(how)
            return self.answer(b"", 500)
        if how == "hanging":
            served.over.wait(60)
            self.close_connection = True
            return None
        if how == "slow":
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            for place in range(0, len(body), 400):
                self.wfile.write(body[place:place + 400])
                if served.over.wait(0.1):
                    break
            self.close_connection = True
            return None
        return self.answer(body[:len(body) // 2] if how == "cut" else body, length=len(body))

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        served = self.server
        path, _, query = self.path.partition("?")
        parts = path.strip("/").split("/")
        names = parts[2:] if parts[:2] == ["api", "models"] else parts
        how = "good" if names[0] in served.healed else names[0]
        served.asked.append((names[0], path))
        if how == "500":
            return self.answer(b"", 500)
        if how == "hanging" or how == "stalled" and path.endswith("model.safetensors") and self.command == "GET":
            served.over.wait(60)
            self.close_connection = True
            return None
        if how == "404":
            return self.answer(b'{"error": "Repository not found"}', 404, X_Error_Code="RepoNotFound")
        if parts[0] == "data":
            return self.answer_data(*parts[1:])
        if "tree" in parts[3:]:  # as huggingface_hub 1 asks
            entries = [{"type": "file", "path": name, "size": len(body), "oid": blob_id(body)}
                       for name, body in served.files.items()]
            return self.answer(json.dumps(entries).encode(), Content_Type="application/json")
        if parts[0] == "api":
            content = json.dumps(served.listing(names[:2], "blobs" in query)).encode()
            return self.answer(content, Content_Type="application/json")
        body = served.files.get(parts[-1])
        if body is None:
            return self.answer(b"", 404, X_Error_Code="EntryNotFound")
        headers = {"ETag": f'"{served.etag(parts[-1])}"', "X_Repo_Commit": served.commit}
        length = len(body)
        if how == "cut" and parts[-1] == "model.safetensors" or how == "partly" and parts[-1] == "config.json":
            body = body[:length // 2]
            served.over.wait(0.5)  # so that what is downloaded at the same time is there before this fails
        if how == "wrong" and parts[-1] == "model.safetensors":
            body = body[:20] + bytes(255 - byte for byte in body[20:60]) + body[60:]
        if how == "subtly" and parts[-1] == "model.safetensors":
            body = body[:-40] + bytes(40)
        return self.answer(body, length=length if self.command == "GET" else None, **headers)


@pytest.fixture
def server(direct_network, data, bases, no_pause):
    """A local server that stands in for the hub, with MiniLM's small model, and for the data's address."""
    with serving(Handler, healed=set(), failing=set()) as served:
        served.files = {**tree(bases["MiniLM"]), "README.md": b"x", "pytorch_model.bin": b"not asked for",
                        "onnx/model.onnx": b"x", "modeling.py": b"raise SystemExit('run')"}
        served.commit, served.url = "c" * 40, served.address
        served.data = {"train": (data.folder / "train.csv").read_bytes(), "val": data.val_path.read_bytes()}

        def etag(name):
            if name.endswith(".safetensors"):
                return hashlib.sha256(served.files[name]).hexdigest()
            return blob_id(served.files[name])

        def listing(names, blobs):
            files = [{"rfilename": name} for name in served.files]
            if blobs:
                for file in files:
                    content = served.files[file["rfilename"]]
                    file |= {"size": len(content), "blobId": blob_id(content)}
                    if file["rfilename"].endswith(".safetensors"):
                        file["lfs"] = {"sha256": etag(file["rfilename"]), "size": len(content), "pointerSize": 134}
            return {"id": "/".join(names), "modelId": "/".join(names), "sha": served.commit, "siblings": files, "tags": [],
                    "private": False, "gated": False, "downloads": 1, "likes": 0}

        served.etag, served.listing = etag, listing
        yield served


HUB = {"404": ["no model 404/tiny"], "500": ["500"], "hanging": ["DOWNLOAD_TIMEOUT"], "stalled": [], "cut": [], "partly": [],
       "wrong": [], "subtly": []}  # how the hub fails, and what the line says besides what to set


# The hub


def test_the_hub_is_asked_once_and_its_failures_are_one_line(server, data, tmp_path):
    """Each way of failing is tried, those that gave bytes again when the hub is well: nothing broken is left in the cache.

    At last nobody answers at its address.
    """
    environment = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DOWNLOAD_TIMEOUT": "1"}
    with Forks({**os.environ, **environment}) as forks:
        ask_the_hub(forks, server, data, tmp_path)
        server.shutdown()
        server.server_close()
        models = {"BERTweet": "vinai/bertweet-base", "ModernBERT": "answerdotai/ModernBERT-base"}
        results = forks.run([{"home": tmp_path / name, "arguments": [*data.paths, "--model", name, "--output", tmp_path / "out"]}
                             for name in models])
    for result, model_id in zip(results, models.values(), strict=True):
        assert_one_line(result, model_id, server.url, "HF_ENDPOINT", "--model_id", "refused")


def ask_the_hub(forks, server, data, tmp_path):
    """Ask for models that come and that do not, and for some of them again."""
    few = tmp_path / "few.csv"
    few.write_bytes(csv_bytes([next(row for row in data.train if row[1] == label) for label in "012345"]))  # enough to train

    def job(how, name=None):
        arguments = ["--train", few, "--val", data.val_path, "--model_id", f"{how}/tiny", "--model", "MiniLM", "--epochs", 1,
                     "--DOWNLOAD_TIMEOUT", 1, "--output", tmp_path / how / "out"]
        return {"home": tmp_path / (name or how), "arguments": arguments, "quick": True}

    good, *failed = forks.run([job("good"), *map(job, HUB)])
    assert_good(good)
    weights = load_file(tmp_path / "good" / "out" / "best_MiniLM" / "model.safetensors")
    assert weights
    asked = {path.rsplit("/", 1)[1] for how, path in server.asked if how == "good"}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= asked
    assert not {"pytorch_model.bin", "model.onnx", "modeling.py"} & asked, "only what is used is downloaded"
    for (how, words), result in zip(HUB.items(), failed, strict=True):
        assert_one_line(result, f"{how}/tiny", "--model_id", *words)
        assert not [path for path in tree(tmp_path / how / "out") if "best_" in path or "partial" in path]
    server.healed |= set(HUB)
    server.asked.clear()
    some = [how for how, words in HUB.items() if not words]
    jobs = [job("good", "again"), *(job(how, f"mended_{how}") for how in some)]
    again, *mended = forks.run(jobs)
    assert_good(again)
    assert not [path for how, path in server.asked if how == "good"], "the second time from the cache"
    for how, result in zip(some, mended, strict=True):
        assert result.code == 0, (how, result.err)
        assert (tmp_path / how / "out" / "best_MiniLM" / "model.safetensors").read_bytes() == (
            tmp_path / "good" / "out" / "best_MiniLM" / "model.safetensors").read_bytes(), how
    assert not [path for path in tree(tmp_path / "hf") if path.endswith(".incomplete") and "good" in path]


# The default data


def data_options(server, **how):
    """Options that put the small files in the place of the default data; how: the way in which a file fails, or its hash."""
    arguments = ["--model_id", "/none"]
    for name, constant in (("train", "TRAIN"), ("val", "VAL")):
        arguments += [f"--{constant}_URL", f"{server.url}/data/{how.get(name, 'good')}/{name}",
                      f"--{constant}_HASH", how.get("hash", hashlib.sha256(server.data[name]).hexdigest())]
    return arguments


def test_default_data_are_downloaded_checked_and_cached(call, server, tmp_path):
    for _ in range(2):  # the second time from the cache
        assert_one_line(call(*data_options(server)), "/none")  # all data were taken; the model comes next
    assert [path for _, path in server.asked] == ["/data/good/train", "/data/good/val"]
    assert tree(tmp_path / "out") == {"data/train.csv": server.data["train"], "data/validation.csv": server.data["val"]}
    assert not tree(tmp_path / "cwd")
    (tmp_path / "out" / "data" / "train.csv").write_bytes(server.data["train"][:-9])
    assert_one_line(call(*data_options(server)), "/none")
    assert server.asked[-1][1] == "/data/good/train", "what is not whole is not used"
    assert tree(tmp_path / "out")["data/train.csv"] == server.data["train"]
    (tmp_path / "cwd" / "train.csv").write_bytes(csv_bytes([("a", "0"), ("", "1")]))
    assert_one_line(call(*data_options(server)), "train.csv", "row 3", "no text")


FAILURES = {
    "cut": ({"train": "cut"}, "cut off"), "404": ({"train": "missing"}, "404"), "500": ({"train": "500"}, "500"),
    "silent": ({"train": "hanging"}, "DOWNLOAD_TIMEOUT"), "other bytes": ({"hash": "0" * 64}, "wrong bytes"),
    "refused": ({}, "refused"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failed_download_is_one_line_and_leaves_nothing(call, server, tmp_path, case):
    how, words = FAILURES[case]
    more = ["--TRAIN_URL", "http://127.0.0.1:9/train.csv"] if case == "refused" else ["--DOWNLOAD_TIMEOUT", 0.3]
    assert_one_line(call(*data_options(server, **how), *more), "train.csv", words, "TRAIN_PATH")
    assert not tree(tmp_path / "out") and not tree(tmp_path / "cwd")


def test_a_download_is_tried_again(call, server):
    assert_one_line(call(*data_options(server, train="500")), "train.csv", "500")
    assert [path for _, path in server.asked] == ["/data/500/train"] * 3
    server.healed.add("twice")
    assert_one_line(call(*data_options(server, train="twice")), "/none")
