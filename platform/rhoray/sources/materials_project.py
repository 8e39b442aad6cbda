"""Materials Project's charge densities: an anonymous, public S3 bucket with one JSON document per calculation.

    mp:                             every density there is (some 400,000)
    mp:mp-149,mp-22526              by task id: the calculations themselves
    mp:material:mp-149,mp-22526     by material id: of each, the newest static GGA or GGA+U calculation
    mp:material:ids.csv             ids from a file: one a line, or a table's column of that name (.csv, .parquet)

Task ids are the bucket's own keys and need nothing. Which task belongs to a material only Materials Project's API
tells, so material ids need MP_API_KEY. RHORAY_MP_ENDPOINT_URL and MP_API_ENDPOINT lead to other servers.
Source: https://docs.materialsproject.org/downloading-data/aws-opendata
"""

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from rhoray.core.errors import RhoRayError
from rhoray.core.storage import Stat, find, read_bytes, stat
from rhoray.sources.labels import read_table

SCHEME = "mp:"
MATERIAL = "material:"
DENSITIES = "s3://materialsproject-parsed/chgcars"
SUFFIX = ".json.gz"
NO_STATIC = f"{DENSITIES}/no-static-GGA-calculation-of-{{}}"
API = "https://api.materialsproject.org"
STATIC = ("GGA Static", "GGA+U Static")

_ID = re.compile(r"(?P<prefix>mp|mvc)-(?P<rest>\d+|[a-z]+)")
# Ids above this one are written in letters, base 26 with a = 0.
LAST_NUMBER = 3347529
IDS_PER_QUESTION = 200
HEADS_AT_ONCE = 16


def list_materials_project(uri: str) -> list[tuple[str, Stat]]:
    """Return the id and the object of every density that `uri` names, in the order asked for.

    An id whose object is not there keeps its place (with 0 bytes): reading it says so.

    Raises:
        RhoRayError: not an id, no API key, or the API refuses.
    """
    selection = uri.removeprefix(SCHEME)
    if not selection:
        return [(_id_of(found.uri), found) for found in find(DENSITIES) if found.uri.endswith(SUFFIX)]
    by_material = selection.startswith(MATERIAL)
    named = _ids(selection.removeprefix(MATERIAL), "material_id" if by_material else "task_id")
    ids = list(dict.fromkeys(named))  # each once
    if by_material:
        candidates = static_tasks(ids)
        uris = [[density_uri(task) for task in candidates.get(i, [])] or [NO_STATIC.format(i)] for i in ids]
    else:
        uris = [[density_uri(i)] for i in ids]
    with ThreadPoolExecutor(HEADS_AT_ONCE) as pool:
        return list(zip(ids, pool.map(_first_there, uris), strict=True))


def density_uri(task_id: str) -> str:
    """Return where the density of a calculation lies.

    Raises:
        RhoRayError: not an id.

    Example:
        >>> density_uri("mp-9999999")
        's3://materialsproject-parsed/chgcars/mp-vwyxj.json.gz'
    """
    match = _ID.fullmatch(task_id)
    if match is None:
        raise RhoRayError(f"{task_id!r} is no Materials Project id, expected one like mp-149")
    rest = match["rest"]
    if rest.isdigit() and int(rest) > LAST_NUMBER:
        rest = _letters(int(rest))
    return f"{DENSITIES}/mp-{rest}{SUFFIX}"


def static_tasks(material_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return each material's static GGA and GGA+U calculations, the newest first, as the API knows them.

    Raises:
        RhoRayError: no MP_API_KEY, or the API refuses.
    """
    tasks: dict[str, list[str]] = {}
    for part in _parts(material_ids):
        found = _ask("materials/core", material_ids=",".join(part), _fields="material_id,calc_types")
        for row in found:
            types = row.get("calc_types") or {}
            tasks[row["material_id"]] = [task for task, kind in types.items() if kind in STATIC]
    updated: dict[str, str] = {}
    for part in _parts([task for found in tasks.values() for task in found]):
        found = _ask("materials/tasks", task_ids=",".join(part), _fields="task_id,last_updated")
        updated |= {row["task_id"]: str(row["last_updated"]) for row in found}
    return {i: sorted(found, key=lambda task: updated.get(task, ""), reverse=True) for i, found in tasks.items()}


def _first_there(uris: list[str]) -> Stat:
    return next((found for uri in uris if (found := stat(uri)) is not None), Stat(uris[0], 0, ""))


def _ids(selection: str, column: str) -> list[str]:
    """Return ids from a comma-separated list, or from a file that holds them."""
    if not re.search(r"[/.]", selection):
        return [i.strip() for i in selection.split(",") if i.strip()]
    if selection.endswith((".csv", ".parquet")):
        table = read_table(selection)
        if column not in table:
            raise RhoRayError(f"{selection} has columns {list(table.columns)}, expected {column!r} among them")
        return table[column].astype(str).tolist()
    try:
        return read_bytes(selection).decode().split()
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise RhoRayError(f"{selection}: no such file of ids, expected one id a line") from error


def _id_of(uri: str) -> str:
    return uri.rsplit("/", 1)[1].removesuffix(SUFFIX)


def _letters(number: int) -> str:
    letters = ""
    while number:
        number, digit = divmod(number, 26)
        letters = chr(ord("a") + digit) + letters
    return letters


def _parts(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[i : i + IDS_PER_QUESTION] for i in range(0, len(ids), IDS_PER_QUESTION)]


@retry(
    retry=retry_if_exception_type((requests.ConnectionError, requests.Timeout)),
    wait=wait_random_exponential(max=8),
    stop=stop_after_attempt(5),
    reraise=True,
)
def _get(url: str, params: dict[str, str], key: str) -> requests.Response:
    return requests.get(url, params=params, headers={"X-API-KEY": key}, timeout=60)


def _ask(route: str, **params: str) -> list[dict[str, Any]]:
    key = os.environ.get("MP_API_KEY")
    if not key:
        raise RhoRayError(
            "material ids need MP_API_KEY (free, from materialsproject.org/api); task ids (mp:mp-149) need none"
        )
    endpoint = os.environ.get("MP_API_ENDPOINT", API).rstrip("/")
    answer = _get(f"{endpoint}/{route}/", {**params, "_limit": "1000"}, key)
    if not answer.ok:
        raise RhoRayError(f"{endpoint} answered {answer.status_code} to {route}: {answer.text[:200]}")
    return answer.json()["data"]
