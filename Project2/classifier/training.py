"""One training: its steps, loss and step sizes, moving average, when it ends, and what a killed one goes on from."""
import os
import pathlib
import sys
import time
from collections import namedtuple

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .encoder import precision_of
from .evaluation import scores
from .files import cannot_write, hash_of, whole_file
from .libraries import progress
from .prediction import logits_of
from .settings import InputError, one_line
from .text import batches, pad

RATES = {"BERTweet": 2e-5, "CardiffRoBERTa": 2e-5, "ModernBERT": 5e-5, "MiniLM": 1.5e-4}  # AdamW step sizes
STATE = ("epoch", "position", "history", "seconds", "best")  # of a Training, in a checkpoint
SHORT_EPOCH = 100  # steps; PATIENCE counts an epoch of fewer as a part of one

# The sets as token numbers (lists of lists of int) and class numbers (int64 arrays), and the tokenizer, which pads them
Encoded = namedtuple("Encoded", "train train_labels val val_labels tokenizer")


class Training:
    """A training under way; all processes share each batch: their number does not change it.
    Steps draw their dropout, and epochs their order, from SEED and their own number: a resumed run draws the same."""

    def __init__(self, settings, accelerator, model, data, manifest, path, identity):
        """path, identity: of its checkpoint."""
        self.accelerator = accelerator
        self.settings = settings = for_few_texts(settings, data.train, accelerator.num_processes)
        self.model, self.data, self.name, self.path, self.identity = model, data, manifest["model"], path, identity
        self.copies = 2 if settings.R_DROP else 1  # each text is read twice, with other dropout, and is to say the same
        self.network = accelerator.prepare_model(model)
        self.parameters = list(model.parameters())
        groups = parameter_groups(settings, model, learning_rate(settings, self.name, model.config))
        self.optimizer = torch.optim.AdamW(groups, fused=accelerator.device.type in ("cpu", "cuda"))
        self.dtype = precision_of(settings, accelerator.device, manifest["family"])
        self.scaler = torch.amp.GradScaler(accelerator.device.type, enabled=self.dtype == torch.float16)
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.epoch, self.position, self.history, self.best = 0, 0, [], None
        self.loss, self.seconds = torch.zeros((), device=accelerator.device), 0.0

    def run(self):
        """Train to the end, leave the model with the weights of the epoch that is kept, and return the history."""
        while not self.finished():
            self.run_epoch()
            self.save()
        with torch.no_grad():
            for parameter, best in zip(self.parameters, self.best):
                parameter.copy_(best)
        return self.history

    def finished(self):
        """Return whether the epochs are over or, once one beat a single class for all, PATIENCE > 0 were no better."""
        scores = [entry["val_macro_f1"] for entry in self.history]
        over = self.epoch >= self.settings.NUM_EPOCHS
        if over or not self.settings.PATIENCE or max(scores, default=0) <= one_class_macro_f1(self.data.val_labels):
            return over
        steps = len(batches(self.settings, self.data.train, 0, self.accelerator.num_processes))
        return (self.epoch - 1 - scores.index(max(scores))) * min(1, steps / SHORT_EPOCH) >= self.settings.PATIENCE

    def run_epoch(self):
        """Train the epoch from where it stands to its end, and score it on the validation set."""
        groups = batches(self.settings, self.data.train, self.epoch, self.accelerator.num_processes)
        done, name = sum(map(len, groups[:self.position])), f"{self.name}, epoch {self.epoch + 1}"
        self.model.train()
        clock = saved = time.perf_counter()
        for rows in progress(groups[self.position:], name, done, len(self.data.train)):
            self.step(rows, self.epoch * len(groups) + self.position, self.settings.NUM_EPOCHS * len(groups))
            self.position += 1
            self.seconds += time.perf_counter() - clock
            if time.perf_counter() - saved > self.settings.CHECKPOINT_SECONDS and self.position < len(groups):
                self.save()
                saved = time.perf_counter()
            clock = time.perf_counter()
        self.close_epoch(self.accelerator.reduce(self.loss, "mean").item() / len(groups))

    def step(self, rows, number, steps):
        """Take optimiser step `number` of `steps` on the texts of these rows, of which each process has its share."""
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        seed = np.random.SeedSequence([self.settings.SEED, number, process]).generate_state(1)[0]
        torch.manual_seed(int(seed))
        labels = torch.tensor(self.data.train_labels[rows], device=self.accelerator.device)
        share = len(rows) / processes  # the processes' gradients are averaged
        labels, rows = labels[process::processes], rows[process::processes]
        inputs = pad(self.data.train, rows, self.data.tokenizer, self.accelerator.device)
        inputs = {name: value.repeat(self.copies, 1) for name, value in inputs.items()}
        with self.autocast():
            logits = self.network(**inputs).logits.float()  # (copies x texts, classes)
        loss = F.cross_entropy(logits, labels.repeat(self.copies), reduction="sum",
                               label_smoothing=self.settings.LABEL_SMOOTHING)
        loss = loss / (self.copies * share) + self.consistency(logits, rows) / share
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * schedule(self.settings, number, steps)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        get_ema_multi_avg_fn(min(0.99, (1 + number) / (10 + number)))(self.average, self.parameters, None)
        self.loss += loss.detach()

    def consistency(self, logits, _):
        """Return R-Drop's part of the loss, a sum over the texts: how far two readings differ (arXiv:2106.14448)."""
        if not self.settings.R_DROP:
            return 0.0
        first, second = F.log_softmax(logits, 1).chunk(2)
        forth = F.kl_div(first, second, log_target=True, reduction="sum")
        back = F.kl_div(second, first, log_target=True, reduction="sum")
        return self.settings.R_DROP * ((forth + back) / 2)

    def autocast(self):
        """Return the context in which the network computes in this training's precision."""
        return torch.autocast(self.accelerator.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def close_epoch(self, loss):
        """Evaluate with the averaged weights, keep the best or, without PATIENCE, the last; add to the history."""
        if not np.isfinite(loss):
            raise InputError(f"the loss of {self.name} is {loss} in epoch {self.epoch + 1}; set LEARNING_RATE smaller "
                             "or PRECISION to float32")
        self.swap()
        val_loss, accuracy, macro_f1 = scores(self.data.val_labels, self.predict(self.data.val))
        if not self.settings.PATIENCE or macro_f1 > max((e["val_macro_f1"] for e in self.history), default=-1):
            self.best = [parameter.detach().to("cpu", copy=True) for parameter in self.parameters]
        self.swap()
        self.history.append({"loss": loss, "val_loss": val_loss, "val_accuracy": accuracy, "val_macro_f1": macro_f1,
                             "seconds": self.seconds})
        self.epoch += 1
        print(f"{self.name}, epoch {self.epoch}: loss {loss:.4f}, validation loss {val_loss:.4f}, "
              f"accuracy {accuracy:.4f}, macro F1 {macro_f1:.4f}, {self.seconds:.1f} s", flush=True)
        self.position, self.seconds = 0, 0.0
        self.loss.zero_()

    def swap(self):
        """Exchange the weights and their moving average."""
        for place, (parameter, average) in enumerate(zip(self.parameters, self.average)):
            self.average[place] = parameter.data
            parameter.data = average

    def predict(self, sequences):
        """Return the logits of each text: float32 (texts, classes); each process computes its share, none twice."""
        mine = range(self.accelerator.process_index, len(sequences), self.accelerator.num_processes)
        logits = np.zeros((len(sequences), self.model.config.num_labels), np.float32)
        with self.autocast():
            logits[mine] = logits_of(self.model, [sequences[row] for row in mine], self.data.tokenizer, 32)
        return self.accelerator.reduce(torch.from_numpy(logits).to(self.accelerator.device), "sum").cpu().numpy()

    def save(self):
        """Write a checkpoint, whole or not at all."""
        if self.accelerator.is_main_process:
            state = {name: getattr(self, name) for name in ("identity", *STATE)}
            weights = [parameter.detach() for parameter in self.parameters]
            save_checkpoint(self.path, state | {"weights": weights, "average": self.average, "loss": self.loss.item(),
                                                "optimizer": self.optimizer.state_dict(),
                                                "scaler": self.scaler.state_dict()})

    def restore(self, state):
        """Go back to the state of a checkpoint."""
        vars(self).update({name: state[name] for name in STATE})
        self.loss.fill_(state["loss"])
        with torch.no_grad():
            for mine, saved in zip([*self.parameters, *self.average], [*state["weights"], *state["average"]]):
                mine.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        print(f"{self.name}: goes on from step {self.position} of epoch {self.epoch + 1}", flush=True)


def for_few_texts(settings, texts, processes=1):
    """Return the settings with a number of epochs: NUM_EPOCHS, or 3, or with few texts as many as make 300 steps, of
    smaller batches (a hundredth of the texts, 8 at least), without PATIENCE: few validation texts choose by chance."""
    if settings.NUM_EPOCHS:
        return settings
    size = min(settings.BATCH_SIZE, max(8, processes, len(texts) // 100))
    epochs = max(3, -(-300 * size // len(texts)))
    patience = settings.PATIENCE if epochs == 3 else 0
    return settings.model_copy(update={"NUM_EPOCHS": epochs, "BATCH_SIZE": size, "PATIENCE": patience})


def one_class_macro_f1(labels):
    """Return the macro F1 of the answer that all texts are of the most frequent class, with its rounding."""
    from sklearn.metrics import f1_score
    return f1_score(labels, np.full(len(labels), np.bincount(labels).argmax()), average="macro", zero_division=0)


def schedule(settings, step, steps):
    """Return the step size as a share of its highest: it rises over WARM_UP of the steps, then falls in a line."""
    warm_up = settings.WARM_UP * steps
    return (step + 1) / (warm_up + 1) if step < warm_up else (steps - step) / (steps - warm_up)


def learning_rate(settings, model_name, config):
    """Return AdamW's highest step size: LEARNING_RATE, or what suits the model; small encoders take a larger one."""
    alike = "MiniLM" if config.hidden_size < 512 else "CardiffRoBERTa"
    return settings.LEARNING_RATE or RATES.get(model_name, RATES[alike])


def parameter_groups(settings, model, rate):
    """Return AdamW's groups: decay on the layers' matrices; in classifier and pooler HEAD_RATE times the step size."""
    inside, groups = f"{model.base_model_prefix}.", {}
    for name, parameter in model.named_parameters():
        peak = rate * (settings.HEAD_RATE if not name.startswith(inside) or "pooler" in name else 1)
        decay = 0.01 if parameter.ndim > 1 and "embeddings" not in name else 0.0
        group = groups.setdefault((peak, decay), {"params": [], "weight_decay": decay, "lr": peak, "peak": peak})
        group["params"].append(parameter)
    return list(groups.values())


def start_processes(settings):
    """Return the Accelerator of this process, one of several where torchrun or `accelerate launch` started them."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by CUDA at its start: makes its sums repeatable
    if {"ACCELERATE_USE_CPU", "MASTER_ADDR"} <= os.environ.keys() and "WORLD_SIZE" not in os.environ:  # issue 2741
        raise InputError("accelerate launch starts one process where there is no GPU; take torchrun --nproc_per_node 2 "
                         "emotion_classifier.py")
    alone = "WORLD_SIZE" in os.environ and not torch.accelerator.is_available()  # torchrun without a GPU
    accelerator = Accelerator(cpu=alone, mixed_precision="no")  # PRECISION rules it, here
    if not accelerator.is_main_process:
        sys.stdout = open(os.devnull, "w")
    if settings.BATCH_SIZE < accelerator.num_processes:
        raise InputError(f"BATCH_SIZE is {settings.BATCH_SIZE}; {accelerator.num_processes} processes need as many")
    if accelerator.device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
    return accelerator


def checkpoint_path(settings, name):
    """Return where the training of a model keeps its checkpoint."""
    return os.path.join(settings.OUTPUT_DIR, name, "checkpoint.pt")


def save_checkpoint(path, state):
    """Write the state of a training to `path`, whole or not at all."""
    try:
        with whole_file(path) as file:
            torch.save(state, file)
    except RuntimeError as error:  # torch's own for a full disk
        raise cannot_write(path, OSError("the disk is full")) from error


def read_checkpoint(settings, path, identity):
    """Return the state in a checkpoint of this very training, or None where there is none that can be used."""
    if not settings.RESUME or not os.path.isfile(path):
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a zip, a pickle, or neither
        raise InputError(f"{path} is damaged ({one_line(error)}); set RESUME to False to start anew") from error
    if state["identity"] != identity:
        print(f"note: {path} is of a training with other data or settings; this one starts anew")
        return None
    return state


def remove_checkpoint(path):
    """Remove a checkpoint that has done its work, and what killed runs left beside it under temporary names."""
    for left in pathlib.Path(path).parent.glob(".checkpoint.pt.*.partial"):
        left.unlink()
    os.unlink(path)


def identity_of(settings, accelerator, name, folder, data):
    """Return what a training's result depends on, as a hash: data, manifest, the model to start from, the devices."""
    files = sorted((entry.name, entry.stat().st_size) for entry in os.scandir(folder) if entry.is_file())
    return hash_of(data.classes, data.train_texts, data.train_labels.tolist(), data.val_texts, data.val_labels.tolist(),
                   name, files, training_settings(settings), accelerator.num_processes, accelerator.device.type)


def training_settings(settings):
    """Return {name: value} of the constants that a training's result depends on."""
    return {name: value for name, value in settings.constants("Text", "Training").items()
            if name not in ("RESUME", "CHECKPOINT_SECONDS")}
