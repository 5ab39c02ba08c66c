"""The import of large libraries: without lines of their own, and ended in one where the user stops it."""
import contextlib
import os
import signal
import sys


@contextlib.contextmanager
def starting(own, without=()):
    """Keep off the screen what libraries write to standard error as they are imported; what matters is raised.
    own: whether the process is the script's, not a program's that imports it: Ctrl-C ends it, and libraries do without
    the modules `without`, which would take seconds and are used later, if at all."""
    sys.modules |= (hidden := dict.fromkeys(without if own else ()))
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_HOME": os.devnull}  # Keras would write to the home folder
    sys.stderr = sys.stderr or open(os.devnull, "w")  # where it is closed
    kept = os.dup(2)
    before = own and signal.signal(signal.SIGINT, lambda *_: (  # an exception would be caught somewhere
        signal.signal(signal.SIGINT, signal.SIG_IGN), os.write(kept, b"stopped\n"), os._exit(130)))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        if own:
            signal.signal(signal.SIGINT, before)
        os.dup2(kept, 2)
        os.close(kept)
