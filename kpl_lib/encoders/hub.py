"""Large files of the hub, fetched so that a killed download goes on: the hub's own client begins each time anew."""

from pathlib import Path

from filelock import FileLock
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError

from kpl_lib.common.errors import InputError
from kpl_lib.datasets.download import download

SHA256 = 64  # digits; the hub names large files by their checksum, small ones by another, shorter one


def prefetch(repository: str, *names: str) -> None:
    """Put the first of these files that a repository has into the hub's cache, where its client then finds it.

    Nothing is done for a small file, for one that is there, and without a network. Whatever else is wrong, such as a
    repository that is not there, is left to the client, which says it.

    Raises:
        InputError: if the connection breaks, or what arrives has another checksum; a later call goes on.
    """
    for name in names:
        if isinstance(try_to_load_from_cache(repository, name), str):
            return
        try:
            facts = get_hf_file_metadata(hf_hub_url(repository, name))
        except EntryNotFoundError:
            continue
        except Exception:  # the network and the hub raise nearly anything; the client says it
            return
        if facts.etag and len(facts.etag) == SHA256:
            _fill(repository, name, facts.location, facts.etag)
        return


def _fill(repository: str, name: str, url: str, etag: str) -> None:
    """Fetch a file to its place in the cache; one process at a time, under the lock that the client takes too."""
    folder, cache = f"models--{repository.replace('/', '--')}", Path(constants.HF_HUB_CACHE)
    lock = cache / ".locks" / folder / f"{etag}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock):
            download(url, cache / folder / "blobs" / etag, f"sha256:{etag}", title=name)
    except InputError as error:  # its address is long, and its cure is meant for sets of images
        why = str(error).removeprefix(f"{url}: ").partition("; ")[0]
        raise InputError(f"{repository}: {name}: {why}; repeat the command to go on") from None
