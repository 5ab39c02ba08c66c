"""From one text to a billion: the README's program over many files, two workers, one of which is killed; bad batches."""
import os
import re
import subprocess
import sys
import time

import pytest

from project2 import ADDED, EXACT, TEXTS, assert_good, run_main

import numpy as np
import pandas as pd

from conftest import EMOTIONS, REPO, csv_bytes, read_csv, readme_block

from classifier.settings import InputError

pytest_plugins = ["project2"]
FILES, ROWS = 8, 200  # of each file


@pytest.fixture(scope="module")
def many(tmp_path_factory, data):
    """A folder of eight Parquet files of real texts, each with its number; and all rows as a table."""
    folder = tmp_path_factory.mktemp("many")
    texts = [text for text, _ in data.train + data.val]
    made = [f"{texts[row % len(texts)]} {row}" for row in range(FILES * ROWS)]
    rows = pd.DataFrame({"number": range(len(made)), "text": made})
    for part in range(FILES):
        rows[part * ROWS:(part + 1) * ROWS].to_parquet(folder / f"{part:02}.parquet")
    return folder, rows


def workers_of(process):
    """Return the processes of Ray's workers that hold a model, below a process."""
    import psutil
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if child.cmdline() and child.cmdline()[0].startswith("ray::MapWorker"):
                found.append(child)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            pass
    return found


def test_two_workers_one_killed_every_row_once(many, families, tmp_path):
    pytest.importorskip("ray", reason="needs Project2/requirements-ray.txt")
    (folder, rows), weights = many, families["MiniLM"].best
    program = readme_block("README.md", "map_batches(Classifier")
    given = "fn_constructor_args=[weights]"
    program = program.replace("4 * 2**20", "20_000").replace(given, given + ', fn_constructor_kwargs={"PRECISION": "float32"}')
    program = program.replace('int(ray.cluster_resources()["CPU"])', "2")
    assert program.count("20_000") == program.count("PRECISION") == program.count("cores = 2") == 1
    (tmp_path / "many.py").write_text(program)
    # Ray gives its workers what the machine has left over (niceness 15), which is little in a run of tests
    env = {**os.environ, "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, tmp_path / "many.py", weights, folder, tmp_path / "out"]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(list(map(str, command)), cwd=REPO, env=env, stdout=log, stderr=log)
        try:
            killed = None
            while process.poll() is None and not killed:
                workers = workers_of(process)
                if len(workers) == 2 and any((tmp_path / "out").glob("*.parquet")):
                    killed = max(workers, key=lambda worker: worker.cpu_times().user)
                    killed.kill()
                time.sleep(0.1)
            process.wait(timeout=400)
        finally:
            process.kill()
    said = (tmp_path / "log").read_text(errors="replace")
    assert process.returncode == 0 and killed, said[-3000:]
    found = pd.read_parquet(tmp_path / "out").sort_values("number", ignore_index=True)
    assert len(list((tmp_path / "out").glob("*.parquet"))) > FILES / 2
    assert list(found.columns) == ["number", "text", *ADDED]
    assert found["number"].tolist() == rows["number"].tolist() and found["text"].tolist() == rows["text"].tolist()

    rows.to_csv(tmp_path / "rows.csv", index=False)
    assert_good(run_main(tmp_path, "--mode", "inference", "--weights", weights, "--test_csv", tmp_path / "rows.csv", *EXACT))
    expected = read_csv((tmp_path / "rows_predictions.csv").read_bytes())
    assert found["predicted_label"].tolist() == [row["predicted_label"] for row in expected]
    assert found["predicted_emotion"].tolist() == [row["predicted_emotion"] for row in expected]
    assert np.allclose(found["confidence"], [float(row["confidence"]) for row in expected], atol=1e-4)


def test_a_second_run_does_not_write_beside_the_first():
    assert 'mode="create"' in readme_block("README.md", "map_batches(Classifier")


# The class by itself


@pytest.fixture
def classify(script, families):
    """classify(**constants) gives a Classifier."""
    return lambda **constants: script.Classifier(str(families["MiniLM"].best), **constants)


def test_a_batch_gets_what_inference_gives(classify, families, tmp_path):
    batch = {"tweet": np.array([*TEXTS, "ein Täxt \N{GRINNING FACE}"], object), "id": np.arange(len(TEXTS) + 1)}
    found = classify(TEXT_COLUMN="tweet", PRECISION="float32")(batch)
    assert list(found) == ["tweet", "id", *ADDED] and (found["id"] == batch["id"]).all()
    (tmp_path / "in.csv").write_bytes(csv_bytes([[text] for text in batch["tweet"]], ("tweet",)))
    assert_good(run_main(tmp_path, "--mode", "inference", "--weights", families["MiniLM"].best, "--text_column", "tweet",
                         "--test_csv", tmp_path / "in.csv", *EXACT))
    rows = read_csv((tmp_path / "in_predictions.csv").read_bytes())
    assert list(found["predicted_label"]) == [row["predicted_label"] for row in rows]
    assert list(found["predicted_emotion"]) == [row["predicted_emotion"] for row in rows]
    assert set(found["predicted_emotion"]) <= set(EMOTIONS)
    assert np.allclose(found["confidence"], [float(row["confidence"]) for row in rows], atol=1e-4)


def test_rows_without_a_text_have_no_label(classify):
    found = classify(SKIP_EMPTY=True)({"text": np.array(["", TEXTS[0], None, " \n"], object)})
    assert [label is None for label in found["predicted_label"]] == [True, False, True, True]
    assert np.isnan(found["confidence"]).tolist() == [True, False, True, True]
    assert classify(SKIP_EMPTY=True)({"text": np.array([""], object)})["predicted_emotion"].tolist() == [None]


@pytest.mark.parametrize("batch, words", [
    ({"text": np.array(["fine", None], object)}, "a batch, row 2: has no text"),
    ({"text": np.array(["fine", "  "], object)}, "a batch, row 2: has no text"),
    ({"text": np.array(["fine", 3.5], object)}, "has the text 3.5, which is no string"),
    ({"Text": np.array(["fine"], object)}, "a batch has the columns Text; it takes text"),
    ({"text": np.array(["fine"], object), "confidence": np.ones(1)}, "a batch has the columns text, confidence;"),
])
def test_a_batch_that_is_not_clear_is_refused(classify, batch, words):
    with pytest.raises(InputError, match=re.escape(words)):
        classify()(batch)


def test_constants_are_checked(classify):
    with pytest.raises(InputError, match="PRECISION"):
        classify(PRECISION="double")
    with pytest.raises(InputError, match="TEXT_COLUM "):
        classify(TEXT_COLUM="tweet")
