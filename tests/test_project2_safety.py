"""Project2: nothing in a stranger's model folder runs, asks a network, or reaches a file outside it."""
import csv
import http.server
import importlib.metadata
import itertools
import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from conftest import serving, tree
from project2 import Forks

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = "i feel so sad glad angry today you came love that what".split()
# Code that a folder brings along, and what it would leave behind: `auto_map` names these classes
OWN_CODE = """open({canary!r}, "w").write("this code ran")
from transformers import BertConfig as Config, BertForSequenceClassification as Model, BertTokenizer as Tokenizer
"""


# Helpers: a hub that records, small models, the command line


@pytest.fixture(scope="module")
def hub():
    """(address, requests): a hub on loopback that has nothing, and writes down what it is asked for."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(f"{self.command} {self.path}")
            self.send_error(404)

        do_HEAD = do_POST = do_GET

        def log_message(self, *_):
            pass

    with serving(Handler) as served:
        yield served.address, served.asked


@pytest.fixture(scope="module")
def environment(hub, tmp_path_factory):
    """The script in a process for which kernels is installed in a version that transformers takes, and the hub is on loopback.

    transformers 5.24 takes kernels from 0.18.2 on only; its code is the installed one's, the version is what is said here.
    """
    try:
        importlib.metadata.version("kernels")  # to import it is not possible where a test has imported the script
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs the package kernels; see tests/requirements.txt")
    place = tmp_path_factory.mktemp("said")
    metadata = place / "kernels-0.18.2.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: kernels\nVersion: 0.18.2\n")
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    path = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    with Forks({**clean, "HF_ENDPOINT": hub[0], "HF_HOME": str(place / "hf"), "NO_PROXY": "*", "PYTHONPATH": path}) as forks:
        forks.places = (place / str(number) for number in itertools.count())
        yield forks


def run(environment, *arguments):
    """Run the script as users do; returns its exit status and output."""
    result, = environment.run([{"home": next(environment.places), "arguments": arguments, "quick": True}])
    return SimpleNamespace(returncode=result.code, stdout=re.sub(r"peak \d+\n$", "", result.out), stderr=result.err)


def change(path, **entries):
    """Set entries of a JSON file, which is made where it is missing."""
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **entries}))


def make_base(folder, vocabulary=(), **entries):
    """Write a small random BERT with six classes of another task, its configuration with these entries."""
    folder.mkdir(parents=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{c}" for c in LETTERS), *WORDS, *vocabulary]
    words = list(dict.fromkeys(words))
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    change(folder / "tokenizer_config.json", tokenizer_class="BertTokenizer", do_lower_case=True)
    torch.manual_seed(0)
    config = transformers.BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
                                     vocab_size=len(words) - len(vocabulary), max_position_embeddings=64, num_labels=6)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    change(folder / "config.json", **entries)
    return folder


def write_rows(path, classes="012345"):
    """Write a CSV of texts and labels, each class often enough; no text of it is in another such file."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(8 * len(classes)):
            letters = "".join(LETTERS[(number // 26**place) % 26] for place in range(2))
            writer.writerow([f"i feel {WORDS[number % len(WORDS)]} {letters} {path.stem}", classes[number % len(classes)]])
    return path


def train(environment, folder, base, classes="012345"):
    """Train one epoch from a base folder; returns (CompletedProcess, the folder of the saved model)."""
    rows = write_rows(folder / "train.csv", classes), write_rows(folder / "val.csv", classes)
    result = run(environment, "--train", rows[0], "--val", rows[1], "--model_id", base, "--epochs", 1, "--output", folder)
    report = folder / "report.json"
    return result, Path(json.loads(report.read_text())["weights"]) if report.exists() else None


@pytest.fixture(scope="module")
def trained(environment, tmp_path_factory):
    """(folder of a model that the script trained, what it prints for `i feel sad`)."""
    place = tmp_path_factory.mktemp("trained")
    result, folder = train(environment, place, make_base(place / "tiny"))
    assert result.returncode == 0, result.stderr
    result = run(environment, "--text", "i feel sad", "--weights", folder)
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


@pytest.fixture
def victim(trained, tmp_path):
    """(a copy of the trained folder to plant in, a folder outside with secrets)."""
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    shutil.copytree(trained[0], folder)
    outside.mkdir()
    shutil.copy(folder / "model.safetensors", outside / "secret.safetensors")
    (outside / "secret.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhunter2\n")
    return folder, outside


def assert_refused(result, *words):
    """The script ended with status 2 and one line that has these words, and wrote no prediction."""
    assert result.returncode == 2 and "\t" not in result.stdout and "SUMMARY" not in result.stdout, result
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and len(lines[0]) <= 300, lines
    for word in words:
        assert word in lines[0], lines[0]


# What decides how a model is read or run is not taken from its folder. In brackets: what transformers 5.24 did with
# from_pretrained(folder, local_files_only=True, trust_remote_code=False), kernels said to be 0.18.2


CONFIG_PLANTS = {
    "attention": {  # [GET /api/organizations/org/overview: asks whom to trust, then fetches and runs; 4.57.6 ran at once]
        "_attn_implementation": "org/name", "_attn_implementation_internal": "org/name"},
    "trusted": {  # [GET /api/organizations/kernels-community/overview; the same for "flash_attention_2", "paged|org/name"]
        "attn_implementation": "kernels-community/flash-attn2"},
    "nested": {  # [the same request]
        "_attn_implementation": {"": "kernels-community/flash-attn2"}, "_experts_implementation": "org/name"},
    "quantised": {  # [imports bitsandbytes, which then asks kernels-community for a kernel; awq...: imports]
        "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
    "read": {  # [return_dict: a tuple without logits; output_attentions, is_decoder: as they say; dtype: TypeError]
        "return_dict": False, "torchscript": True, "output_attentions": True, "output_hidden_states": True,
        "problem_type": "multi_label_classification", "is_decoder": True, "dtype": "hub", "torch_dtype": "load",
        "_name_or_path": "org/name", "name_or_path": "org/name", "_auto_class": "AutoConfig", "use_kernels": True,
        "__dict__": {"hidden_size": 8}, "to_dict": "x", "fusion_config": {"x": 1}, "per_layer_config": {"0": {}},
        "configuration_files": ["config.4.0.0.json"], "backbone": "org/name", "use_timm_backbone": True,
        "tokenizer_class": "AutoModel", "transformers_weights": "other.safetensors"},  # [reads that file instead]
}
TOKENIZER_PLANTS = {  # [vocab: secret.txt was its vocabulary; gguf_file, init_inputs, tokenizer_object: errors]
    "vocab": "OUTSIDE/secret.txt", "vocab_file": "OUTSIDE/secret.txt", "merges": "OUTSIDE/secret.txt", "gguf_file": "x.gguf",
    "init_inputs": ["OUTSIDE/secret.txt"], "tokenizer_file": "../outside/secret.txt", "tokenizer_object": "x",
    "fast_tokenizer_files": ["tokenizer.4.0.0.json"], "fix_mistral_regex": True, "post_processor": "x",
    "sp_model_kwargs": {"model_file": "OUTSIDE/secret.txt"}, "local_files_only": False, "trust_remote_code": True,
    "chat_template": "{{ x.__class__ }}", "name_or_path": "org/name", "tokenizer_class": "AutoModel"}


@pytest.mark.parametrize("name", CONFIG_PLANTS)
def test_a_configuration_decides_nothing_but_sizes_and_labels(victim, trained, environment, hub, name):
    """Keys that choose kernels, quantisation, another head or file: as if they were not there; nothing is asked."""
    folder, _ = victim
    change(folder / "config.json", **CONFIG_PLANTS[name])
    if name == "read":
        weights = load_file(folder / "model.safetensors")
        save_file({key: tensor + 1 for key, tensor in weights.items()}, folder / "other.safetensors", {"format": "pt"})
    before = tree(folder)
    hub[1].clear()
    result = run(environment, "--text", "i feel sad", "--weights", folder)
    assert (result.returncode, result.stdout) == (0, trained[1]), result.stderr
    assert hub[1] == [] and tree(folder) == before


def test_files_beside_it_name_no_code_and_no_other_file(victim, trained, environment, hub):
    """auto_map with code beside it, an adapter, tokenizer keys that are paths, templates that are links outside."""
    folder, outside = victim
    canary = outside / "canary"
    (folder / "own.py").write_text(OWN_CODE.format(canary=str(canary)))
    auto_map = {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "org/name--own.Model",
                "AutoTokenizer": ["own.Tokenizer", "own.Tokenizer"]}
    change(folder / "config.json", auto_map=auto_map)
    change(folder / "adapter_config.json", base_model_name_or_path="org/base", peft_type="LORA",  # [with peft: imports
           task_type="SEQ_CLS", r=4, target_modules=["query"])  # bitsandbytes, which asks the hub, and loads the adapter]
    plants = json.loads(json.dumps(TOKENIZER_PLANTS).replace("OUTSIDE", str(outside)))
    change(folder / "tokenizer_config.json", auto_map=auto_map, **plants)
    change(folder / "special_tokens_map.json", vocab=str(outside / "secret.txt"),  # [secret.txt was the vocabulary]
           vocab_file=str(outside / "secret.txt"))
    (folder / "additional_chat_templates").mkdir()
    for name in ("chat_template.jinja", "additional_chat_templates/x.jinja"):  # [secret.txt was read]
        (folder / name).symlink_to(outside / "secret.txt")
    hub[1].clear()
    result = run(environment, "--text", "i feel sad", "--weights", folder)
    assert (result.returncode, result.stdout) == (0, trained[1]), result.stderr
    assert hub[1] == [] and not canary.exists()
    assert sorted(tree(outside)) == ["secret.safetensors", "secret.txt"]


def plant_link(folder, outside):  # [was followed]
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(outside / "secret.safetensors")


def plant_vocabulary_link(folder, outside):  # [was followed; secret.txt was the vocabulary]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").symlink_to(outside / "secret.txt")


def plant_configuration_link(folder, outside):
    shutil.move(folder / "config.json", outside / "config.json")
    (folder / "config.json").symlink_to(outside / "config.json")


def plant_pipe(folder, outside):  # [waits for ever]
    os.mkfifo(folder / "vocab.txt")


def plant_index(folder, outside):  # [read ../outside/secret.safetensors]
    (folder / "model.safetensors").unlink()
    names = dict.fromkeys(load_file(outside / "secret.safetensors"), "../outside/secret.safetensors")
    change(folder / "model.safetensors.index.json", metadata={}, weight_map=names)


def plant_vocabulary_path(folder, outside):  # [secret.txt was the vocabulary]
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"] = str(outside / "secret.txt")
    (folder / "tokenizer.json").write_text(json.dumps(content))


def plant_own_architecture(folder, outside):  # [refused: custom code]
    (folder / "own.py").write_text(OWN_CODE.format(canary=str(outside / "canary")))
    change(folder / "config.json", model_type="own", auto_map={"AutoConfig": "own.Config"})


def plant_fetching_architecture(folder, outside):  # [mra: fetches its kernel where there is a GPU]
    change(folder / "config.json", model_type="mra")


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def plant_pickle(folder, outside):  # [refused: weights_only]
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Bomb(outside / "canary")}, folder / "pytorch_model.bin")


@pytest.mark.parametrize("plant", [plant_link, plant_vocabulary_link, plant_configuration_link, plant_pipe, plant_index,
                                   plant_vocabulary_path, plant_own_architecture, plant_fetching_architecture, plant_pickle])
def test_a_folder_that_reaches_outside_is_refused(victim, environment, hub, plant):
    """Links, indices and paths to files outside, a pipe, own code, a pickle: one line, status 2, nothing asked or run."""
    folder, outside = victim
    plant(folder, outside)
    hub[1].clear()
    assert_refused(run(environment, "--text", "i feel sad", "--weights", folder))
    assert hub[1] == [] and not (outside / "canary").exists()


def test_links_of_a_hub_cache_are_followed(trained, environment, tmp_path):
    """In a hub's cache each file is a link to ../../blobs."""
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "c0ffee", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    shutil.copytree(trained[0], blobs)
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    result = run(environment, "--text", "i feel sad", "--weights", snapshot)
    assert (result.returncode, result.stdout) == (0, trained[1]), result.stderr


# Older .pt files


@pytest.mark.parametrize("entries", [
    {"_attn_implementation": "org/name"},  # [from_config: GET /api/organizations/org/overview]
    {"attn_implementation": "kernels-community/flash-attn2", "quantization_config": {"quant_method": "eetq"}},  # [the same]
    {"auto_map": {"AutoModelForSequenceClassification": "org/name--own.Model"}, "return_dict": False, "dtype": "hub"}])
def test_an_older_file_decides_nothing_but_its_length(victim, trained, environment, hub, tmp_path, entries):
    folder, _ = victim
    config = json.loads((folder / "config.json").read_text())
    content = {"model_state_dict": load_file(folder / "model.safetensors"), "model_id": str(folder)}
    for name, more in (("clean.pt", {}), ("planted.pt", entries)):
        torch.save({**content, "config": {**config, **more}}, tmp_path / name)
    clean = run(environment, "--text", "i feel sad", "--weights", tmp_path / "clean.pt", "--model_id", folder)
    assert clean.returncode == 0, clean.stderr
    hub[1].clear()
    result = run(environment, "--text", "i feel sad", "--weights", tmp_path / "planted.pt", "--model_id", folder)
    assert (result.returncode, result.stdout) == (0, clean.stdout), result.stderr
    assert hub[1] == []


def test_an_older_file_of_another_architecture_is_refused(victim, environment, hub, tmp_path):
    """[from_config asked on the terminal whether to run org/name's code]"""
    config = {"model_type": "vit", "auto_map": {"AutoModelForSequenceClassification": "org/name--own.Model"}}
    torch.save({"model_state_dict": {}, "model_id": str(victim[0]), "config": config}, tmp_path / "old.pt")
    hub[1].clear()
    more = "--weights", tmp_path / "old.pt", "--model_id", victim[0]
    assert_refused(run(environment, "--text", "i feel sad", *more))
    assert hub[1] == []


# What is a base model's alone


def test_a_base_does_not_decide_how_its_classifier_is_read(environment, hub, tmp_path):
    """problem_type, return_dict, torchscript, code and kernels of a base stay out of what is trained from it."""
    plants = {**CONFIG_PLANTS["attention"], **CONFIG_PLANTS["trusted"], **CONFIG_PLANTS["read"]}
    auto_map = {"AutoModelForSequenceClassification": "org/name--own.Model"}
    base = make_base(tmp_path / "tiny", **plants, auto_map=auto_map, quantization_config={"quant_method": "eetq"})
    hub[1].clear()
    result, folder = train(environment, tmp_path, base)
    assert result.returncode == 0, result.stderr
    assert hub[1] == []
    saved = json.loads((folder / "config.json").read_text())
    left = (set(plants) | {"auto_map", "quantization_config"}) - {"dtype"}  # that of the weights is written
    assert not {key: saved[key] for key in left if saved.get(key)} and saved["dtype"] in ("float32", "bfloat16")
    classifier = transformers.pipeline("text-classification", str(folder), truncation=True, top_k=None, device="cpu")
    assert sum(row["score"] for row in classifier(["i feel sad"])[0]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("classes", ["012345", "01"])
def test_a_head_of_other_classes_is_not_kept_silently(environment, tmp_path, classes):
    """A base with a head of six classes LABEL_0... of another task: a note says that its head is dropped."""
    result, _ = train(environment, tmp_path, make_base(tmp_path / "tiny"), classes)
    assert result.returncode == 0, result.stderr
    assert "head" in result.stdout and "LABEL_0" in result.stdout


def test_a_tokenizer_larger_than_its_embeddings_is_refused(environment, tmp_path):
    result, _ = train(environment, tmp_path, make_base(tmp_path / "tiny", vocabulary=["zebra"]))
    assert_refused(result, "tokenizer", "embeddings")


def test_xlnet_without_positions_is_trained(environment, tmp_path):
    """Its max_position_embeddings is -1: positions are relative."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    base = tmp_path / "tiny"
    base.mkdir()
    special = ["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator([" ".join(WORDS)] * 5, trainers.UnigramTrainer(vocab_size=60, special_tokens=special,
                                                                                 unk_token="<unk>"))
    tokenizer.save(str(base / "tokenizer.json"))
    config = transformers.XLNetConfig(vocab_size=100, d_model=16, n_layer=1, n_head=2, d_inner=32)
    transformers.XLNetModel(config).save_pretrained(base)
    change(base / "config.json", max_position_embeddings=-1)
    result, folder = train(environment, tmp_path, base)
    assert result.returncode == 0, result.stderr
    assert run(environment, "--text", "i feel sad", "--weights", folder).returncode == 0


def test_a_saved_bertweet_splits_words_as_its_base_does(environment, tmp_path):
    """[transformers 5.24 writes bpe.codes without counts and reads them with: `love` became `l@@ o@@ v@@ e`]"""
    base = tmp_path / "tiny"
    base.mkdir()
    (base / "bpe.codes").write_text("l o 9\nlo v 8\nlov e</w> 7\n")
    vocabulary = [*(f"{letter}@@" for letter in LETTERS), *LETTERS, "love", "lo@@", "lov@@", ":", "_@@"]
    (base / "vocab.txt").write_text("".join(f"{word} 9\n" for word in vocabulary))
    config = transformers.RobertaConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
                                        vocab_size=len(vocabulary) + 5, max_position_embeddings=64, pad_token_id=1)
    transformers.RobertaModel(config).save_pretrained(base)
    change(base / "config.json", tokenizer_class="BertweetTokenizer")
    result, folder = train(environment, tmp_path, base)
    assert result.returncode == 0, result.stderr
    saved = transformers.BertweetTokenizer.from_pretrained(folder)
    assert saved.tokenize("love") == ["love"]
    assert saved("love you")["input_ids"] == transformers.BertweetTokenizer.from_pretrained(base)("love you")["input_ids"]


def test_quantised_variants_ask_no_hub(victim, environment, hub, tmp_path):
    """[bitsandbytes asks kernels-community for a kernel as it is imported, where kernels is installed]"""
    pytest.importorskip("bitsandbytes")
    hub[1].clear()
    result = run(environment, "--mode", "compress", "--technique", "quantize", "--weights", victim[0], "--val",
                 write_rows(tmp_path / "val.csv"), "--output", tmp_path)
    assert result.returncode == 0, result.stderr
    assert hub[1] == []
