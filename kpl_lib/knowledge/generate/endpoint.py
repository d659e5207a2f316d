"""One chat endpoint that speaks the OpenAI protocol; no error and no log of it holds a key.

Where it is and which key it takes stand in the environment.
"""

import base64
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from kpl_lib.common.errors import InputError
from kpl_lib.common.extras import need

if TYPE_CHECKING:
    import openai

HOSTED = "https://api.openai.com/v1"
BASE_URL, KEY, MODEL = "OPENAI_BASE_URL", "OPENAI_API_KEY", "KPL_LLM_MODEL"
TALKATIVE = ("openai", "httpx", "httpx2", "httpcore", "httpcore2")  # their logs hold headers and addresses
CHARACTERS = 8  # of an answer for each token that was allowed; above it the server ignored the bound
PART, WHOLE = 6, 12  # letters in a row of a secret that an error, or an answer, may not hold


@dataclass(frozen=True)
class Access:
    """An address without login and query; and what is not shown: these, the key, and all of it in all its spellings."""

    host: str
    url: str
    key: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)


def read_access(environment: Mapping[str, str]) -> Access:
    """Read `OPENAI_BASE_URL`, else OpenAI's own, and `OPENAI_API_KEY`, which a server of one's own does not need.

    Raises:
        InputError: for a wrong address or key, none where one is needed, or two; holds neither of them.

    Example:
        >>> read_access({"OPENAI_BASE_URL": "http://me:secret@localhost:8000/v1?key=hidden"})
        Access(host='localhost:8000', url='http://localhost:8000/v1')
    """
    address = _address(environment.get(BASE_URL, "").strip() or HOSTED)
    login, _, host = address.netloc.rpartition("@")
    key = environment.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InputError(f"{KEY} holds characters that no key has, such as spaces; copy it again")
    if key and login:
        raise InputError(f"{BASE_URL} holds a login and {KEY} is set as well; keep one of them")
    if not (key or login or address.query) and address.hostname == urlsplit(HOSTED).hostname:
        raise InputError(f"{KEY} is not set; set it, or point {BASE_URL} at a server of your own")
    query = dict(parse_qsl(address.query, keep_blank_values=True))
    basic = base64.b64encode(unquote(login).encode()).decode()
    headers = {"Authorization": f"Basic {basic}"} if login else {}
    plain = {key, login, login.partition(":")[2], basic, *query.values()}
    secrets = frozenset(plain | set(map(unquote, plain)))
    return Access(host, f"{address.scheme}://{host}{address.path}", key, headers, query, secrets)


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


def tells(text: str, secrets: frozenset[str], letters: int) -> bool:
    """Whether a text holds so many letters in a row of a secret; shorter ones are words that any text may hold.

    Example:
        >>> tells("wrong key: sk-123...", frozenset({"sk-123456"}), 6)
        True
    """
    return any(s[i : i + letters] in text for s in secrets for i in range(len(s) - letters + 1))


@dataclass(frozen=True)
class Answer:
    """What came back."""

    text: str  # empty where there was none that can be used
    fault: str  # why it cannot be used; empty if it can
    spent: Counter  # calls (1), retries, tokens_in, tokens_out; uncounted (1 if the server does not count)


class EndpointError(Exception):
    """A call that failed for good; `fatal` if every other call would fail too. No message holds a key."""

    def __init__(self, message: str, fatal: bool = False) -> None:
        super().__init__(message)
        self.fatal = fatal


class Endpoint:
    """A chat endpoint, and how patiently it is asked; arguments as of `kpl_lib.knowledge.generate.generate`.

    A failed call is repeated with growing pauses, or when the server says.

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
        self.max_tokens = max_tokens
        self._options = {"temperature": temperature, "max_tokens": max_tokens}
        access = read_access(environment)
        self.host, self._secrets = access.host, access.secrets
        self._client = _client(access, timeout, retries)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, messages: Sequence[Mapping[str, str]], seed: int) -> Answer:
        """Ask once, with chat messages and a seed; the client repeats what failed on the way.

        Raises:
            EndpointError: if no answer came. Its text and its chain hold no key and no address.
        """
        while (outcome := self._try(messages, seed)) is None:
            pass  # the server does not take an option: left out from now on
        if isinstance(outcome, EndpointError):  # raised outside of `except`: no chain to what holds the key
            raise outcome
        return outcome

    def _try(self, messages: Sequence[Mapping[str, str]], seed: int) -> Answer | EndpointError | None:
        """One call: its answer, or its failure as a value; None if another try without some option may help."""
        import openai

        options = {"seed": seed} | self._options
        options = {key: value for key, value in options.items() if value is not None}
        try:
            create = self._client.chat.completions.with_raw_response.create
            raw = create(model=self.model, messages=list(messages), **options)
        except openai.APITimeoutError:
            return EndpointError(f"{self.host} did not answer in time")
        except openai.APIConnectionError:
            return EndpointError(f"no connection to {self.host}")
        except openai.APIStatusError as error:
            code, said = error.status_code, str(error)
            return None if code in (400, 422) and self._drop(said, options) else self._status(code, said)
        except Exception as error:
            return EndpointError(f"{self.host}: the call failed ({type(error).__name__})")
        spent = Counter(calls=1, retries=raw.retries_taken)
        try:
            return self._read(raw.parse(), spent)
        except Exception:  # any body that is no chat completion
            return Answer("", "no chat completion", spent + Counter(uncounted=1))

    def _read(self, completion: object, spent: Counter) -> Answer:
        """Text and counts; a text far beyond the bound is refused whole."""
        usage = getattr(completion, "usage", None)
        counts = [getattr(usage, f"{kind}_tokens", None) for kind in ("prompt", "completion")]
        counted = all(isinstance(n, int) and n >= 0 for n in counts)
        tokens = zip(("tokens_in", "tokens_out"), counts, strict=True) if counted else [("uncounted", 1)]
        spent = spent + Counter(dict(tokens))
        choices = getattr(completion, "choices", None)
        content = choices[0].message.content if choices else None
        if not isinstance(content, str) or not content.strip():
            return Answer("", "no text", spent)
        if len(content) > CHARACTERS * self.max_tokens or spent["tokens_out"] > self.max_tokens:
            return Answer("", "answer too long", spent)
        if tells(content, self._secrets, WHOLE):
            return Answer("", "repeats a key", spent)
        return Answer(content, "", spent)

    def _drop(self, said: str, sent: Mapping[str, object]) -> bool:
        """Leave out an option that the server does not take; True if one of those that were sent was meant."""
        if "max_completion_tokens" in said and "max_tokens" in sent:
            meant = {"max_tokens": None, "max_completion_tokens": self.max_tokens}
        else:
            meant = {key: None for key in ("temperature", "seed") if key in said and key in sent}
        self._options = self._options | meant
        return bool(meant)

    def _status(self, code: int, said: str) -> EndpointError:
        """A refusal of the server in our words; the server's own only where they can hold no key."""
        where = f"{self.host} refused (HTTP {code})"
        if code in (401, 403):
            return EndpointError(f"{where}: check {KEY}, and whether it may use {self.model!r}", fatal=True)
        if code == 404:
            cure = f"check the model {self.model!r}, and that {BASE_URL} ends in /v1 or as the server wants"
            return EndpointError(f"{where}: {cure}", fatal=True)
        if code in (408, 409, 429) or code >= 500:
            return EndpointError(f"{self.host} kept failing (HTTP {code})")
        if tells(said, self._secrets, PART):
            return EndpointError(f"{where}: its message is withheld, as it repeats a part of a key")
        return EndpointError(f"{where}: {' '.join(said.split())[:160]}")


def _client(access: Access, timeout: float, retries: int) -> "openai.OpenAI":
    """The client of `openai`, its log and those below it muted."""
    openai, client = need("openai", "`kpl knowledge generate`"), None
    with suppress(Exception):  # such as a proxy variable that is no address; its text would show the address
        where = {"base_url": access.url, "api_key": access.key or "none"}
        where |= {"default_headers": access.headers, "default_query": access.query}
        client = openai.OpenAI(**where, timeout=timeout, max_retries=retries)
    if client is None:  # raised here, outside of `except`: no chain to that text
        raise InputError(f"no HTTP client could be made: check {BASE_URL} and the proxy variables")
    for name in {*TALKATIVE, *logging.root.manager.loggerDict}:
        if name.partition(".")[0] in TALKATIVE:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return client
