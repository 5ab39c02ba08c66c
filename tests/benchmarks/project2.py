#!/usr/bin/env python3
"""Measure Project2: speed, a million rows, a test estimate, compression, other people's data, two processes against one.

Usage: python3 tests/benchmarks/project2.py throughput|million|holdout|compression|steps|tweeteval|processes [options]

throughput [--steps 20] [--texts 2000] [--rounds 1] [--weights FOLDER] [--seeds 1]
    Texts a second of MiniLM. Training: Training.step of the script, as it trains (batches of like
    length padded to their longest, the precision that PRECISION auto means here, its own loss, AdamW,
    clipping and moving average), against the same model in float32 with each text padded to 128 and
    plain torch AdamW (F.cross_entropy, backward, step), which are the peer. Both take the same batches
    of 32: N of an epoch, at evenly spaced ranks of their length, in chance order, and each step of
    ours is followed by one of the peer, so that what else runs slows both. Two steps each come first
    and are not timed.
    Inference: the first 2,000 validation texts from raw text to label, as --mode inference serves
    them, against tokenizing to 128 and the float32 model; both in batches of 64 (the script's), the
    whole set in turns, --rounds times, the medians. The weights are those of --weights, a folder that
    training wrote, or else the pretrained encoder with a random head, which is as fast. The share of
    equal predictions is printed, and the accuracy of both where --weights is given.
million --weights FOLDER [--rows 1000000]
    A CSV of so many rows (the validation texts over and over, their labels, and a row number as a
    further column) through --mode inference in a process of its own, whose resident memory is read
    five times a second. Rows a second over the whole run and by the script's own clock, and the peak
    of the memory in each tenth of the output; every row of the output is checked to begin with what
    stood in the input. No seed: nothing is drawn. No peer.
holdout [--seeds 1,2,3]
    MiniLM trained by the command line with its default settings on train.csv less 2,000 rows (of
    those that the script trains on, numpy's default_rng(0), as in project1.py), which stand in for a
    test set: chosen on validation, scored by --mode evaluate on the rows held out. The peer is
    project1.py holdout on the same rows.
compression [--seeds 1,2,3] [--technique all]
    The variants of holdout's models (trained first where they are not there), made and measured by the command line
    (--mode compress --train rest.csv --val validation.csv --test held.csv): the README's table. The peer is the original in the
    same run; lost and won are the texts that it alone has right, and that the variant alone has, summed over the seeds, with
    McNemar's p of each seed. Speeds, milliseconds and memory are medians over the seeds; set OMP_NUM_THREADS=1 for one core.
steps [--seeds 1]
    What each step of `small` and `tiny` costs on the rows held out, each step alone: accuracy, macro F1, and the mean
    Kullback-Leibler divergence from the original's probabilities; and what it costs to leave the weights of one part of the
    encoder STEP_BITS bits of entropy, part by part. The weights of holdout's models, float32, nothing trained.
tweeteval [--seeds 1,2,3] [--tasks emotion,irony,offensive,sentiment]
    MiniLM trained by the command line with its default settings, the same for all tasks, on the pairs
    of files of TweetEval (--tweeteval FOLDER, ../shared/data/tweeteval, and twitter_human beside it for
    sentiment), scored on TweetEval's validation rows, which also choose the epoch. Each task's own
    measure: macro F1, for irony the F1 of the class irony, for sentiment the macro recall. The peers'
    figures are those that Barbieri et al. 2020 (arXiv:2010.12421) published, on TweetEval's tests.
processes [--rows 3000] [--seeds 1,2]
    MiniLM trained for two epochs on the first so many rows of train.csv, on the CPU: by one process
    (the peer) and by `torchrun --nproc_per_node 2`; validation accuracy and macro F1 of
    each seed, and the spread over the seeds of one process, against which a difference is to be read.

Data: train.csv and validation.csv of FOLDER (--data FOLDER, ../shared/data/emotion). Each part takes
--options "--epochs 1", further options of the script, and each that trains --model_id FOLDER, another
encoder in MiniLM's place. holdout, compression and tweeteval write below outputs/benchmark/project2, where a run that is
stopped goes on when it is started again, and what is there already is not trained anew; the others
write to temporary folders.
"""
import argparse
import csv
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPT = os.path.join(ROOT, "Project2", "emotion_classifier.py")
OUTPUT = os.path.join(ROOT, "outputs", "benchmark", "project2")
STEP_BITS = 3.0  # bits of entropy that `steps` leaves the weights of one part of an encoder
PADDED = 128  # tokens of every text of the peer


sys.path.insert(0, os.path.dirname(SCRIPT))
import emotion_classifier
from classifier.compression.graphs import EMBEDDING_BITS, load_onnx, quantize_onnx
from classifier.compression.students import keep_layers
from classifier.compression.vocabulary import cut_vocabulary
from classifier.data import read_data, read_for
from classifier.encoder import load_base
from classifier.evaluation import scores
from classifier.hub import MODELS, locate_model
from classifier.libraries import quiet_libraries
from classifier.loading import load_checkpoint, load_to_serve
from classifier.prediction import predict, predict_logits
from classifier.saving import save_manifest
from classifier.settings import parse_arguments
from classifier.text import batches, encode
from classifier.training import RATES, Encoded, Training


def load_settings(options):
    """Return the script's constants, with the benchmark's data and --options."""
    arguments, sys.argv = sys.argv, [SCRIPT, *data_options(options), *shlex.split(options.options)]
    settings, _ = parse_arguments(emotion_classifier, emotion_classifier.command_line(), emotion_classifier.SHORT)
    sys.argv = arguments
    quiet_libraries()
    return settings


def data_options(options):
    """Return the script's options that name the benchmark's data."""
    return ["--train", os.path.join(options.data, "train.csv"), "--val", os.path.join(options.data, "validation.csv")]


def model_options(options):
    """Return the script's options that name the model to train."""
    return ["--model", "MiniLM", *(["--model_id", options.model_id] if options.model_id else [])]


def run(*command, **environment):
    """Run a command to its end; returns (standard output, seconds), or ends with what it said where it fails."""
    started = time.perf_counter()
    result = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            errors="replace", env={**os.environ, **environment})
    if result.returncode:
        sys.exit(f"{shlex.join(map(str, command))} ended with exit status {result.returncode}:\n{result.stderr[-4000:]}")
    return result.stdout, time.perf_counter() - started


def read_json(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return json.load(file)


PUBLISHED = {  # on TweetEval's tests, per cent: Barbieri et al. 2020, arXiv:2010.12421
    "SVM": (64.7, 61.7, 52.3, 62.9), "fastText": (65.2, 63.1, 73.4, 62.9), "LSTM": (66.0, 62.8, 71.7, 58.3),
    "RoBERTa-base": (76.1, 59.7, 79.5, 71.3)}
TASKS = ("emotion", "irony", "offensive", "sentiment")


def write_rows(path, rows):
    """Write a CSV with the columns text and label."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("text", "label"), *rows])


def seconds_of(work, device):
    """Return the seconds that a call takes, its work on a GPU included."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def padded_inputs(tokenizer, texts, device):
    """Return the peer's inputs: each text padded to PADDED tokens."""
    encoded = tokenizer(texts, truncation=True, max_length=PADDED, padding="max_length", return_tensors="pt")
    return {name: encoded[name].to(device) for name in ("input_ids", "attention_mask")}


def measure_training(settings, options, name):
    """Print the training throughput of the script and of the peer, and their ratio."""
    import torch
    import torch.nn.functional as F
    from accelerate import Accelerator

    data = read_data(settings, 1)
    model_id = options.model_id or MODELS["MiniLM"]
    folder = locate_model(settings, model_id)
    torch.manual_seed(settings.SEED)
    model, tokenizer, manifest = load_base(settings, "MiniLM", model_id, folder, data.classes)
    plain = load_base(settings, "MiniLM", model_id, folder, data.classes)[0]
    encoded = Encoded(encode(tokenizer, data.train_texts, manifest), data.train_labels, [], data.val_labels,
                      tokenizer)
    accelerator = Accelerator(mixed_precision="no")
    training = Training(settings, accelerator, model, encoded, manifest, os.path.join(OUTPUT, "none.pt"), "")
    model.train()
    plain.to(accelerator.device).train()
    optimizer = torch.optim.AdamW(plain.parameters(), lr=RATES["MiniLM"])

    def plain_step(rows):
        inputs = padded_inputs(tokenizer, [data.train_texts[row] for row in rows], accelerator.device)
        labels = torch.tensor(data.train_labels[rows], device=accelerator.device)
        F.cross_entropy(plain(**inputs).logits, labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    groups = sorted(batches(settings, encoded.train, 0), key=lambda rows: max(len(encoded.train[row]) for row in rows))
    ranks = (np.arange(options.steps) + 0.5) * len(groups) / options.steps
    chosen = [groups[rank] for rank in np.random.default_rng(settings.SEED).permutation(ranks.astype(int))]
    ours, theirs, number = 0.0, 0.0, itertools.count()
    for place, rows in enumerate(chosen[:2] + chosen):
        seconds = (seconds_of(lambda: training.step(rows, next(number), 2000), accelerator.device),
                   seconds_of(lambda: plain_step(rows), accelerator.device))
        if place >= 2:
            ours, theirs = ours + seconds[0], theirs + seconds[1]
    texts = sum(len(rows) for rows in chosen)
    print(f"RESULT training of {name} on {accelerator.device}, {options.steps} steps of {len(chosen[0])}: "
          f"{texts / ours:.1f} texts/s in {str(training.dtype).removeprefix('torch.')}; float32 padded to {PADDED}: "
          f"{texts / theirs:.1f} texts/s; {theirs / ours:.1f} times as fast", flush=True)
    return model, tokenizer, manifest


def measure_inference(settings, options, name, folder):
    """Print the inference throughput of a saved model as the script serves it and of the peer, and their ratio."""
    import torch

    served, tokenizer, manifest = load_to_serve(settings, folder)
    texts, labels = read_for(settings, manifest, "VAL_PATH")
    texts, labels = texts[:options.texts], labels[:options.texts]
    plain = load_checkpoint(settings, folder)[0]
    predicted = {}

    def ours():
        predicted["ours"], _ = predict(served, tokenizer, texts, manifest)

    def theirs(number=len(texts)):
        found = []
        with torch.inference_mode():
            for begin in range(0, number, 64):
                logits = plain(**padded_inputs(tokenizer, texts[begin:begin + 64], plain.device)).logits
                found.append(logits.argmax(1).cpu().numpy())
        predicted["theirs"] = np.concatenate(found)

    predict(served, tokenizer, texts[:256], manifest)
    theirs(64)
    seconds = np.median([(seconds_of(ours, plain.device), seconds_of(theirs, plain.device)) for _ in range(options.rounds)], 0)
    speeds = len(texts) / seconds
    print(f"RESULT inference of {name} on {plain.device}, {len(texts):,} texts in batches of 64: {speeds[0]:.1f} texts/s in "
          f"{str(served.dtype).removeprefix('torch.')}; float32 padded to {PADDED}: {speeds[1]:.1f} texts/s; "
          f"{speeds[0] / speeds[1]:.1f} times as fast; {np.mean(predicted['ours'] == predicted['theirs']):.4f} of the "
          "predictions are equal", flush=True)
    if options.weights:
        accuracies = [np.mean(predicted[name] == labels) for name in ("ours", "theirs")]
        print(f"RESULT accuracy {accuracies[0]:.4f}; float32 padded to {PADDED}: {accuracies[1]:.4f}")


def throughput(options):
    settings = load_settings(options)
    import torch

    name = os.path.basename(options.model_id.rstrip("/")) if options.model_id else "MiniLM"
    print(f"{torch.get_num_threads()} threads", flush=True)
    for seed in options.seeds:
        settings = settings.model_copy(update={"SEED": seed})
        model, tokenizer, manifest = measure_training(settings, options, name)
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            save_manifest(folder, {**manifest, "names": list(model.config.id2label.values())})
            measure_inference(settings, options, name, options.weights or folder)


def watch(command, folder):
    """Run a command; returns (its output, seconds, list of (bytes of the files in `folder`, resident bytes))."""
    import psutil

    started, samples = time.perf_counter(), []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while process.poll() is None:
        try:
            memory = psutil.Process(process.pid).memory_info().rss
            files = os.scandir(folder) if os.path.isdir(folder) else ()
            samples.append((sum(file.stat().st_size for file in files), memory))
        except (psutil.NoSuchProcess, FileNotFoundError):
            continue
        time.sleep(0.2)
    output = process.stdout.read()
    if process.returncode:
        sys.exit(f"{shlex.join(command)} ended with exit status {process.returncode}")
    return output, time.perf_counter() - started, samples


def million(options):
    if not options.weights:
        sys.exit("million needs --weights, a folder that training wrote")
    with open(os.path.join(options.data, "validation.csv"), newline="", encoding="utf-8") as file:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "rows.csv"), os.path.join(folder, "rows_predictions.csv")
        with open(source, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("number", "text", "label"))
            writer.writerows((number, *row) for number, row in zip(range(options.rows), itertools.cycle(rows)))
        output, seconds, samples = watch([sys.executable, SCRIPT, "--mode", "inference", "--weights", options.weights,
                                          "--test_csv", source, "--output", folder, *shlex.split(options.options)],
                                         os.path.join(folder, "inference"))
        print(output, end="")
        count = 0
        with open(source, "rb") as before, open(target, "rb") as after:
            for count, (given, found) in enumerate(itertools.zip_longest(before, after, fillvalue=b"")):
                if not found.startswith(given.rstrip(b"\n") + b","):
                    sys.exit(f"row {count} came back otherwise: {found!r}")
    if count != options.rows:
        sys.exit(f"{count} rows came back of {options.rows}")
    tenths, size = [[] for _ in range(10)], max(written for written, _ in samples)  # of the predictions so far
    for written, memory in samples:
        tenths[min(9, written * 10 // (size + 1))].append(memory / 2**20)
    peaks = list(itertools.accumulate((max(tenth, default=0) for tenth in tenths), max))
    print(f"RESULT {options.rows:,} rows in {seconds:.1f} s, start included: {options.rows / seconds:,.0f} rows/s; peak "
          f"memory {peaks[0]:.0f} MiB when 10 % were written, {peaks[-1]:.0f} MiB at the end")
    print("peak MiB within each tenth:", *(f"{max(tenth):.0f}" if tenth else "-" for tenth in tenths))


def trained(output, arguments):
    """Train MiniLM by the command line into the folder `output`, unless it is there; returns its results.json."""
    record = os.path.join(output, "MiniLM", "results.json")
    if not os.path.exists(record):
        run(sys.executable, SCRIPT, *arguments, "--output", output)
    return read_json(record)


def held_out(options):
    """Write rest.csv and held.csv below OUTPUT, and return their paths: {"rest": path, "held": path}."""
    settings = load_settings(options)
    data = read_data(settings, 1)
    order = np.random.default_rng(0).permutation(len(data.train_texts))
    paths = {"held": os.path.join(OUTPUT, "held.csv"), "rest": os.path.join(OUTPUT, "rest.csv")}
    for name, rows in (("held", order[:2000]), ("rest", order[2000:])):
        write_rows(paths[name], [(data.train_texts[row], data.train_labels[row]) for row in rows])
    return paths


def holdout(options):
    paths = held_out(options)
    extra, found = shlex.split(options.options), []
    for seed in options.seeds:
        output = os.path.join(OUTPUT, f"holdout_{seed}")
        results = trained(output, [*data_options(options), "--train", paths["rest"], *model_options(options), "--seed", seed,
                                   *extra])
        weights = os.path.join(output, "best_MiniLM")
        run(sys.executable, SCRIPT, "--mode", "evaluate", "--weights", weights, "--val", paths["held"], "--output",
            os.path.join(output, "held"))
        held = read_json(output, "held", "evaluation.json")
        found.append((held["accuracy"], held["macro_f1"], results["validation_accuracy"], results["validation_macro_f1"]))
        print(f"RESULT seed {seed}: validation accuracy {found[-1][2]:.4f}, macro F1 {found[-1][3]:.4f}; {held['rows']:,} held "
              f"out: accuracy {found[-1][0]:.4f}, macro F1 {found[-1][1]:.4f}; {results['training_seconds']:.0f} s of training",
              flush=True)
    means = [f"{mean:.4f} ({spread:.4f})" for mean, spread in zip(np.mean(found, 0), np.std(found, 0, ddof=len(found) > 1))]
    print(f"RESULT mean (standard deviation) of {len(found)} seeds: held out accuracy {means[0]}, macro F1 {means[1]}; "
          f"validation accuracy {means[2]}, macro F1 {means[3]}")


def compression(options):
    paths, tables = held_out(options), []
    extra = shlex.split(options.options)
    for seed in options.seeds:
        trained(os.path.join(OUTPUT, f"holdout_{seed}"), [*data_options(options), "--train", paths["rest"],
                                                         *model_options(options), "--seed", seed, *extra])
        output = os.path.join(OUTPUT, f"compression_{seed}")
        record = os.path.join(output, "compression.json")
        if not os.path.exists(record):
            run(sys.executable, SCRIPT, "--mode", "compress",
                "--weights", os.path.join(OUTPUT, f"holdout_{seed}", "best_MiniLM"),
                *data_options(options), "--train", paths["rest"], "--test", paths["held"], "--technique", options.technique,
                "--seed", seed, "--output", output, *extra)
        content = read_json(record)
        for row in content["variants"]:
            if row["status"] != "measured":
                print(f"RESULT seed {seed}: {row['variant']} not run: {row['reason']}")
        tables.append({row["variant"]: row for row in content["variants"] if row["status"] == "measured"})
        print(f"RESULT seed {seed}: {len(tables[-1]) - 1} variants measured on {content['threads']} threads", flush=True)

    def middle(key, unit):
        return np.median([table[variant][key] for table in tables]) / unit

    def mean(key, sign=""):
        values = [table[variant][key] for table in tables]
        return f"{np.mean(values):{sign}.4f} ({np.std(values, ddof=len(values) > 1):.4f})"

    print(f"\n{len(tables)} seeds, means (standard deviations); on {content['threads']} threads of {content['processor']}\n")
    print("| | MB | share | held out: accuracy | change | macro F1 | change | lost, won | p | calibration error | validation: "
          "accuracy | macro F1 |\n|" + "---|" * 12)
    for variant in tables[0]:
        lost, won = (sum(table[variant][f"test_{key}"] for table in tables) for key in ("lost", "won"))
        chance = ", ".join(f"{table[variant]['test_mcnemar_p']:.2f}" for table in tables)
        print(f"| {variant} | {middle('bytes', 1e6):.2f} | {middle('bytes_share', 0.01):.1f} % | {mean('test_accuracy')} | "
              f"{np.mean([table[variant]['test_accuracy_change'] for table in tables]):+.4f} | {mean('test_macro_f1')} | "
              f"{np.mean([table[variant]['test_macro_f1_change'] for table in tables]):+.4f} | {lost}, {won} | {chance} | "
              f"{mean('test_calibration_error')} | {mean('accuracy')} | {mean('macro_f1')} |")
    print("\n| | 1 text, ms | 32 texts, ms | texts a second | times the original | peak MiB |\n|" + "---|" * 6)
    for variant in tables[0]:
        print(f"| {variant} | {middle('latency_1_median', 1e-3):.1f} | {middle('latency_32_median', 1e-3):.0f} | "
              f"{middle('texts_per_second', 1):.0f} | {middle('speed', 1):.2f} | {middle('peak_memory_bytes', 2**20):.0f} |")


def steps(options):
    """Print what each step of small and tiny costs, and which part of the encoder bears coarser weights least."""
    import copy

    import torch
    import torch.nn.functional as F

    settings = load_settings(options)
    paths = held_out(options)
    settings = settings.model_copy(update={"TEST_PATH": paths["held"]})
    for seed in options.seeds:
        model, tokenizer, manifest = load_checkpoint(settings, os.path.join(OUTPUT, f"holdout_{seed}", "best_MiniLM"))
        texts, labels = read_for(settings, manifest, "TEST_PATH")
        reference = predict_logits(model, tokenizer, texts, manifest)

        def show(name, network, pieces=tokenizer):
            logits = predict_logits(network, pieces, texts, manifest)
            _, accuracy, macro_f1 = scores(labels, logits)
            mine, its = (F.log_softmax(torch.tensor(given), 1) for given in (logits, reference))
            divergence = F.kl_div(mine, its, log_target=True, reduction="batchmean").item()
            print(f"| {name} | {accuracy:.4f} | {macro_f1:.4f} | {divergence:.4f} |", flush=True)

        print(f"\nseed {seed}, {len(texts):,} rows held out\n\n| step | accuracy | macro F1 | divergence |\n|---|---|---|---|")
        show("original, float32", model)
        def show_bits(name, bits):
            show(name, load_onnx(quantize_onnx(model, bits), model.config))

        show_bits("INT8 weights and activations (onnx_int8)", lambda name: 8.0)
        for bits in (settings.SMALL_BITS, 4.5, 4.0, 3.5):
            title = f"and weights of {bits} bits of entropy{' (small)' if bits == settings.SMALL_BITS else ''}"
            show_bits(title, lambda name: bits - EMBEDDING_BITS * ("embedding" in name))
        student = copy.deepcopy(model)
        with open(paths["rest"], newline="", encoding="utf-8") as file:
            seen = [row["text"] for row in csv.DictReader(file)]
        pieces = cut_vocabulary(student, tokenizer, seen, manifest)
        show(f"vocabulary cut to {student.config.vocab_size:,} pieces, float32", student, pieces)
        show(f"{settings.TINY_LAYERS} layers, before they have learned", keep_layers(model, settings.TINY_LAYERS))
        parts = []
        quantize_onnx(model, lambda name: parts.append(part_of(name)) or 8.0)
        for part in sorted(set(parts)):
            show_bits(f"{STEP_BITS} bits in {part} alone", lambda name: STEP_BITS if part_of(name) == part else 8.0)


def part_of(name):
    """Return the part of the encoder that a node of a graph belongs to, by its name.

    The last layer computes its first token by itself, so that the name of what follows its attention is that of its output.
    """
    found = re.search(r"layer\.?(\d+)/(attention|query|key|value|intermediate|output)", name)
    if not found:
        return "embeddings" if "embedding" in name else "head"
    return f"layer {int(found[1]) + 1}, {'feed-forward' if found[2] in ('intermediate', 'output') else 'attention'}"


def tweeteval(options):
    means = {}
    for task in options.tasks.split(","):
        folder = os.path.join(options.tweeteval, os.pardir, "twitter_human") if task == "sentiment" else os.path.join(
            options.tweeteval, task)
        data = [word for flag, name in (("--train", "train"), ("--val", "val"))
                for word in (flag, os.path.join(folder, f"{name}_text.txt"))]
        figures = []
        for seed in options.seeds:
            results = trained(os.path.join(OUTPUT, f"{task}_{seed}"), [*data, *model_options(options), "--seed", seed,
                                                                      *shlex.split(options.options)])
            validation = results["validation"]
            report = validation["report"]
            figures.append(100 * {"irony": lambda: report["irony"]["f1-score"],
                                  "sentiment": lambda: np.mean([row["recall"] for row in report.values()])}.get(
                                      task, lambda: validation["macro_f1"])())
            print(f"RESULT {task}, seed {seed}: {figures[-1]:.1f} on {validation['rows']:,} validation rows; accuracy "
                  f"{validation['accuracy']:.4f}, macro F1 {validation['macro_f1']:.4f}; {results['train_rows']:,} rows, "
                  f"{results['epochs']} epochs, {results['training_seconds']:.0f} s of training", flush=True)
        means[task] = np.mean(figures)
        peers = ", ".join(f"{name} {row[TASKS.index(task)]}" for name, row in PUBLISHED.items())
        print(f"RESULT {task}: mean {means[task]:.1f} (standard deviation {np.std(figures, ddof=len(figures) > 1):.1f}) of "
              f"{len(figures)} seeds; published on the test: {peers}", flush=True)
    if set(means) == set(TASKS):
        peers = ", ".join(f"{name} {np.mean(row):.1f}" for name, row in PUBLISHED.items())
        print(f"RESULT mean of the four tasks: {np.mean(list(means.values())):.1f}; published on the tests: {peers}")


def processes(options):
    with open(os.path.join(options.data, "train.csv"), newline="", encoding="utf-8") as file:
        rows = [(row["text"], row["label"]) for row in itertools.islice(csv.DictReader(file), options.rows)]
    ways = {"one process": [sys.executable],
            "torchrun --nproc_per_node 2": [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]}
    found = {}
    for (way, command), seed in itertools.product(ways.items(), options.seeds):
        with tempfile.TemporaryDirectory() as output:
            path = os.path.join(output, "train.csv")
            write_rows(path, rows)
            _, seconds = run(*command, SCRIPT, *data_options(options), "--train", path, *model_options(options), "--epochs",
                             2, "--seed", seed, "--output", output, *shlex.split(options.options))
            results = read_json(output, "MiniLM", "results.json")
        found[way, seed] = results["validation_accuracy"], results["validation_macro_f1"]
        difference = np.subtract(found[way, seed], found["one process", seed])
        print(f"RESULT {way}, seed {seed}: validation accuracy {found[way, seed][0]:.4f} ({difference[0]:+.4f}), macro F1 "
              f"{found[way, seed][1]:.4f} ({difference[1]:+.4f}); training {results['training_seconds']:.1f} s, whole run "
              f"{seconds:.1f} s", flush=True)
    spread = np.ptp([found["one process", seed] for seed in options.seeds], 0)
    print(f"RESULT spread over {len(options.seeds)} seeds of one process: accuracy {spread[0]:.4f}, macro F1 {spread[1]:.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"throughput": throughput, "million": million, "holdout": holdout, "compression": compression, "steps": steps,
             "tweeteval": tweeteval, "processes": processes}
    parser.add_argument("part", choices=parts)
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")])
    parser.add_argument("--data", default=os.path.join(ROOT, os.pardir, "shared", "data", "emotion"))
    parser.add_argument("--tweeteval", default=os.path.join(ROOT, os.pardir, "shared", "data", "tweeteval"))
    parser.add_argument("--tasks", default=",".join(TASKS), help="tweeteval: which, with commas between")
    parser.add_argument("--weights", help="throughput, million: a folder that training wrote")
    parser.add_argument("--model_id", default="", help="an encoder in MiniLM's place: a local folder")
    parser.add_argument("--options", default="", help='further options of the script, such as "--epochs 1"')
    parser.add_argument("--technique", default="all", help="compression: which")
    parser.add_argument("--rows", type=int, help="million: rows of the file; processes: training rows")
    parser.add_argument("--steps", type=int, default=20, help="throughput: timed training steps of each")
    parser.add_argument("--texts", type=int, default=2000, help="throughput: validation texts to predict")
    parser.add_argument("--rounds", type=int, default=1, help="throughput: how often these are predicted")
    options = parser.parse_args()
    three = dict.fromkeys(("holdout", "compression", "tweeteval"), [1, 2, 3])
    options.seeds = options.seeds or {"processes": [1, 2], **three}.get(options.part, [1])
    options.rows = options.rows or (3000 if options.part == "processes" else 1_000_000)
    parts[options.part](options)


if __name__ == "__main__":
    main()
