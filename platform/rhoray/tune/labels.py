"""Which labels a table has."""

import pandas as pd

from rhoray.core.errors import DatasetError


def check_label(materials: pd.DataFrame, name: str, where: str) -> None:
    """Raise DatasetError where no label of this name came with the densities, and say which did."""
    if name in materials:
        return
    present = sorted(c for c in materials.select_dtypes("number") if materials[c].notna().any())
    raise DatasetError(f"{where} has no label {name!r}, its numbers are {present}; ingest --labels adds others")
