"""What a run was trained on and with: kept in its folder, compared before it goes on or is opened.

`run.json` has the classes, the checksums of the splits, and each change of a parameter on the way. The parameters
themselves are in the operative configuration.
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import gin
from gin import config_parser

from wss.config import current_names, explain
from wss.data.dataset_info import DatasetInfo
from wss.data.given_image_labels import GIVEN
from wss.errors import UserError
from wss.files import load_json, write_text
from wss.gin_files import SYNTAX_ERRORS
from wss.run_directory import RunDirectory

# Their parameters say which weights a network has and what they mean; others can change on the way.
OF_THE_NETWORK = ("build_model", "build_sgc", "build_classifier")
# But these: where an encoder came from whose weights the run has, and what trades memory for time.
OF_THE_START = ("build_model.encoder_weights", "build_model.recompute")
ENCODER = "build_model.encoder_preset"
MAX_CHANGES_SHOWN = 8
RESTORE = "restore it, or give another --run_dir"
UNSET = "not set"
Change = tuple[str, str]  # before, now


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run was trained on.

    Attributes:
        class_names: Names of its classes.
        has_background: Whether class 0 is the background.
        directory: Folder of the data set.
        splits: Checksum of the ids of each split that it read, see `SplitInfo.checksum`; of `GIVEN`, of what they say.
        changes: Each change on the way: the number of finished steps, and what every parameter was and is.
    """

    class_names: tuple[str, ...]
    has_background: bool
    directory: str = ""
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    changes: tuple[dict, ...] = ()

    @classmethod
    def of(cls, info: DatasetInfo, splits: Mapping[str, str] = MappingProxyType({})) -> "RunRecord":
        """Returns the record of a training that begins; `splits` has the checksums."""
        return cls(
            class_names=info.class_names,
            has_background=info.has_background,
            directory=info.directory,
            splits=dict(splits),
        )

    @classmethod
    def read(cls, run: RunDirectory) -> "RunRecord | None":
        """Reads a run's record; None for a run of an earlier version, which has none.

        Raises:
            UserError: It is damaged.
        """
        if not run.record.exists():
            return None
        content = load_json(run.record, RESTORE)
        try:
            record = cls(
                class_names=tuple(content["class_names"]),
                has_background=content["has_background"],
                directory=content["directory"],
                splits=dict(content["splits"]),
                changes=tuple(content["changes"]),
            )
            if not all(isinstance(name, str) for name in record.class_names):
                raise ValueError("a class name that is no text")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{run.record}: damaged ({error!r}); {RESTORE}") from error
        return record

    def write(self, run: RunDirectory) -> None:
        """Writes it into a run's folder."""
        if run.writes:
            write_text(run.record, json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    def check_classes(self, run: RunDirectory, now: "RunRecord") -> None:
        """Checks that a data set has the classes that the run was trained on.

        Args:
            run: The run, whose record this is.
            now: The record that a training on the data set would begin with.

        Raises:
            UserError: It has others, or in another order.
        """
        where = f"{run.path}: was trained with"
        there = f"{now.directory} has"
        help_ = "give the data set of the run by --data_dir, or another --run_dir"
        if len(self.class_names) != len(now.class_names):
            raise UserError(f"{where} {len(self.class_names)} classes, {there} {len(now.class_names)}; {help_}")
        for number, (name, other) in enumerate(zip(self.class_names, now.class_names, strict=True)):
            if name != other:
                raise UserError(f"{where} {name!r} as class {number}, {there} {other!r}; {help_}")
        if self.has_background != now.has_background:
            words = {True: "a background as class 0", False: "no background"}
            raise UserError(f"{where} {words[self.has_background]}, {there} {words[now.has_background]}; {help_}")

    def images_changed(self, now: "RunRecord") -> dict[str, Change]:
        """Returns the checksums, before and now, of splits whose images are others, and of other image-level labels."""
        pairs = {
            what if what == GIVEN else f"images of {what}": (self.splits.get(what, UNSET), new)
            for what, new in now.splits.items()
        }
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def going_on(self, now: "RunRecord", step: int, changed: Mapping[str, Change]) -> "RunRecord":
        """Returns the record of the run that goes on after `step`, with `changed` parameters and images."""
        if not changed:
            return self
        entry = {"after_step": step, "changed": {name: list(pair) for name, pair in changed.items()}}
        return dataclasses.replace(now, changes=(*self.changes, entry))


def changed_parameters(run: RunDirectory) -> dict[str, Change]:
    """Returns which parameters a run's saved configuration and the present one have otherwise.

    Returns:
        What each parameter was and is, as gin writes it.

    Raises:
        UserError: The saved configuration cannot be read.
    """
    before = saved_parameters(run)
    if not before:
        return {}
    now = _bindings(gin.operative_config_str(max_line_length=120))
    return changed_between(before, now)


def saved_parameters(run: RunDirectory) -> dict[str, str]:
    """Returns the parameters of a run's saved configuration as gin writes them; none if there is no configuration.

    Raises:
        UserError: It cannot be read.
    """
    if not run.config.exists():
        return {}
    try:
        found = _bindings(current_names(run.config.read_text()))
    except (*SYNTAX_ERRORS, OSError) as error:
        raise _damaged_config(run, explain(error)) from error
    if not found:
        raise _damaged_config(run, "it sets nothing")
    return found


def changed_between(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, Change]:
    """Returns the values of each parameter that two configurations have otherwise."""
    pairs = {name: (before.get(name, UNSET), now.get(name, UNSET)) for name in sorted(before.keys() | now.keys())}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def check_network(run: RunDirectory, changed: Mapping[str, Change]) -> None:
    """Checks that no parameter has changed that says what the weights mean.

    Raises:
        UserError: One has.
    """
    of_network = tuple(f"{name}." for name in OF_THE_NETWORK)
    free = list(OF_THE_START)
    if run.kept_encoder and os.path.isdir(changed.get(ENCODER, ("", ""))[1].strip("'\"")):
        free.append(ENCODER)  # a folder, which was compared with the run's when the network was built
    found = {
        name: pair
        for name, pair in changed.items()
        if name.startswith(of_network) and UNSET not in pair and name not in free
    }
    if found:
        raise UserError(
            f"{run.path}: was trained with another network: {in_words(found)}; give the same parameters, or another "
            "--run_dir"
        )


def in_words(changed: Mapping[str, Change]) -> str:
    """Returns such as "train.seed was 0, is 1"."""
    pairs = sorted(changed.items(), key=lambda item: UNSET in item[1])  # a changed value says more than one that is new
    lines = [f"{name} was {before}, is {now}" for name, (before, now) in pairs]
    more = [f"and {len(lines) - MAX_CHANGES_SHOWN} more"] if len(lines) > MAX_CHANGES_SHOWN else []
    return "; ".join([*lines[:MAX_CHANGES_SHOWN], *more])


def _damaged_config(run: RunDirectory, reason: str) -> UserError:
    return UserError(
        f"{run.config}: damaged ({reason}); restore it, or remove it to go on without comparing the parameters"
    )


def _bindings(text: str) -> dict[str, str]:
    """Returns the values of a configuration as text, by parameter; nothing is imported or called."""
    parser = config_parser.ConfigParser(text, _AsText())
    statements: Iterator = iter(parser)
    return {
        f"{found.scope}{'/' if found.scope else ''}{found.selector}{'.' if found.arg_name else ''}{found.arg_name}": (
            repr(found.value)
        )
        for found in statements
        if isinstance(found, config_parser.BindingStatement)
    }


class _Reference(str):
    """A reference to a configurable or a macro, whose `repr` is as gin writes it."""

    def __repr__(self) -> str:
        return str(self)


class _AsText(config_parser.ParserDelegate):
    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> _Reference:
        return _Reference(f"@{scoped_configurable_name}{'()' if evaluate else ''}")

    def macro(self, macro_name: str) -> _Reference:
        return _Reference(f"%{macro_name}")
