"""Who gets at a cluster on this machine: nobody from elsewhere, and here whoever can read its token, who can run code as its owner."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

_OTHERWISE = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")  # where the token is, if not in the default file
_SEVERAL_MACHINES = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # Ray's switch, named for where it is off by default


def cluster_to_join(address: str | None) -> str | None:
    """``address``, else RAY_ADDRESS; None where a cluster is to be started on this machine, which "local" asks for, too."""
    given = address or os.environ.get("RAY_ADDRESS")
    return None if given == "local" else given


def keep_to_this_machine() -> None:
    """Have a cluster that this process starts listen on the loopback interface alone. Ray must not be imported yet: it looks only then."""
    os.environ.setdefault(_SEVERAL_MACHINES, "0")


def make_token() -> None:
    """Put one into Ray's default file, if there is none, readable for its owner alone: Ray would make it readable for everybody.

    A umask around ``ray.init`` would do as well, and be that of all its processes: of the results, too.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token" or any(name in os.environ for name in _OTHERWISE):
        return
    path = Path.home() / ".ray" / "auth_token"
    with suppress(OSError):  # it is there; or cannot be, and Ray will say so better
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
