"""The exports of the tiny models: C, C++, JavaScript, the page and plain Python say what the script says, on any text."""
import ctypes
import html
import importlib.util
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny_reference as reference
from conftest import CHROMIUM, PROGRAMS, REPO, load_script, made_tweets
from tiny import SCRIPTS, quiet, random_model

README = (REPO / "README.md").read_text(encoding="utf-8")
HOSTILE = ("anger", 'j"oy', "sad\\ness", "</script><!--", "😀??=é'\u2028", "export a@TABLE@")
USUAL = dict(labels=("negative", "positive"), entries=21, fingerprint=5, blocks=300, scale=0.02)  # a model
KINDS = {  # what is otherwise
    "two": dict(entries=40, fingerprint=0),  # so that every third n-gram is kept
    "two, no scopes": dict(negation=0, marking=0, markers=("feel",), entries=40, fingerprint=1, factor=-9),
    "six": dict(labels=HOSTILE, entries=40, fingerprint=1, markers=("a", "feel", "é"), marking=2),
    "10,000 bytes, two": dict(),
    "10,000 bytes, six": dict(labels=HOSTILE, markers=("feel", "feeling")),
    "wide entries": dict(labels=HOSTILE, entries=12, fingerprint=5, value=7, blocks=100),
    "widest entries": dict(labels=HOSTILE, entries=30, fingerprint=6, value=10, blocks=50, factor=112),
    "thirty": dict(labels=tuple(f"label {i}" for i in range(30)), factor=0),
    "two orders": dict(chars=(3, 5), starts=True, blocks=500, entries=40, fingerprint=1, value=3, factor=-112,
                       markers=("not", "love", "but")),
    "words alone": dict(chars=(), max_length=7, fingerprint=8, value=1),
    "long characters": dict(labels=HOSTILE, chars=(3, 8), entries=64, fingerprint=0, value=8, blocks=7, max_length=65535,
                            markers=("a", "love"), marking=15),
    "one entry": dict(chars=(), entries=1, blocks=1, negation=15, value=8, fingerprint=1),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def needs(*tools):
    missing = [tool for tool in tools if not shutil.which(tool)]
    return pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} not installed")


# Texts

NASTY = b"aab@'' !:.A\x00\xff_1&;#hHtpwW09`/"
PIECES = (
    "’ ‘ “ ” … – — − \xa0 \xad \u200b \u200d \ufe0f 😀 😀😀😀 👍🏽 ❤️ é É ß Ж ж Σ σ ＡＢ ！ ＠ ａ 中 の 。 « » ´ ʼ "
    "\u3000 ‹ › ′ × ÷ • → ☺ \u2060 K Å ı İ "
    "&amp; &lt; &#39; &#x27; &#8217; &hellip; &nbsp; &quot &#; &#x; &#xD800; &#1114112; &#1114111; &#0; &#1; &#2; &#x10FFFF; "
    "&#x110000; &amp;lt; &#38;lt; &AMP; &#00000039; &#0000039; &#X2019; &apos; &ampx; &mdash; &ndash; &#128512; &#x1F3FD; "
    "&amp;amp; &amp;amp &amp;amp;lt; &#x0026;#38;amp;#39; &amp;#0; e\u0301 E\u0301 a\u0323\u0302 a\u0302\u0323 \u0438\u0306 \u03c9\u0301 x\u0301 \u0301 \u0300\u0301 &#101;\u0301 &\u0338 <\u0338 \u212b\u0301 \xa8\u0301 h\u0331 w\u0302 @\u0300 &#769; e\u0341 e\u200b\u0301 "
    "&#64; &#65; &#xC9; not don't don’t don`t never no can't "
    "but feel feeling - , / good bad love @bob @ @@ ' '' . ... .. !!! ! :( :) a aa aaa A "
    "Z 0 _ & ; # x `amp; https://t.co/x "
    "HTTP www.a wWw. http:// 7 42 1٣ ＇ ｀ ＡＺ ０ ９ ｗｗｗ. ″ „ ‟ \ufeff \uffff \U0010ffff").split(" ") + [
    " ", "  ", "\t", "\n", "\r", "\x00", "\x01", "\x02", "\x7f", "\x85", "\u1680", "\u2028", "\ud800", "\udc80", "\udfff",
    "\ud83d"]
RAW = [bytes.fromhex(h) for h in ("e280 f09f98 c0af eda080 f4908080 f5 c3 80 ff e08080 c2 e28099 f08fbfbf f0908080 ee8080 "
                                  "ed9fbf dfbf c1bf e09fbf e0a080 65cc81 65cc cc81 65cccc81 c3a9cc82 65cc41").split()]


def whole(text):
    """A str as JavaScript has it: two surrogates side by side are one character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def random_texts(number, seed):
    rng, texts = random.Random(seed), [b"", "", b"a" * 10**5, bytes(600), "…" * 300, "😀" * 300, b"@", b"'", "é" * 511]
    texts += [b"x" * n + "’".encode() for n in range(507, 514)]
    texts += ["x" * n + tail for n in range(503, 514) for tail in ("😀y", "&amp;")]
    while len(texts) < number:
        parts = [rng.choice(PIECES).encode("utf-8", "replace") if rng.random() < 0.6 else rng.choice(RAW)
                 for _ in range(rng.randrange(25))]
        data, text = b"".join(parts), "".join(rng.choices(PIECES, k=rng.randrange(30)))
        texts += [rng.randbytes(rng.choice((0, 1, 2, 5, 20, 100, 600))), bytes(rng.choices(NASTY, k=rng.randrange(80))),
                  data[:rng.randrange(len(data) + 1)], whole(text), whole(text[rng.randrange(len(text) + 1):]),
                  whole("".join(chr(rng.randrange(rng.choice((0x110000, 0x3100, 0x340)))) for _ in range(rng.randrange(40))))]
    return texts[:number]


def tweets(number):
    return [row.split(b"\t", 1)[1] for row in made_tweets(number, 3)]


any_text = st.one_of(
    st.binary(max_size=60), st.binary(min_size=500, max_size=530), st.text(max_size=60),
    st.text(st.characters(), max_size=40).map(whole),
    st.lists(st.sampled_from(PIECES), max_size=20).map(lambda parts: whole("".join(parts))),
    st.lists(st.sampled_from(RAW + [piece.encode("utf-8", "replace") for piece in PIECES]), max_size=20).map(b"".join),
    st.tuples(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join), st.integers(0, 40),
              st.integers(0, 40)).map(lambda cut: whole(cut[0][cut[1]:][:cut[2]])),
)


# Running them

@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """{kind: a random model, the folder of its exports, the script}."""
    made, script = {}, load_script(SCRIPTS["10kB"])

    def get(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp("export")
            model, _ = random_model(script, len(made), **{**USUAL, **KINDS[kind]})
            for name, content in script.export(model).items():
                (folder / name).write_bytes(content)
            (folder / "package.json").write_text('{"type": "module"}')
            made[kind] = SimpleNamespace(model=model, folder=folder, script=script)
        return made[kind]

    return get


def by_script(made, texts):
    texts = list(map(reference.to_bytes, texts))
    return np.concatenate([made.script.predict(made.model, texts[i:i + 4096]) for i in range(0, len(texts), 4096)])


def choose(probabilities):
    return (probabilities[:, 1] > 0.5).astype(int) if probabilities.shape[1] == 2 else probabilities.argmax(1)


def assert_same(labels, probabilities, expected, exact=1e-6):
    assert np.isfinite(probabilities).all()
    assert np.abs(probabilities - expected).max() <= exact
    assert (labels == choose(expected)).all()


STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")


def by_c(made, texts, compiler, runner=(), order="<"):
    """(labels, probabilities) of the header, as this compiler makes it."""
    program = made.folder / "classify"
    command = [*compiler, *STRICT, "-I", made.folder, "-o", program, PROGRAMS / "classify.c"]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[:2000]
    data = b"".join(struct.pack(order + "I", len(text)) + text for text in map(reference.to_bytes, texts))
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    process = subprocess.run([*runner, program], input=data, capture_output=True, env=environment, timeout=600)
    assert process.returncode == 0 and not process.stderr, process.stderr.decode()[:2000]
    rows = np.frombuffer(process.stdout, order + "i4").astype(np.int32).reshape(len(texts), -1)
    return rows[:, 0], rows[:, 1:].copy().view(np.float32)


def as_line(text):
    if isinstance(text, bytes):
        return json.dumps({"bytes": list(text)})
    units = text.encode("utf-16-le", "surrogatepass")
    return json.dumps({"units": list(struct.unpack(f"<{len(units) // 2}H", units))})


def by_node(made, texts, *explained):
    """[[label, probabilities, tokens if explained]] of tinymodel.js: str as strings, bytes as Uint8Array."""
    lines = "\n".join(map(as_line, texts)) + "\n"
    command = ["node", PROGRAMS / "classify.mjs", made.folder / "tinymodel.js", *explained]
    process = subprocess.run(command, input=lines.encode(), capture_output=True)
    assert process.returncode == 0, process.stderr.decode()[:2000]
    return [json.loads(line) for line in process.stdout.splitlines()]


def load_python(made):
    spec = importlib.util.spec_from_file_location("tinymodel_export", made.folder / "tinymodel.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# All say the same

@every_kind
def test_the_script_says_what_the_slow_reference_says(exports, kind):
    made, texts = exports(kind), random_texts(300, 1) + tweets(100)
    expected = np.array([reference.probabilities_of(text, made.model) for text in texts])
    assert_same(choose(by_script(made, texts)), by_script(made, texts), expected, 1e-12)


@needs("gcc")
@every_kind
def test_c(exports, kind):
    made, texts = exports(kind), random_texts(100_000 if kind == "two" else 2000, 2) + tweets(3000 if kind == "two" else 200)
    assert_same(*by_c(made, texts, ["gcc", "-std=c99", "-Os"]), by_script(made, texts))


@needs("gcc")
@every_kind
def test_c_has_no_undefined_behaviour(exports, kind, tmp_path):
    (tmp_path / "probe.c").write_text("int main(void) { return 0; }\n")
    flags = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    built = subprocess.run(["gcc", *flags, "-o", tmp_path / "probe", tmp_path / "probe.c"], capture_output=True)
    if built.returncode or subprocess.run([tmp_path / "probe"], capture_output=True).returncode:
        pytest.skip("gcc has no sanitizers here")
    made, texts = exports(kind), random_texts(1500, 3)
    assert_same(*by_c(made, texts, ["gcc", "-std=c99", "-O1", *flags]), by_script(made, texts))


@needs("g++")
@pytest.mark.parametrize("kind", ["two", "six"])
def test_c_plus_plus(exports, kind):
    made, texts = exports(kind), random_texts(2000, 4)
    assert_same(*by_c(made, texts, ["g++", "-std=c++11", "-x", "c++"]), by_script(made, texts))


@pytest.mark.parametrize("compiler, emulator, order", [
    pytest.param("mips-linux-gnu-gcc", "qemu-mips", ">", marks=needs("mips-linux-gnu-gcc", "qemu-mips"), id="big-endian"),
    pytest.param("arm-linux-gnueabihf-gcc", "qemu-arm", "<", marks=needs("arm-linux-gnueabihf-gcc", "qemu-arm"), id="arm"),
])
@pytest.mark.parametrize("kind", ["two", "six", "two orders"])
def test_other_machines(exports, kind, compiler, emulator, order):
    made, texts = exports(kind), random_texts(2000, 5) + tweets(500)
    assert_same(*by_c(made, texts, [compiler, "-std=c99", "-Os", "-static"], [emulator], order), by_script(made, texts))


@needs("node")
@every_kind
def test_javascript(exports, kind):
    made, texts = exports(kind), random_texts(100_000 if kind == "two" else 1500, 6) + tweets(3000 if kind == "two" else 200)
    rows = by_node(made, texts)
    assert_same(np.array([row[0] for row in rows]), np.array([row[1] for row in rows]), by_script(made, texts), 1e-9)


@every_kind
def test_plain_python(exports, kind):
    made, texts = exports(kind), random_texts(20_000 if kind == "two" else 1500, 7) + tweets(2000 if kind == "two" else 200)
    module = load_python(made)
    found = [module.predict(text) for text in texts]
    assert all(p.label == module.labels[p.probabilities.index(p.probability)] for p in found[:1000])
    labels = np.array([module.labels.index(p.label) for p in found])
    assert_same(labels, np.array([p.probabilities for p in found]), by_script(made, texts), 1e-9)


@pytest.fixture(scope="session")
def talkers(exports, tmp_path_factory):
    """{kind: functions of a text that give its probabilities: the header through ctypes, node, plain Python}."""
    made, nodes = {}, []

    def get(kind):
        if kind not in made:
            each = exports(kind)
            made[kind] = {"python": lambda text, module=load_python(each): module.predict(text).probabilities}
            if shutil.which("gcc"):
                library = each.folder / "function.so"
                subprocess.run(["gcc", "-Os", "-shared", "-fPIC", "-I", each.folder, "-o", library, PROGRAMS / "function.c"],
                               check=True)
                function = ctypes.CDLL(str(library)).f
                function.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_float)]

                def by_header(text):
                    data, room = reference.to_bytes(text), (ctypes.c_float * len(each.model.labels))()
                    label = function(data, len(data), room)
                    assert room[label] == max(room)
                    return list(room)

                made[kind]["c"] = by_header
            if shutil.which("node"):
                command = ["node", PROGRAMS / "classify.mjs", each.folder / "tinymodel.js"]
                node = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                nodes.append(node)

                def by_javascript(text):
                    node.stdin.write(as_line(text).encode() + b"\n")
                    node.stdin.flush()
                    return json.loads(node.stdout.readline())[1]

                made[kind]["javascript"] = by_javascript
        return made[kind]

    yield get
    for node in nodes:
        node.stdin.close()
        node.wait(10)


@pytest.mark.parametrize("kind", ["two", "six", "two orders"])
@quiet
@given(text=any_text)
def test_all_agree_on_any_text(exports, talkers, kind, text):
    text = text if isinstance(text, bytes) else whole(text)
    made = exports(kind)
    expected = reference.probabilities_of(text, made.model)
    assert by_script(made, [text])[0] == pytest.approx(expected, abs=1e-12)
    for name, function in talkers(kind).items():
        probabilities = function(text)
        assert probabilities == pytest.approx(expected, abs=1e-6), name
        assert np.argmax(probabilities) == np.argmax(expected), name


# Explanations, labels, command line

@needs("node")
@pytest.mark.parametrize("kind", ["two", "six", "two orders"])
def test_javascript_explains_as_python_does(exports, kind):
    made, texts = exports(kind), [reference.to_bytes(text) for text in random_texts(300, 8)] + tweets(100)
    module, rows = load_python(made), by_node(made, texts, "explained")
    order = lambda pairs, key=str: sorted((key(name), round(weight, 6) + 0.0) for name, weight in pairs)
    clean = lambda name: name.encode("utf-16-le", "surrogatepass")  # node's JSON writes lone surrogates as they are
    for text, row in zip(texts, rows):
        weights = [abs(weight) for _, weight in row[2]]
        assert weights == sorted(weights, reverse=True)
        assert order(row[2], clean) == order(module.explain(text, 10**6), clean)


@needs("node", "gcc")
def test_labels_of_any_text_arrive_whole(exports):
    made = exports("six")
    assert load_python(made).labels == HOSTILE
    code = 'import { labels } from "./tinymodel.js"; console.log(JSON.stringify(labels));'
    process = subprocess.run(["node", "--input-type=module", "-e", code], cwd=made.folder, capture_output=True, check=True)
    assert tuple(json.loads(process.stdout)) == HOSTILE
    command = ["gcc", "-std=c99", "-I", made.folder, "-o", made.folder / "labels", PROGRAMS / "labels.c"]
    subprocess.run(command, check=True)
    out = subprocess.run([made.folder / "labels"], capture_output=True, check=True).stdout
    width = len(out) // len(HOSTILE)
    assert tuple(out[i:i + width].split(b"\0")[0].decode() for i in range(0, len(out), width)) == HOSTILE
    for name in ("tinymodel.h", "tinymodel.js"):  # whatever a browser or a compiler takes them for
        assert (made.folder / name).read_bytes().isascii()


@pytest.mark.parametrize("kind", ["two", "six"])
def test_tinymodel_py_prints_what_predict_of_the_script_prints(exports, kind):
    made, texts = exports(kind), [b"i love this", b"bad \xff\xfe bytes", "don’t".encode(), b"", b"a\tb"]
    command = [sys.executable, "-I", "-S", made.folder / "tinymodel.py", b"so sad\nreally", "-"]
    process = subprocess.run(command, input=b"\r\n".join(texts) + b"\n", capture_output=True, cwd=made.folder)
    assert process.returncode == 0 and not process.stderr
    expected = b"".join(made.script.prediction_lines(made.model, [b"so sad\nreally", *texts]))
    assert process.stdout == expected
    assert subprocess.run(command[:4], capture_output=True).returncode != 0  # no text: the usage


# The page

def shown(page, profile):
    """Return the HTML that Chromium makes of a page."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--virtual-time-budget=2000",
               "--dump-dom"]
    return subprocess.run([CHROMIUM, *options, page.as_uri()], capture_output=True, timeout=120).stdout.decode()


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium installed")
@pytest.mark.parametrize("kind", ["two", "six"])
def test_page_opens_from_disk(exports, kind, tmp_path):
    made = exports(kind)
    page = made.folder / "tinymodel.html"
    dom = shown(page, tmp_path)
    text = html.unescape(re.search(r"<textarea[^>]*>(.*?)</textarea>", dom)[1])
    expected = load_python(made).predict(text)
    assert html.unescape(re.search(r'<b id="label">(.*?)</b>', dom)[1]) == expected.label
    assert re.search(r'<span id="probability">(.*?) %', dom)[1] == f"{100 * expected.probability:.1f}"
    words = re.search(r'<p id="words">(.*?)</p>', dom)[1]
    assert html.unescape(re.sub("<.*?>", "", words)) == text and words.count("rgb(var(--") > 3
    assert f"{len(made.script.serialise(made.model)):,} bytes" in dom
    assert "http" not in page.read_text() and "innerHTML" not in page.read_text() and "import(" not in page.read_text()


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium installed")
def test_page_shows_what_is_typed_as_text(exports, tmp_path):
    made = exports("two")
    text = "<img src=x onerror=alert(1)> don’t &amp; 😀😀 </script> " + "long " * 300
    typed = json.dumps(text).replace("<", "\\u003c")
    page = (made.folder / "tinymodel.html").read_text()
    page = page.replace("\nshow();\n</script>", f"\nelement('text').value = {typed}; show();\n</script>")
    (tmp_path / "typed.html").write_text(page)
    dom = shown(tmp_path / "typed.html", tmp_path / "profile")
    words = re.search(r'<p id="words">(.*?)</p>', dom, re.DOTALL)[1]
    assert "<img" not in words and html.unescape(re.sub("<.*?>", "", words)) == text
    assert html.unescape(re.search(r'<b id="label">(.*?)</b>', dom)[1]) == load_python(made).predict(text).label


# What the header costs

@needs("gcc", "nm", "size")
@pytest.mark.parametrize("kind", ["two", "six", "two orders"])
def test_c_object_is_small_and_needs_nothing(exports, kind, tmp_path):
    made = exports(kind)
    rest = [*STRICT, "-c", "-I", made.folder, "-o", tmp_path / "f.o", PROGRAMS / "function.c"]
    command = ["gcc", "-std=c99", "-Os", "-fno-stack-protector", "-fstack-usage", *rest]
    subprocess.run(command, check=True, cwd=tmp_path)
    undefined = subprocess.run(["nm", "-u", tmp_path / "f.o"], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in undefined if name not in ("U", "_GLOBAL_OFFSET_TABLE_")] == []
    listing = subprocess.run(["size", "-A", tmp_path / "f.o"], capture_output=True, text=True, check=True).stdout
    sections = {name: int(number) for name, number in re.findall(r"^(\.\S+)\s+(\d+)", listing, re.MULTILINE)}
    total = lambda *kinds: sum(number for name, number in sections.items() if name.startswith(kinds))
    assert total(".data", ".bss", ".tdata", ".tbss") == 0
    assert total(".text", ".rodata") - made.model.table.size - made.model.steps.size <= 6144
    stacks = [line.split("\t") for path in tmp_path.glob("*.su") for line in path.read_text().splitlines()]
    counted = made.model.settings.blocks * made.model.settings.entries / 8  # bytes: a bit a token that is kept
    assert stacks and all(how == "static" for _, _, how in stacks)
    assert sum(int(number) for _, number, _ in stacks) < counted + 512
    included = re.findall(rb"#include (\S+)", (made.folder / "tinymodel.h").read_bytes())
    assert set(included) == {b"<stddef.h>", b"<stdint.h>", b"<avr/pgmspace.h>"}
    for flags in (["gcc", "-std=c99", "-O0"], ["gcc", "-std=c99", "-O3", "-Wshadow"],
                  ["g++", "-std=c++11", "-O2", "-x", "c++"]):
        if shutil.which(flags[0]):
            subprocess.run([*flags, *rest], check=True)


@needs("avr-gcc", "avr-size", "simavr")
@pytest.mark.parametrize("kind, labels_room", [("10,000 bytes, two", 8), ("10,000 bytes, six", 24)])
def test_an_emulated_atmega328p(exports, kind, labels_room, tmp_path):
    """Flash below 32 KiB, 2 KiB of RAM for the text, the probabilities and the stack, 16-bit int, the numbers of Python."""
    made = exports(kind)
    texts = [text[:520] for text in map(reference.to_bytes, random_texts(140, 9)[40:] + tweets(10))]
    numbers = ",".join(str(byte - 256 * (byte > 127)) for byte in b"".join(texts))
    (tmp_path / "texts.h").write_text(
        f"static const char texts[] PROGMEM = {{{numbers}}};\n"
        f"static const uint16_t lengths[] PROGMEM = {{{','.join(str(len(text)) for text in texts)}}};\n"
        f"#define TEXTS {len(texts)}\n")
    for name in ("avr", "avr_size"):
        command = ["avr-gcc", "-mmcu=atmega328p", "-std=c99", "-Os", "-Wall", "-Wextra", "-pedantic", "-I", made.folder,
                   "-I", tmp_path, "-o", tmp_path / f"{name}.elf", PROGRAMS / f"{name}.c", "-lm"]
        process = subprocess.run(command, capture_output=True, text=True)
        assert process.returncode == 0 and not process.stderr, process.stderr[:2000]
    sizes = subprocess.run(["avr-size", tmp_path / "avr_size.elf"], capture_output=True, text=True, check=True).stdout
    flash, data, bss = map(int, sizes.split("\n")[1].split()[:3])
    assert flash < 20_000 and data == 0 and bss == labels_room
    command = ["simavr", "-m", "atmega328p", "-f", "16000000", tmp_path / "avr.elf"]
    process = subprocess.run(command, capture_output=True, timeout=300)
    printed = (process.stdout + process.stderr).decode(errors="replace")
    words = [[int(row[i:i + 8], 16) for i in range(0, len(row), 8)] for row in re.findall("([0-9a-f]{32,})", printed)]
    assert len(words) == len(texts), printed[-500:]
    probabilities = np.array([row[1:-1] for row in words], np.uint32).view(np.float32)
    assert_same(np.array([row[0] for row in words]), probabilities, by_script(made, texts))
    assert int(re.search("s([0-9a-f]{8})", printed)[1], 16) < 2048 - 640 - 4 * len(made.model.labels)


@needs("avr-g++")
def test_sketch_compiles_as_arduino_compiles_it(exports, tmp_path):
    core = Path("/usr/share/arduino/hardware/arduino/avr")
    if not core.exists():
        pytest.skip("no arduino-core-avr installed")
    sketch = (PROGRAMS / "sketch.ino").read_text(encoding="utf-8")
    (tmp_path / "sketch.cpp").write_text("#include <Arduino.h>\n" + sketch)
    for kind in ("two", "six"):
        command = ["avr-g++", "-mmcu=atmega328p", "-DF_CPU=16000000L", "-DARDUINO=10819", "-DARDUINO_ARCH_AVR",
                   "-I", core / "cores/arduino", "-I", core / "variants/standard", "-I", exports(kind).folder, "-Os",
                   "-std=gnu++11", "-fpermissive", "-fno-exceptions", "-Wall", "-Wextra", "-c",
                   "-o", tmp_path / "sketch.o", tmp_path / "sketch.cpp"]
        process = subprocess.run(command, capture_output=True, text=True)
        assert process.returncode == 0 and "tinymodel.h" not in process.stderr, process.stderr[:2000]


def test_every_export_comes_from_the_description(exports):
    made = exports("two")
    values = made.script.describe_model(made.model)
    assert json.loads(json.dumps(values)) == values
    assert load_python(made).MODEL == values
