"""Database URLs: read them as libpq does, and never let a password out."""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from .errors import BadArgument

_SCHEME = re.compile(r"^(?:kompanion\+postgresql|postgresql\+psycopg|postgres|postgresql)://", re.IGNORECASE)
_FORMS = "Use postgresql://user:password@host:port/database, or sqlite:///notes.db for a file"
_SECRET = re.compile(r"\b(\w{0,20}(?:passw|pwd|secret)\w{0,20})\s*=\s*('(?:[^'\\]|\\.|'')*'?|[^&\s]*)", re.IGNORECASE)
_USERINFO = re.compile(r"^([A-Za-z][\w+.-]*://)(.*)@(.*)$", re.DOTALL)


def redact(url: str) -> str:
    """The URL or key=value string without its passwords, fit for logs and errors. Raises nothing.

    When it cannot tell where a password ends (an unescaped ``@`` in it), it hides too much rather
    than too little.
    """
    text = _SECRET.sub(r"\1=***", url)
    match = _USERINFO.match(text)
    if match and ":" in match[2]:
        text = f"{match[1]}{match[2].split(':', 1)[0]}:***@{match[3]}"
    return text


def connection_args(url: str) -> dict[str, str]:
    """The libpq parameters in ``url``: ``postgresql://``, ``postgres://`` or ``key=value`` pairs.

    Raises BadArgument when it cannot be read; the message holds the URL without its password.
    """
    text = _SCHEME.sub("postgresql://", url.strip())
    scheme, separator, rest = text.partition("://")
    if separator and scheme != "postgresql":
        raise BadArgument(f"url: unknown scheme {scheme}://", hint=f"{_FORMS}.")
    if separator:
        authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
        if authority.count("@") > 1:
            # libpq would end the password at the first @ and print the rest of it as a host name.
            userinfo, host = authority.rsplit("@", 1)
            text = f"postgresql://{userinfo.replace('@', '%40')}@{host}{rest[len(authority) :]}"
    try:
        args = {key: str(value) for key, value in conninfo_to_dict(text).items() if value is not None}
    except ProgrammingError:
        args = {"port": "unreadable"}
    if not re.fullmatch(r"[0-9,]*", args.get("port", "")):
        # from None: libpq quotes the piece it stumbled over, and that piece may be the password.
        # Nor the text itself where the scheme or a slash is forgotten: there redact does not see a password for one.
        shown = f": {redact(url)}" if separator or "@" not in text else ""
        raise BadArgument(
            f"url: not a PostgreSQL URL{shown}",
            hint=f"{_FORMS}; percent-encode special characters of a password, for example / as %2F.",
        ) from None
    return args


def display_url(args: dict[str, str]) -> str:
    """A URL without password for messages and for commands to be copied, from libpq parameters."""
    host = args.get("host", "")
    query: dict[str, str] = {}
    if host.startswith(("/", "@")) or "," in host:
        query["host"] = host
        if args.get("port") not in (None, "", "5432"):
            query["port"] = args["port"]
        host = ""
    elif args.get("port") not in (None, "", "5432"):
        host = f"{host}:{args['port']}"
    user = f"{quote(args['user'], safe='')}@" if args.get("user") else ""
    tail = f"?{urlencode(query, safe='/')}" if query else ""
    return f"postgresql://{user}{host}/{quote(args.get('dbname', ''), safe='')}{tail}"
