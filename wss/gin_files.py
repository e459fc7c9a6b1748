"""Gin files as text: read once, followed through their includes, and looked through before gin does what they say."""

import contextlib
import dataclasses
import io
import os
import stat
import tokenize
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO, TypeAlias

import gin
from gin import config_parser

from wss.errors import UserError, did_you_mean
from wss.project import locate, recipes

# A recipe has about 2 kB, a saved configuration 10.
LARGEST_FILE = 2**18
LARGEST_NUMBER_OF_FILES = 200
PARAMETER = "--gin_param"
# What gin and the tokenizer raise for text that is no configuration.
SYNTAX_ERRORS = (
    SyntaxError,
    tokenize.TokenError,
    ValueError,
    TypeError,
    IndexError,
    AttributeError,
    RecursionError,
    MemoryError,
)
Statement: TypeAlias = (
    config_parser.BindingStatement
    | config_parser.BlockDeclaration
    | config_parser.ImportStatement
    | config_parser.IncludeStatement
)


class _Macros(config_parser.ParserDelegate):
    """Collects the names of the macros that are used; other references stay what they are, names."""

    def __init__(self):
        self.used: set[str] = set()

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> str:
        return scoped_configurable_name

    def macro(self, macro_name: str) -> str:
        self.used.add(macro_name)
        return macro_name


@dataclasses.dataclass(frozen=True)
class GinText:
    """What was read of a configuration.

    Attributes:
        texts: Text of each file, by the name that it was asked for with.
        order: Names of the files in the order in which gin reads them; often a name comes again.
        macros: Names that are set without a dot, each with the place of its line.
        used_macros: Names of the macros that are used.
    """

    texts: dict[str, str] = dataclasses.field(default_factory=dict)
    order: list[str] = dataclasses.field(default_factory=list)
    macros: dict[str, str] = dataclasses.field(default_factory=dict)
    used_macros: set[str] = dataclasses.field(default_factory=set)

    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        """Lets gin read these texts and no file, so that it does what was looked through and nothing else."""
        before = gin.config._FILE_READERS
        gin.config._FILE_READERS = [(self._open, self.texts.__contains__)]
        try:
            yield
        finally:
            gin.config._FILE_READERS = before

    def _open(self, name: str) -> TextIO:
        return _named(self.texts[name], name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reader:
    """The reading of a configuration.

    Attributes:
        rename: Function from the text of a file to that with the names that parameters have now.
        allow_imports: Whether files may import Python modules, which runs them.
        saved: Whether the file was saved by a run; it has bindings and nothing else.
    """

    rename: Callable[[str], str]
    allow_imports: bool = False
    saved: bool = False

    def read(self, files: Sequence[str], parameters: Sequence[str]) -> GinText:
        """Reads files and single bindings.

        Raises:
            UserError: A file cannot be read, or has a statement that it may not have.
            SyntaxError: A text is no configuration; see `SYNTAX_ERRORS` for what else is raised then.
        """
        found = GinText()
        for file in files:
            self._follow(found, file, "" if self.saved else f"--gin_file={file}: ", ())
        for parameter in parameters:
            for statement in self._statements(found, parameter, PARAMETER):
                if isinstance(statement, config_parser.ImportStatement | config_parser.IncludeStatement):
                    raise UserError(
                        f"{PARAMETER}={_line(statement)!r}: expected a binding, such as train.num_steps = 100"
                    )
        return found

    def _follow(self, found: GinText, name: str, where: str, above: tuple[str, ...]) -> None:
        """Reads a file and what it includes; `above` has the files that lead to it."""
        path = _path(name, where)
        if path in above:
            raise UserError(f"{where}{name} includes itself ({' -> '.join(map(os.path.relpath, [*above, path]))})")
        found.order.append(name)
        if len(found.order) > LARGEST_NUMBER_OF_FILES:
            raise UserError(f"{where}{name}: more than {LARGEST_NUMBER_OF_FILES} gin files that include each other")
        if name not in found.texts:
            found.texts[name] = self.rename(_text(path, name, where))
        statements = self._statements(found, found.texts[name], name)
        if self.saved and not statements:
            raise UserError(f"{name}: damaged (it sets nothing); expected what wss-train wrote")
        for statement in statements:
            self._check(statement, name)
            if isinstance(statement, config_parser.IncludeStatement):
                self._follow(found, statement.filename, f"{name}: include: ", (*above, path))

    def _statements(self, found: GinText, text: str, name: str) -> list[Statement]:
        delegate = _Macros()
        try:
            statements = list(config_parser.ConfigParser(_named(text, name), delegate))
        except tokenize.TokenError as error:  # unlike a SyntaxError it does not know its file
            raise tokenize.TokenError(f"{error.args[0]} ({name}, line {error.args[1][0]})", error.args[1]) from error
        except (RecursionError, MemoryError) as error:
            raise type(error)(name) from error
        found.used_macros.update(delegate.used)
        for statement in statements:
            if isinstance(statement, config_parser.BindingStatement) and not statement.arg_name:
                macro = f"{statement.scope}/{statement.selector}" if statement.scope else statement.selector
                found.macros.setdefault(macro, f"({name}, line {statement.location.line_num})")
        return statements

    def _check(self, statement: Statement, name: str) -> None:
        """Raises a `UserError` for a statement that the file may not have."""
        if isinstance(statement, config_parser.ImportStatement):
            place = f"{name}, line {statement.location.line_num}: {_line(statement)!r}"
            if self.saved:
                raise UserError(f"{place} would run that module; no run saves such a line, so do not trust this one")
            if statement.module.startswith("__gin__."):
                raise UserError(f"{place}: expected an import of a module whose classes have @gin.configurable")
            if not self.allow_imports:
                raise UserError(f"{place} would run that module; if you trust it, give wss-train --allow_gin_imports")
        elif isinstance(statement, config_parser.IncludeStatement) and self.saved:
            place = f"{name}, line {statement.location.line_num}: {_line(statement)!r}"
            raise UserError(f"{place} reads another file; no run saves such a line, so do not trust this one")


def _path(name: str, where: str) -> str:
    """Returns the real path of a gin file."""
    try:
        path = locate(name)
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{where}{name} not found.{did_you_mean(name, recipes())}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{where}{name!r}: cannot be read ({_reason(error)})") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise UserError(f"{where}{name} is {kind}, expected a gin file")
    return os.path.realpath(path)


def _text(path: str, name: str, where: str) -> str:
    """Returns the text of a gin file."""
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UserError(f"{where}{name}: cannot be read ({_reason(error)})") from error
    if len(content) > LARGEST_FILE:
        raise UserError(f"{where}{name} has more than {LARGEST_FILE // 1024} kB, expected a gin file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}{name}: no text in UTF-8 (byte {error.start}), expected a gin file") from error
    if "\0" in text:
        raise UserError(f"{where}{name}: has a NUL byte (character {text.index(chr(0))}), expected a gin file")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _line(statement: Statement) -> str:
    return " ".join(statement.location.line_content.split())[:80]


def _named(text: str, name: str) -> TextIO:
    file = io.StringIO(text)
    file.name = name  # for gin's messages
    return file
