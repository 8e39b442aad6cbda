"""A tuning run on storage: a folder per target, out-of-fold predictions, the crystals' span, the formulas seen."""

import io
import json

import pandas as pd

from rhoray.core.storage import join, write_bytes
from rhoray.models.difficulty import Difficulty
from rhoray.models.domain import Domain
from rhoray.models.regressor import Regressor

OUT_OF_FOLD = "out_of_fold.parquet"
DOMAIN = "domain.json"
FORMULAS = "formulas.json"
REGRESSORS = "regressors"
DIFFICULTY = "difficulty"


def write_run(
    uri: str,
    fitted: dict[str, tuple[Regressor, pd.DataFrame]],
    domain: Domain,
    formulas: list[str],
    difficulties: dict[str, Difficulty] | None = None,
) -> None:
    """Write a run.

    Args:
        uri: of the run.
        fitted: target to regressor and its out-of-fold table: material_id, formula, mass_density (g/cm3),
            volume_per_atom (A3), expected and found (the target's unit), and, with `difficulties`, spread.
        domain: span of the training crystals.
        formulas: reduced formulas that took part.
        difficulties: target to the model of its residuals; intervals are of constant width without.
    """
    for target, difficulty in (difficulties or {}).items():
        write_bytes(join(uri, DIFFICULTY, f"{target}.txt"), difficulty.to_bytes())
    for target, (regressor, _) in fitted.items():
        for name, content in regressor.to_files().items():
            write_bytes(join(uri, REGRESSORS, target, name), content)
    tables = [table.assign(target=target) for target, (_, table) in fitted.items()]
    buffer = io.BytesIO()
    pd.concat(tables).to_parquet(buffer, index=False)
    write_bytes(join(uri, DOMAIN), json.dumps(domain.to_json()).encode())
    write_bytes(join(uri, FORMULAS), json.dumps(formulas).encode())
    write_bytes(join(uri, OUT_OF_FOLD), buffer.getvalue())
