"""The store of a grid search: an SQLite file or a database, opened, compared, waited for while it does not answer."""
import functools
import json
import math
import os
import random
import time
import warnings

import optuna
import sqlalchemy

from .settings import InputError, one_line

ADDRESS = "postgresql+psycopg://USER:PASSWORD@HOST:PORT/NAME, with %40 for @ and %2F for / in the password"
STORE_CALLS = {name for name in vars(optuna.storages.BaseStorage) if not name.startswith("_")}
STORE_CALLS |= {"_create_new_trial", "_get_trials", "_set_trial_param", "_get_stale_trial_ids"}  # by Optuna's cache


def open_study(settings, address, name, searched):
    """Return the Optuna study of a search; raise InputError where the store cannot be opened or holds another search.

    address: path of an SQLite file, or address of a database; searched: {what the results depend on: value}.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    try:
        study = study_at(settings, url_of(address), name)
        known = json.loads(study.user_attrs.get("searched", "null")) or searched
        other = sorted(key for key in {*known, *searched} if known.get(key) != searched.get(key))
        if not other:
            study.set_user_attr("searched", json.dumps(searched))
            return study
    except InputError:
        raise
    except Exception as error:  # a driver's own exceptions: no such driver, no such database, no database at all
        what = one_line(error.__cause__ or error)
        raise InputError(f"cannot open the store {without_password(address)}: {what}. Set STORAGE to a file that can "
                         f"be written, or to {ADDRESS}, with pip install 'psycopg[binary]'") from error
    raise InputError(f"the store {without_password(address)} holds another search, which differs in "
                     f"{', '.join(other)}; set STORAGE to a new one, or delete it")


def study_at(settings, url, name):
    """Return the study of this name, made where it is not there; another process may just be making the same tables."""
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)
    for attempt in range(10):
        try:
            return optuna.create_study(storage=PatientStorage(url, settings), study_name=name, direction="maximize",
                                       load_if_exists=True, pruner=pruner)
        except (sqlalchemy.exc.DBAPIError, optuna.exceptions.StorageInternalError):
            if attempt == 9:
                raise
            time.sleep(random.uniform(0.1, 0.8))


def url_of(address):
    """Return SQLAlchemy's URL of a file or database; raise InputError where a password's @ ends in the host's name."""
    if "://" not in address:
        os.makedirs(os.path.dirname(os.path.abspath(address)), exist_ok=True)
        return f"sqlite:///{os.path.abspath(address)}"
    try:
        if "@" not in (sqlalchemy.make_url(address).host or ""):
            return address
    except (ValueError, sqlalchemy.exc.ArgumentError):
        pass
    raise InputError(f"STORAGE cannot be read as a database's address; write {ADDRESS}")


def without_password(address):
    """Return the store's address for messages."""
    return sqlalchemy.make_url(address).set(query={}).render_as_string() if "://" in address else address


class PatientStorage(optuna.storages.RDBStorage):
    """A database whose calls are repeated while its server does not answer, for up to STORE_PATIENCE seconds.

    While a trial is trained, a thread of Optuna's notes that its process is alive; a trial whose process was silent for
    STALE_SECONDS, on whatever machine, fails, but not soon after the server was away.
    """

    away = told = -math.inf  # when a call last failed, and when that was last said

    def __init__(self, url, settings):
        self.stale, self.patience, self.address = settings.STALE_SECONDS, settings.STORE_PATIENCE, without_password(url)
        arguments = {"timeout": 60} if url.startswith("sqlite") else {}
        super().__init__(url, {"pool_pre_ping": True, "connect_args": arguments}, grace_period=self.stale,
                         heartbeat_interval=max(1, self.stale // 6))
        if url.startswith("sqlite"):  # knows no SELECT ... FOR UPDATE: two processes would take the same trial
            sqlalchemy.event.listen(self.engine, "begin", lambda opened: opened.exec_driver_sql("BEGIN IMMEDIATE"))

    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        return functools.partial(self.patiently, value) if name in STORE_CALLS else value

    def patiently(self, call, *arguments, **options):
        """Call a method of the storage; while the server is away, again and again."""
        begun = time.monotonic()
        while True:
            try:
                return call(*arguments, **options)
            except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
                cause = error if isinstance(error, sqlalchemy.exc.SQLAlchemyError) else error.__cause__
                if not isinstance(cause, (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError,
                                          sqlalchemy.exc.PendingRollbackError)):
                    raise
                if time.monotonic() - begun > self.patience:
                    raise InputError(f"the store {self.address} did not answer for {self.patience:g} s (STORE_PATIENCE)"
                                     f": {one_line(cause)}; start the same command again when it does") from error
                if time.monotonic() - self.told > 60:
                    print(f"grid: the store does not answer ({one_line(cause)}); waiting for it", flush=True)
                    self.told = time.monotonic()
                self.away = time.monotonic()
                time.sleep(1)

    def record_heartbeat(self, trial_id):
        """Note that the process of a trial is alive, or that the server is away."""
        try:
            super().record_heartbeat(trial_id)
        except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError):
            self.away = time.monotonic()

    def _get_stale_trial_ids(self, study_id):
        return [] if time.monotonic() - self.away < self.stale else super()._get_stale_trial_ids(study_id)
