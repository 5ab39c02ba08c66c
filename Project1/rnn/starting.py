"""The import of TensorFlow and its like: without lines of their own, and ended in one where the user stops it."""
import contextlib
import os
import sys


@contextlib.contextmanager
def starting():
    """Keep off the screen what libraries write to standard error as they are imported; what matters is raised."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # of TensorFlow, whose first lines heed nothing
    sys.stderr = sys.stderr or open(os.devnull, "w")  # where it is closed
    kept = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        yield
    except KeyboardInterrupt:
        os.write(kept, b"stopped\n")
        os._exit(130)  # not by an exception: libraries that are half imported have handlers of their own
    finally:
        os.dup2(kept, 2)
        os.close(kept)
