"""Grid search: every setting once, by any number of processes that share a store; the ranked table."""
import contextlib
import json
import math
import os
import random
import time
import warnings
from datetime import datetime

import keras
import optuna
import pandas as pd
import sqlalchemy
from optuna.trial import TrialState

from .files import save_all
from .settings import InputError, one_line

ADDRESS = "postgresql+psycopg://USER:PASSWORD@HOST:PORT/NAME, with %40 for @ and %2F for / in the password"
STORE_ERRORS = sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError
DONE = TrialState.COMPLETE, TrialState.PRUNED


def search(settings, folder, name, grid, train, depends):
    """Train every setting of the grid once, with any other process that shares the store; return the study.
    train: of settings, a name and a `report` to a history; hopeless settings are pruned (median rule, Vizier 2017)."""
    searched = {**depends, "GRID_EPOCHS": settings.GRID_EPOCHS, "grid": grid}
    url, address = url_of(settings.STORAGE or os.path.join(folder, "grid.db"))
    study = open_study(url, address, settings.STALE_SECONDS, name, searched)
    try:
        while True:
            fail_what_died(study, settings.STALE_SECONDS)
            if missing(study, grid):
                train_next(study, settings, grid, train)
            elif study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                time.sleep(1)
            else:
                return study
    except (*STORE_ERRORS, UnboundLocalError) as error:  # the latter is Optuna's, where it can tell the store nothing
        if not isinstance(error, STORE_ERRORS) and not isinstance(error.__context__, STORE_ERRORS):
            raise
        raise InputError(f"the store {address} does not answer: {one_line(error.__context__ or error)}; start the same "
                         "command again when it does, and it goes on") from error


def url_of(address):
    """Return (SQLAlchemy's URL of an SQLite file or a database, its name for messages, which shows no password)."""
    if "://" not in address:
        return f"sqlite:///{os.path.abspath(address)}", address
    with contextlib.suppress(ValueError, sqlalchemy.exc.ArgumentError):
        url = sqlalchemy.make_url(address)
        if "@" not in (url.host or ""):  # else the end of a password would be a part of the host's name
            return address, url.set(query={}).render_as_string()
    raise InputError(f"STORAGE cannot be read as a database's address; write {ADDRESS}")


def open_study(url, address, stale, name, searched):
    """Return the Optuna study of a search; raise InputError where the store cannot be opened or has another search."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)
    try:
        study = optuna.create_study(storage=open_store(url, stale), study_name=name, direction="maximize",
                                    load_if_exists=True, pruner=pruner)
        known = json.loads(study.user_attrs.get("searched", "null")) or searched
        study.set_user_attr("searched", json.dumps(known))
    except Exception as error:  # a driver's own exceptions: no such driver, no such database, no database at all
        raise InputError(f"cannot open the store {address}: {one_line(error.__cause__ or error)}. Set STORAGE to a "
                         f"file that can be written, or to {ADDRESS}, with pip install 'psycopg[binary]'") from error
    other = sorted(key for key in {*known, *searched} if known.get(key) != searched.get(key))
    if other:
        raise InputError(f"the store {address} holds another search, which differs in {', '.join(other)}; set STORAGE "
                         "to a new one, or delete it")
    return study


class Store(optuna.storages.RDBStorage):
    """Optuna's store; while a trial is trained, a thread notes there that its process is alive."""

    def record_heartbeat(self, trial_id):
        with contextlib.suppress(*STORE_ERRORS):  # the next call that matters says it
            super().record_heartbeat(trial_id)


def open_store(url, stale):
    """Return the Store at a URL, made where it is not there; another process may just be making the same tables."""
    is_file = url.startswith("sqlite")
    options = {"pool_pre_ping": True, "connect_args": {"timeout": 60} if is_file else {}}
    for attempt in range(10):
        try:
            store = Store(url, options, grace_period=stale, heartbeat_interval=max(1, stale // 6))
            break
        except STORE_ERRORS:
            if attempt == 9:
                raise
            time.sleep(random.uniform(0.1, 0.8))
    if is_file:  # SQLite knows no SELECT ... FOR UPDATE: two processes would take the same trial
        sqlalchemy.event.listen(store.engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN IMMEDIATE"))
    return store


def fail_what_died(study, stale):
    """Fail the trials whose process was silent for so many seconds, or was killed before it said a word."""
    optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if "place" not in trial.user_attrs and (datetime.now() - trial.datetime_start).total_seconds() > stale:
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def missing(study, grid, but=None):
    """Return the places in the grid of the settings that no trial holds, or only the trial of the number `but`."""
    held = {trial.user_attrs.get("place", trial.number) for trial in study.get_trials(deepcopy=False)
            if trial.state != TrialState.FAIL and trial.number != but}
    return [place for place in range(len(grid)) if place not in held]


def train_next(study, settings, grid, train):
    """Train a setting that no trial holds, and say how many are done."""
    try:
        study.optimize(lambda trial: train_trial(trial, settings, grid, train), n_trials=1)
    except (optuna.exceptions.UpdateFinishedTrialError, ValueError) as error:
        if isinstance(error, ValueError) and not str(error).startswith("Cannot tell a "):
            raise  # else it was given up for dead, as of a computer that slept, and is trained anew
    print(f"grid: {len(study.get_trials(deepcopy=False, states=DONE))} of {len(grid)} settings done", flush=True)


def train_trial(trial, settings, grid, train):
    """Train the setting of a trial's number, or one that failed; return its best validation macro F1, nan for none."""
    places = [trial.number] if trial.number < len(grid) else missing(trial.study, grid, trial.number)
    if not places:
        return math.nan
    trial.set_user_attr("place", places[0])
    name = ", ".join(f"{key} {value}" for key, value in grid[places[0]].items())
    keras.backend.clear_session()
    keras.utils.set_random_seed(settings.SEED)

    def report(epoch, macro_f1):
        trial.report(macro_f1, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    history = train(settings.model_copy(update=grid[places[0]]), name, report)
    best = max(history, key=lambda entry: entry["val_macro_f1"])
    trial.set_user_attr("val_accuracy", best["val_accuracy"])
    return best["val_macro_f1"]


def report_search(study, grid, folder):
    """Print and save the ranked table; return the best setting."""
    rows = []
    for trial in study.get_trials(deepcopy=False, states=DONE):
        values = trial.intermediate_values.values()
        rows.append({**grid[trial.user_attrs["place"]], "state": trial.state.name.lower(), "val_macro_f1": max(values),
                     "val_accuracy": trial.user_attrs.get("val_accuracy"), "epochs": len(values),
                     "seconds": trial.duration.total_seconds()})
    table = pd.DataFrame(rows).sort_values(["state", "val_macro_f1"], ascending=[True, False]).reset_index(drop=True)
    print(table.to_string(formatters={"val_macro_f1": "{:.4f}".format, "seconds": "{:.0f}".format}))
    save_all({os.path.join(folder, "grid.csv"): table.to_csv(index=False).encode()})
    best = {key: table.loc[0, key].item() for key in grid[0]}
    print("best setting: " + ", ".join(f"{key} = {value}" for key, value in best.items()))
    return best
