"""The constants of a script as one frozen object, checked and set from the command line; how a script runs and ends."""
import argparse
import os
import re
import signal
import sys
import typing
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

Text = Annotated[str, Field(max_length=4096)]
Path = Annotated[str, Field(min_length=1, max_length=4096)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Whole = Annotated[int, Field(ge=0, le=10**9)]
Units = Annotated[int, Field(ge=1, le=4096)]
Share = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=1e7)]


class InputError(Exception):
    """Something that the user can fix; its text is one line that says what and how."""


class Settings(BaseModel):
    """The constants of a script by their names, and its own path; `model_copy(update=...)` gives a changed copy."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    script: str

    @classmethod
    def default(cls, name):
        """Return the value of a constant as it stands in the script, whatever the command line says."""
        return cls.model_fields[name].default

    def constants(self, *groups):
        """Return {name: value} of all constants, or of those of some groups (the comment above them, as "Training")."""
        return {name: getattr(self, name) for name, group in self.groups().items() if group in groups or not groups}

    @classmethod
    def groups(cls):
        """Return {name: group} of all constants, in the script's order."""
        return {name: field.json_schema_extra["group"] for name, field in cls.model_fields.items() if name != "script"}


def parse_arguments(script, parser, aliases={}):
    """Return (Settings, argparse's options) of a script's command line; raise InputError for what a type does not take.
    parser: with the options that are no constants; each of these becomes --NAME, --name and --aliases[NAME]."""
    kind, sections = read_constants(script), {}
    for name, group in kind.groups().items():
        field = kind.model_fields[name]
        section = sections[group] = sections.get(group) or parser.add_argument_group(group.lower())
        flags = dict.fromkeys((f"--{aliases.get(name, name.lower())}", f"--{name.lower()}", f"--{name}"))
        switch = {"nargs": "?", "const": "True"} if field.annotation is bool else {}
        section.add_argument(*flags, dest=name, metavar=type(field.default).__name__, **switch,
                             help=f"{field.description} (now {field.default!r})".replace("%", "%%"))
    options = parser.parse_args()
    given = {name: getattr(options, name) for name in kind.groups() if getattr(options, name) is not None}
    for name in given:
        if not name.endswith(("_PATH", "_DIR")):  # a locale that is not UTF-8 has it in other letters
            given[name] = os.fsencode(given[name]).decode(errors="replace")
    return make_settings(script, **given), options


def make_settings(script, **given):
    """Return a script's Settings with these constants in place of its own; raise InputError for what a type refuses."""
    try:
        return read_constants(script)(script=os.path.abspath(script.__file__), **given)
    except ValidationError as error:
        fault = error.errors()[0]
        raise InputError(f"{fault['loc'][0]} is {shown(fault['input'])}; {fault['msg'].lower()}") from error


def read_constants(script):
    """Return the class of a script's Settings: a field a constant, with its type, value, comment and group.
    A constant is a line `NAME: type = value  # comment` of the script; a line `# Word` begins a group."""
    kinds, fields, group = typing.get_type_hints(script, include_extras=True), {}, ""
    with open(script.__file__, encoding="utf-8") as file:
        for line in file:
            if match := re.match(r"([A-Z][A-Z0-9_]*): .*? = .*?  # (.*)$", line):
                field = Field(default=getattr(script, match[1]), validate_default=True, description=match[2],
                              json_schema_extra={"group": group})
                fields[match[1]] = kinds[match[1]], field
            elif match := re.match(r"# (\w+)$", line):
                group = match[1]
    return create_model("Settings", __base__=Settings, **fields)


class OneLineParser(argparse.ArgumentParser):
    """Shows the script's docstring as it is, and reports a wrong command line in one line."""

    def __init__(self, text):
        super().__init__(description=text, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)

    def print_help(self, file=None):
        print(self.format_help(), end="", flush=True)  # argparse's own says nothing of a full disk

    def error(self, message):
        raise InputError(f"{message}; see python3 {self.prog} --help")


def run(main, smaller):
    """Run main, report what goes wrong in one line, return the exit status; smaller: what to lower for less memory."""
    text, status = "", 2
    try:
        if sys.stdout is None:
            raise InputError("standard output is closed; nowhere to print to")
        sys.stdout.reconfigure(errors="backslashreplace")
        main()
        sys.stdout.flush()
        status = 0
    except InputError as error:
        text = f"error: {error}"
    except BrokenPipeError:
        status = 141
    except OSError as error:
        text = f"error: {error.filename or 'cannot write the output'}: {error.strerror or error}"
    except KeyboardInterrupt:
        text, status = "stopped; what was saved is kept, and the same command goes on from the last checkpoint", 130
    except Exception as error:
        if type(error).__name__ not in ("MemoryError", "OutOfMemoryError", "ResourceExhaustedError"):  # torch, Keras
            raise
        text = f"error: not enough memory; set a smaller {smaller}"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C has nothing to stop
    try:
        sys.stdout.flush()
    except (AttributeError, OSError):  # it is closed, or full
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still buffered has nowhere to go
    if text and os.environ.get("RANK", "0") == "0":  # once for all processes of a run
        text = " ".join(text.split("\n"))
        print(text if len(text) <= 300 else f"{text[:150]}...{text[-147:]}", file=sys.stderr)
    return status


def shown(value):
    """Return a user's value for a message: its repr, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def one_line(error):
    """Return an error's text on one line, or its kind where it has none."""
    return " ".join(str(error).split())[:120] or type(error).__name__


def some(names, most=3):
    """Return the first of many names, and how many more there are."""
    names = sorted(map(str, names))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def peak_memory():
    """Return the most bytes that this process has held, None but on Linux; getrusage's may be those of its parent."""
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None
