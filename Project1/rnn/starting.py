"""The import of TensorFlow and its like: without lines of their own, and ended in one where the user stops it."""
import contextlib
import os
import signal
import sys


@contextlib.contextmanager
def starting():
    """Keep off the screen what libraries write to standard error as they are imported; what matters is raised."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # of TensorFlow, whose first lines heed nothing
    sys.stderr = sys.stderr or open(os.devnull, "w")  # where it is closed
    kept = os.dup(2)
    before = signal.signal(signal.SIGINT, lambda *_: os.write(kept, b"stopped\n") and os._exit(130))  # none catches it
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        os.dup2(kept, 2)
        os.close(kept)
