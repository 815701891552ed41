"""The login: a name and a password, from the environment or from a file that nobody else can read. Never from argv."""

import hmac
import os
import stat
from collections.abc import MutableMapping
from pathlib import Path
from typing import NamedTuple

USER, PASSWORD = "SECOND_OPINION_USER", "SECOND_OPINION_PASSWORD"


class NoLogin(ValueError):
    """There is no login where there must be one, or it cannot be used. The message says what to do."""


class Login(NamedTuple):
    user: str
    password: str

    def admits(self, user: str, password: str) -> bool:
        """In the same time whatever is wrong."""
        right = hmac.compare_digest(user.encode(), self.user.encode())
        return hmac.compare_digest(password.encode(), self.password.encode()) and right


def found(user: str | None, file: Path | None, env: MutableMapping[str, str]) -> Login | None:
    """The login that these name, None if they name none. Takes the password out of `env`: no process that is started from
    here inherits it. Errors: NoLogin."""
    password = env.pop(PASSWORD, "")
    user = user or env.get(USER)
    if file is not None:
        return read(file)
    if user and not password:
        raise NoLogin(f"the login of {user!r} needs a password: set {PASSWORD}, or give --login-file FILE")
    return Login(user, password) if user else None


def read(file: Path) -> Login:
    """A file with one line, NAME:PASSWORD, that its owner alone can read. Errors: NoLogin."""
    try:
        with file.open(encoding="utf-8") as opened:
            about = os.fstat(opened.fileno())
            text = opened.read(4096)
    except (OSError, ValueError) as error:
        raise NoLogin(f"{file} cannot be read: {error}") from error
    if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077:
        raise NoLogin(f"others can read or write {file}: `chmod 600 {file}`, and own it")
    user, colon, password = text.strip().partition(":")
    if not (user and colon and password) or "\n" in password:
        raise NoLogin(f"{file} must hold one line, NAME:PASSWORD")
    return Login(user, password)
