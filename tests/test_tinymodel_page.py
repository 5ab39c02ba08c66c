"""The page of a tiny model in a headless browser: axe-core's rules, light and dark, on a phone's and a desk's width, by keyboard."""
import json
import os
import shutil
import subprocess

import pytest

from conftest import CHROMIUM, EMOTIONS, PROGRAMS, node_with
from tiny import exported, random_model

pytest_plugins = ["tiny"]
PACKAGES = ("axe-core@4.14.1", "puppeteer-core@24.43.1", "@sparticuz/chromium@147.0.0", "jsdom@29.1.1")
TYPED = "never been better, <b>but</b> thanks for nothing https://example.com/" + 60 * "long"
LABELS = {"two": ("negative", "positive"), "six": EMOTIONS}


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    """look(page) gives what page.mjs prints of it; in a folder that goes, with Chromium, which comes in the third package."""
    folder = tmp_path_factory.mktemp("page")
    node = node_with(folder, *PACKAGES, seconds=25)
    shutil.copy(PROGRAMS / "page.mjs", folder)

    def run(page):
        command = [node, folder / "page.mjs", page, TYPED, *filter(None, [CHROMIUM])]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "TMPDIR": str(folder)})
        assert result.returncode == 0, result.stderr[-3000:]
        return json.loads(result.stdout)

    yield run
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", LABELS)
def test_page_keeps_the_rules_of_axe(look, module, kind, tmp_path):
    """With weights that shade words as deep as can be; without a browser's libraries in jsdom, which knows no colours."""
    model, _ = random_model(module, 0, labels=LABELS[kind], entries=40, fingerprint=0, scale=0.5)
    (tmp_path / "tinymodel.html").write_bytes(module.export(model)["tinymodel.html"])
    seen = look(tmp_path / "tinymodel.html")
    assert [one for one in seen["found"] if one["violations"] or one.get("overflow")] == [] and not seen["errors"]
    assert seen["label"] == exported(module, model).predict(TYPED).label
    if seen["where"].startswith("jsdom"):
        pytest.skip(f"of the page only what has no colour and no width was checked, in {seen['where']}")
    assert (seen["focused"], seen["text"]) == ("text", TYPED), "what is typed first takes the place of the example"
    assert seen["outline"] != "none"
