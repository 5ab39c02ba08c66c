"""The scripts stand alone, and are the same where they do the same: what stands in several of them is one text."""
import ast
import difflib
import functools
import itertools

import pytest

from conftest import ALL_SCRIPTS, CONSTANT

TEXTS = {name: path.read_text(encoding="utf-8") for name, path in ALL_SCRIPTS.items()}
TINY = [name for name in TEXTS if name.startswith("tinymodel")]
PROJECT1, PROJECT2 = ["Project1/LSTM.py", "Project1/GRU.py"], ["Project2/emotion_classifier.py"]
LSTM, GRU, CLASSIFIER = *PROJECT1, *PROJECT2
PAIRS = list(itertools.combinations(TEXTS, 2))

# What has one name in two scripts and is not the same: scripts, other scripts, why, functions
DIFFERENT = [
    (PROJECT1, PROJECT1, "the layers, how they are trained, and what of them is searched",
     "main train search_grid grid_settings build_model"),
    (PROJECT1, PROJECT2, "a Keras model of words gives probabilities, a pretrained one in PyTorch logits of subwords",
     "train batches pad Encoded scores calibration_error calibrate evaluate export print_predictions"),
    (PROJECT1, PROJECT2, "what a training depends on, and what is drawn of it",
     "identity_of training_settings png draw_curves draw_confusion"),
    (PROJECT1, PROJECT2, "Project1 has a test set, or holds rows out; its files have git's hash, Project2's sha256",
     "Data read_data acquire_labelled acquire download"),
    (PROJECT1, PROJECT2, "modes of Project2 alone, several processes, and errors of each library",
     "main parse_arguments run_main fail"),
    (TINY, PROJECT1 + PROJECT2, "the tiny models are of another kind, and have other figures",
     "main hash_of encode logits_of prune train_model load_model predict export measure profile describe "
     "print_summary"),
    (TINY, PROJECT1 + PROJECT2, "the tiny scripts read files as bytes, whole and without pandas, from a path or an address",
     "acquire acquire_labelled download reason listed refusal read_names as_label line_rows json_rows csv_rows classes_of "
     "name_classes number_labels set_constant"),
    (TINY, PROJECT1 + PROJECT2, "the tiny scripts write without the checkpoints and folders of the others",
     "save_all check_writable"),
    (TINY, PROJECT1 + PROJECT2, "--explain, texts one by one as they come, longer error lines",
     "parse_arguments texts_to_predict print_predictions run_main fail one_line"),
    (TINY, PROJECT1, "of data files alone, and of vectors too", "DownloadError"),
]


@functools.cache
def definitions(text):
    """Return {name: source} of the functions and classes of a script, in their order."""
    lines, found = text.split("\n"), {}
    for node in ast.parse(text).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            begin = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            found[node.name] = "\n".join(lines[begin - 1:node.end_lineno])
    return found


def between(definitions, first, last):
    """Return the names from one function to another."""
    names = list(definitions)
    return names[names.index(first):names.index(last) + 1]


def differing(one, other):
    """Return the names that stand in both {name: source} with another text."""
    return [name for name in one if name in other and one[name] != other[name]]


def allowed(one, other):
    """Return the names that may differ between two scripts."""
    return {name for some, others, _, names in DIFFERENT for name in names.split()
            if one in some and other in others or one in others and other in some}


def drift(one, other, texts):
    """Return what to say of the functions of two scripts that should be the same and are not, "" if all are."""
    ours, theirs = definitions(texts[one]), definitions(texts[other])
    return "\n".join(
        f"{name} of {one} is not that of {other}:\n" + "\n".join(difflib.unified_diff(
            ours[name].split("\n"), theirs[name].split("\n"), one, other, lineterm="", n=1))
        for name in differing(ours, theirs) if name not in allowed(one, other))


@pytest.mark.parametrize("one, other", PAIRS)
def test_a_function_of_two_scripts_is_the_same_to_the_letter(one, other):
    drifted = drift(one, other, TEXTS)
    assert not drifted, drifted


def test_what_may_differ_does():
    """A function that is the same again is taken off the list."""
    found = {name: definitions(text) for name, text in TEXTS.items()}
    for some, others, _, names in DIFFERENT:
        differ = {name for one in some for other in others for name in differing(found[one], found[other])}
        assert set(names.split()) <= differ, f"not different: {set(names.split()) - differ}"


@pytest.mark.parametrize("one, other", PAIRS)
def test_a_drift_is_seen_and_named(one, other):
    ours = definitions(TEXTS[one])["peak_memory"]
    changed = TEXTS[other].replace(ours, ours.replace("VmHWM", "VmRSS"))
    assert changed != TEXTS[other]
    assert drift(one, other, {one: TEXTS[one], other: changed}).startswith(f"peak_memory of {one} is not that of {other}:\n")


def test_nothing_shared_is_missing_or_stands_elsewhere():
    """The order of the two scripts of Project1 is one, and so is that of the sections that they share with Project2."""
    lstm, gru, classifier = (definitions(TEXTS[name]) for name in (LSTM, GRU, CLASSIFIER))
    own = allowed(LSTM, GRU) | {"freeze_thaw"}
    shared = [name for name in lstm if name not in own]
    assert shared == [name for name in gru if name not in own] and len(shared) > 80
    for first, last in (("Table", "classes_of"), ("cannot_write", "check_writable"), ("partial_name", "save_all"),
                        ("adapters", "OneLineParser")):
        assert between(lstm, first, last) == between(classifier, first, last)
    assert len(between(lstm, "Table", "classes_of")) > 25


# The two tiny scripts


def comparable(text):
    """Return the lines of a script without its docstring, and the constants without values and comments."""
    lines, docstring = text.splitlines(), ast.parse(text).body[0]
    assert isinstance(docstring.value.value, str)
    rest = lines[:docstring.lineno - 1] + lines[docstring.end_lineno:]
    return [CONSTANT.sub(r"\1: \2\4", line) for line in rest]


def test_the_tiny_scripts_differ_only_in_docstring_and_constants():
    difference = list(difflib.unified_diff(*(comparable(TEXTS[name]) for name in TINY), *TINY, lineterm="", n=0))
    assert not difference, "\n".join(difference)


@pytest.mark.parametrize("old, new", [
    ("return hashes * np.uint32(MIX_2)", "return hashes"), ("NUM_EPOCHS: Count", "EPOCHS: Count"),
    ("/* exp(-a) for a >= 0, to 1e-7 */", "/* exp */"), ("# most bytes that model.safetensors may have", "# bytes"),
])
def test_a_drift_of_the_tiny_scripts_is_seen(old, new):
    text = TEXTS[TINY[0]]
    assert text.count(old) == 1
    assert comparable(text) != comparable(text.replace(old, new))
