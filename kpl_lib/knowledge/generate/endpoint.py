"""One chat endpoint that speaks the OpenAI protocol; no error and no log of it holds a key.

Where it is and which key it takes stand in the environment.
"""

import base64
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from kpl_lib.common.errors import InputError

if TYPE_CHECKING:
    import openai


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


TALKATIVE = ("openai", "httpx", "httpx2", "httpcore", "httpcore2")
CHARACTERS = 8  # of an answer for each token that was allowed; above it the server ignored the bound


@dataclass(frozen=True)
class Answer:
    """What came back.

    Args:
        text: the answer; empty where there was none that can be used.
        fault: why it cannot be used; empty if it can.
        retries: calls that failed before this one.
        tokens_in: tokens of the question, None where the server does not count.
        tokens_out: tokens of the answer, None where the server does not count.
    """

    text: str
    fault: str = ""
    retries: int = 0
    tokens_in: int | None = None
    tokens_out: int | None = None


class EndpointError(Exception):
    """A call that failed for good.

    Args:
        message: what happened and what to do; holds no key.
        fatal: True if every other call would fail too.
        retries: calls that failed before the last one.
    """

    def __init__(self, message: str, fatal: bool, retries: int) -> None:
        super().__init__(message)
        self.fatal, self.retries = fatal, retries


class Endpoint:
    """A chat endpoint, and how patiently it is asked.

    Args:
        model: the model; None takes `KPL_LLM_MODEL`.
        environment: where the address, the key and the model may stand; None takes that of the process.
        timeout: seconds that a call may be silent.
        retries: how often a failed call is repeated, with growing pauses, or when the server says.
        temperature: of the sampling.
        max_tokens: the most tokens of an answer.

    Raises:
        InputError: without a model, without a key for the hosted endpoint, for a wrong address, or without `openai`.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        timeout: float = 120.0,
        retries: int = 5,
        temperature: float = 0.7,
        max_tokens: int = 4096,
    ) -> None:
        environment = os.environ if environment is None else environment
        self.model = (model or environment.get(MODEL) or "").strip()
        if not self.model:
            raise InputError(f"no model: pass --model NAME, or set {MODEL}")
        self.retries, self.max_tokens = retries, max_tokens
        self._options = {"temperature": temperature, "max_tokens": max_tokens}
        access = read_access(environment)
        self.host, self._secrets = access.host, access.secrets
        self._client = _client(access, timeout, retries)

    def __repr__(self) -> str:
        return f"Endpoint({self.model!r} at {self.host!r})"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, messages: Sequence[Mapping[str, str]], seed: int) -> Answer:
        """Ask once; the client repeats what failed on the way.

        Args:
            messages: chat messages with `role` and `content`.
            seed: passed on; not every server heeds it.

        Returns:
            The answer, or why it cannot be used.

        Raises:
            EndpointError: if no answer came. Its text and its chain hold no key and no address.
        """
        for _ in range(4):  # a server may refuse up to three of the options, one after the other
            outcome = self._try(messages, seed)
            if not isinstance(outcome, _Unwanted):
                break
        if isinstance(outcome, EndpointError):  # outside of `except`: no chain to what holds the key
            raise outcome
        return outcome

    def _try(self, messages: Sequence[Mapping[str, str]], seed: int) -> "Answer | EndpointError | _Unwanted":
        """One call: its answer, or its failure as a value."""
        import openai

        options = {"seed": seed} | self._options
        options = {key: value for key, value in options.items() if value is not None}
        try:
            create = self._client.chat.completions.with_raw_response.create
            raw = create(model=self.model, messages=list(messages), **options)
            retries = raw.retries_taken
        except openai.APITimeoutError:
            return EndpointError(f"{self.host} did not answer in time", False, self.retries)
        except openai.APIConnectionError:
            return EndpointError(f"no connection to {self.host}", False, self.retries)
        except openai.APIStatusError as error:
            said = withheld(str(error), self._secrets)
            if error.status_code in (400, 422) and self._drop(said, options):
                return _Unwanted()
            return self._status(error.status_code, said)
        except Exception as error:
            return EndpointError(f"{self.host}: the call failed ({type(error).__name__})", False, 0)
        try:
            return self._read(raw.parse(), retries)
        except Exception:  # any body that is no chat completion
            return Answer("", "no chat completion", retries)

    def _read(self, completion: object, retries: int) -> Answer:
        """Text and counts; a text far beyond the bound is refused whole."""
        usage = getattr(completion, "usage", None)
        counts = [getattr(usage, f"{kind}_tokens", None) for kind in ("prompt", "completion")]
        counts = [n if isinstance(n, int) and n >= 0 else None for n in counts]
        choices = getattr(completion, "choices", None)
        content = choices[0].message.content if choices else None
        if not isinstance(content, str) or not content.strip():
            return Answer("", "no text", retries, *counts)
        if len(content) > CHARACTERS * self.max_tokens or (counts[1] or 0) > self.max_tokens:
            return Answer("", "answer too long", retries, *counts)
        if leaks(content, self._secrets):
            return Answer("", "repeats a key", retries, *counts)
        return Answer(content, "", retries, *counts)

    def _drop(self, said: str, sent: Mapping[str, object]) -> bool:
        """Leave out an option that the server does not take; True if one of those that were sent was meant."""
        if "max_completion_tokens" in said and "max_tokens" in sent:
            self._options = {**self._options, "max_tokens": None, "max_completion_tokens": self.max_tokens}
            return True
        for option in ("temperature", "seed"):
            if option in said and option in sent:
                self._options = {**self._options, option: None}
                return True
        return False

    def _status(self, code: int, said: str) -> EndpointError:
        """A refusal of the server in our words; the server's own only where they can hold no key."""
        where = f"{self.host} refused (HTTP {code})"
        if code in (401, 403):
            return EndpointError(f"{where}: check {KEY}, and whether it may use {self.model!r}", True, 0)
        if code == 404:
            cure = f"check the model {self.model!r}, and that {BASE_URL} ends in /v1 or as the server wants"
            return EndpointError(f"{where}: {cure}", True, 0)
        if code in (408, 409, 429) or code >= 500:
            return EndpointError(f"{self.host} kept failing (HTTP {code})", False, self.retries)
        return EndpointError(f"{where}: {' '.join(said.split())[:160]}", False, 0)


class _Unwanted:
    """The server refused an option that it can do without."""


def _client(access: Access, timeout: float, retries: int) -> "openai.OpenAI":
    """The client of `openai`. Its log and those below it are muted: they hold headers and addresses."""
    client = None
    try:
        import openai

        client = openai.OpenAI(
            base_url=access.url,
            api_key=access.key or "none",
            default_headers=access.headers,
            default_query=access.query,
            timeout=timeout,
            max_retries=retries,
        )
    except ImportError:
        raise InputError('`kpl knowledge generate` needs openai: pip install "kpl-lib[generate]"') from None
    except Exception:  # such as a proxy variable that is no address; its text would show the address
        client = None
    if client is None:
        raise InputError(f"no HTTP client could be made: check {BASE_URL} and the proxy variables")
    known = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in TALKATIVE]
    for name in {*TALKATIVE, *known}:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return client
