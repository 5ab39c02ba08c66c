"""Grid search: every setting once, by any number of processes that share a store; the ranked table."""
import datetime
import json
import os
import time
from collections import Counter

import keras
import optuna
import pandas as pd
from optuna.trial import TrialState

from .files import save_all
from .pictures import draw_grid
from .store import open_study


def search(settings, folder, name, grid, train, depends):
    """Train every setting of the grid once, with any other process that shares the store; return the study.

    folder: where the store is without STORAGE; train: called with a setting and a `report`, returns the history of the
    epochs; depends: {what the results depend on: value}. Hopeless settings are pruned by the median rule (Golovin et
    al. 2017, "Google Vizier").
    """
    searched = {**depends, "GRID_EPOCHS": settings.GRID_EPOCHS, "grid": grid}
    study = open_study(settings, settings.STORAGE or os.path.join(folder, "grid.db"), name, searched)
    while True:
        fail_what_died(study, settings.STALE_SECONDS)
        enqueue_what_is_missing(study, grid)
        states = Counter(trial.state for trial in study.get_trials(deepcopy=False))
        if states[TrialState.WAITING]:
            try:
                study.optimize(lambda trial: try_setting(trial, grid, train), n_trials=1, catch=(Taken,))
            except (optuna.exceptions.UpdateFinishedTrialError, ValueError) as error:
                if isinstance(error, ValueError) and not str(error).startswith("Cannot tell a "):
                    raise  # else it was given up for dead, as of a computer that slept, and is trained anew
            done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
            print(f"grid: {len(done)} of {len(grid)} settings done", flush=True)
        elif states[TrialState.RUNNING]:
            time.sleep(1)
        else:
            return study


class Taken(Exception):
    """A trial that has no setting of its own: another process trains it."""


def try_setting(trial, grid, train):
    """Train the setting of a trial; return its best validation macro F1. Raises Taken where it has none of its own.

    Optuna gives a waiting trial to one process only. Two processes that start together may have enqueued a setting
    twice; the trial of the lower number counts, the other is dropped.
    """
    setting = trial.user_attrs.get("setting")
    same = [other for other in trial.study.get_trials(deepcopy=False) if other.user_attrs.get("setting") == setting
            and other.number < trial.number and other.state != TrialState.FAIL]
    if setting is None or same:
        raise Taken
    setting = json.loads(setting)
    for key in setting:
        trial.suggest_categorical(key, sorted({other[key] for other in grid}))

    def report(epoch, macro_f1):
        trial.report(macro_f1, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        history = train(setting, report)
    finally:
        keras.backend.clear_session()
    best = max(history, key=lambda entry: entry["val_macro_f1"])
    trial.set_user_attr("val_accuracy", best["val_accuracy"])
    return best["val_macro_f1"]


def enqueue_what_is_missing(study, grid):
    """Enqueue each setting that no trial holds; those whose process died failed, and are trained anew."""
    trials = study.get_trials(deepcopy=False)
    held = {trial.user_attrs.get("setting") for trial in trials if trial.state != TrialState.FAIL}
    for setting in map(json.dumps, grid):
        if setting not in held:
            study.enqueue_trial(json.loads(setting), user_attrs={"setting": setting})


def fail_what_died(study, seconds):
    """Fail the trials whose process was silent for so long, or was killed before it said a word."""
    optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not trial.params and (datetime.datetime.now() - trial.datetime_start).total_seconds() > seconds:
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def report_search(study, grid, folder):
    """Print and save the ranked table and a heat map of the first two axes; return the best setting."""
    rows = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        value = trial.value if trial.state == TrialState.COMPLETE else max(trial.intermediate_values.values())
        rows.append({**json.loads(trial.user_attrs["setting"]), "state": trial.state.name.lower(),
                     "val_macro_f1": value, "val_accuracy": trial.user_attrs.get("val_accuracy"),
                     "epochs": len(trial.intermediate_values), "seconds": trial.duration.total_seconds()})
    table = pd.DataFrame(rows).sort_values(["state", "val_macro_f1"], ascending=[True, False]).reset_index(drop=True)
    print(table.to_string(formatters={"val_macro_f1": "{:.4f}".format, "seconds": "{:.0f}".format}))
    save_all({os.path.join(folder, "grid.csv"): table.to_csv(index=False).encode(),
              os.path.join(folder, "grid.png"): draw_grid(table, grid[0])})
    best = {key: table.loc[0, key].item() for key in grid[0]}
    print("best setting: " + ", ".join(f"{key} = {value}" for key, value in best.items()))
    return best
