"""Label tables: CSV or Parquet with a material_id column and one numeric column per target.

A column may carry its unit in parentheses, as in `bulk_modulus (GPa)`; a unit other than the target's is refused
rather than converted.
"""

import io
import re

import pandas as pd

from rhoray.core.errors import InputRefused, LabelError
from rhoray.core.storage import read_bytes
from rhoray.core.targets import TARGETS
from rhoray.density.decompress import decompress

KEY = "material_id"
SPLIT = "split"
SPLITS = ("train", "val", "test")
_WITH_UNIT = re.compile(r"^\s*(?P<name>[\w.\- ]+?)\s*[\(\[](?P<unit>[^)\]]*)[\)\]]\s*$")


def read_labels(uri: str) -> pd.DataFrame:
    """Return labels by material_id: float columns, and `split` if the table has one.

    Args:
        uri: a .csv (plain, gz, bz2 or xz) or .parquet table.

    Raises:
        LabelError: no material_id, an id twice, a wrong unit, text for a target, or a value outside the
            target's physical range.
    """
    table = read_table(uri)
    table = table.rename(columns={c: _without_unit(str(c), uri) for c in table.columns})
    if KEY not in table:
        raise LabelError(f"{uri} has columns {list(table.columns)}, expected {KEY!r} among them")
    table[KEY] = table[KEY].astype(str)
    repeated = table[KEY][table[KEY].duplicated()]
    if len(repeated):
        raise LabelError(f"{uri}: material_id {repeated.iloc[0]!r} stands more than once")
    table = table.set_index(KEY)
    for column in table.columns.intersection(list(TARGETS)):
        _check_numbers(table[column], uri)
        table[column] = pd.to_numeric(table[column])  # numbers as text or Decimal are numbers
    numeric = table.select_dtypes("number").astype(float)
    for column in numeric.columns.intersection(list(TARGETS)):
        _check_range(numeric[column], uri)
    return numeric.assign(**({SPLIT: _splits(table[SPLIT], uri)} if SPLIT in table else {}))


def read_table(uri: str) -> pd.DataFrame:
    """Return a table as it stands, CSV (plain or compressed) or Parquet.

    Raises:
        LabelError: there is none, or it is something else.
    """
    try:
        content = read_bytes(uri)
    except FileNotFoundError as error:
        raise LabelError(f"{uri}: no such table") from error
    try:
        return _parse(decompress(content))
    except (ValueError, OSError, InputRefused) as error:
        raise LabelError(f"{uri} is neither CSV nor Parquet: {error}") from error


def _parse(content: bytes) -> pd.DataFrame:
    if content.startswith(b"PAR1"):
        return pd.read_parquet(io.BytesIO(content))
    # Ids are text: 007 is not 7.
    return pd.read_csv(io.BytesIO(content), dtype={KEY: str})


def _without_unit(column: str, uri: str) -> str:
    match = _WITH_UNIT.match(column)
    if match is None:
        return column
    name, unit = match["name"], match["unit"]
    if name in TARGETS and unit != TARGETS[name].unit:
        raise LabelError(f"{uri}: column {column!r} is in {unit!r}, expected {TARGETS[name].unit!r}")
    return name


def _splits(column: pd.Series, uri: str) -> pd.Series:
    """Return train, val, test, or nothing where the table says nothing; a typo must not move a crystal."""
    wrong = column[column.notna() & ~column.isin(SPLITS)]
    if len(wrong):
        raise LabelError(f"{uri}: split of {wrong.index[0]} is {wrong.iloc[0]!r}, expected {', '.join(SPLITS)}")
    return column.where(column.notna(), None)


def _check_numbers(column: pd.Series, uri: str) -> None:
    wrong = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
    if len(wrong):
        raise LabelError(f"{uri}: {column.name} of {wrong.index[0]} is {wrong.iloc[0]!r}, expected a number")


def _check_range(column: pd.Series, uri: str) -> None:
    target = TARGETS[str(column.name)]
    wrong = column[~(column.isna() | column.between(target.lowest, target.highest))]
    if len(wrong):
        raise LabelError(
            f"{uri}: {len(wrong)} values of {target.name} lie outside {target.lowest} to "
            f"{target.highest} {target.unit}, first {wrong.index[0]} with {wrong.iloc[0]:.6g}"
        )
