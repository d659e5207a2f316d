"""Where a language model is asked and with which key, from the environment; and how the key stays unseen."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from kpl_lib.errors import InputError

HOSTED = "https://api.openai.com/v1"
BASE_URL, KEY, MODEL = "OPENAI_BASE_URL", "OPENAI_API_KEY", "KPL_LLM_MODEL"
LEAST = 6  # letters of a part of a key that an error may not hold
LONG = 12  # letters of a key that no description says by chance


@dataclass(frozen=True)
class Access:
    """An address without secrets, and the secrets, which are not shown.

    Args:
        host: with the port.
        url: without login and query.
        key: empty where none is needed.
        headers: with the login of the address, where it has one.
        query: of the address.
        secrets: all that must not be shown, in all its spellings.
    """

    host: str
    url: str
    key: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def read_access(environment: Mapping[str, str]) -> Access:
    """Read `OPENAI_BASE_URL` and `OPENAI_API_KEY`.

    Args:
        environment: where they stand. Without an address the hosted endpoint of OpenAI is meant.

    Returns:
        The access; a server of one's own needs no key.

    Raises:
        InputError: for a wrong address or key, none where one is needed, or two; holds neither of them.

    Example:
        >>> read_access({"OPENAI_BASE_URL": "http://me:secret@localhost:8000/v1?key=hidden"})
        Access(host='localhost:8000', url='http://localhost:8000/v1')
    """
    address = _address(environment.get(BASE_URL, "").strip() or HOSTED)
    login, _, host = address.netloc.rpartition("@")
    key = _key(environment.get(KEY, ""))
    if key and login:
        raise InputError(f"{BASE_URL} holds a login and {KEY} is set as well; keep one of them")
    if not (key or login or address.query) and address.hostname == urlsplit(HOSTED).hostname:
        raise InputError(f"{KEY} is not set; set it, or point {BASE_URL} at a server of your own")
    query = dict(parse_qsl(address.query, keep_blank_values=True))
    headers = {"Authorization": f"Basic {_basic(login)}"} if login else {}
    secrets = _spellings(key, login, *query.values())
    return Access(host, f"{address.scheme}://{host}{address.path}", key, headers, query, secrets)


def withheld(text: str, secrets: Sequence[str]) -> str:
    """The text of an error, unless any part of it is a part of a secret.

    Example:
        >>> withheld("wrong key: sk-123...", ["sk-123456"])
        'its message is withheld, as it repeats a part of a key'
    """
    for secret in secrets:
        parts = (secret[i : i + LEAST] for i in range(max(1, len(secret) - LEAST + 1)))
        if any(part in text for part in parts):
            return "its message is withheld, as it repeats a part of a key"
    return text


def leaks(text: str, secrets: Sequence[str]) -> bool:
    """Whether an answer holds a secret; short ones, such as `none`, are words that any answer may hold."""
    return any(len(secret) >= LONG and secret in text for secret in secrets)


def _address(url: str) -> SplitResult:
    """The parts of the address; what is wrong with it is said without it, as it may hold a key."""
    try:
        address = urlsplit(url)
        good = address.scheme in ("http", "https") and address.hostname and address.port != 0
        good = good and url.isascii() and url.isprintable() and " " not in url
    except ValueError:
        good = False
    if not good:
        raise InputError(f"{BASE_URL} is no address; set it to one such as http://localhost:8000/v1")
    return address


def _key(key: str) -> str:
    """The key, stripped; refuse one that no header can carry."""
    key = key.strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InputError(f"{KEY} holds characters that no key has, such as spaces; copy it again")
    return key


def _spellings(key: str, login: str, *values: str) -> tuple[str, ...]:
    """Everything that must not be shown, the longest first; each also as it stands in an address or a header."""
    password = login.partition(":")[2] or login
    plain = [key, login, password, *values, _basic(login) if login else ""]
    found = {spelling for text in plain for spelling in (text, unquote(text))}
    return tuple(sorted((text for text in found if len(text) >= 4), key=len, reverse=True))


def _basic(login: str) -> str:
    return base64.b64encode(unquote(login).encode()).decode()
