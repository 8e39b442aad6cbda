"""Compute densities: every crystal of a source gets its SCF density by GPAW, one crystal a Ray task.

Each crystal is a shard of its own, so that a crash costs one crystal: a rerun takes over what is finished.
The CPU limit decides no shard's name: what finishes within it is the same under any limit.
CPU seconds go to the log and the summary; a shard holds nothing that differs from run to run.
"""

import functools
import logging
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
from pymatgen.core import Structure

import rhoray
from rhoray.core.errors import InputRefused
from rhoray.core.stages import Stages
from rhoray.core.storage import join, normalise, remove, write_bytes
from rhoray.density.crystal import structure_of
from rhoray.density.decompress import decompress
from rhoray.density.gpaw_scf import (
    ACCURACIES,
    DAY_S,
    Accuracy,
    CpuLimitReached,
    cpu_limit,
    require_gpaw,
    scf_density,
    scf_memory,
)
from rhoray.density.read import read_density
from rhoray.density.sniff import sniff
from rhoray.density.structure_checks import check_structure
from rhoray.density.structure_files import STRUCTURE_FORMATS, read_structure
from rhoray.pipeline.cluster import most_memory_of_a_node
from rhoray.pipeline.commit import (
    SCF_TABLE,
    check_out,
    commit,
    describe_items,
    described_item,
    in_order,
    quarantined_row,
    without_own_tables,
)
from rhoray.pipeline.progress import progress_bar
from rhoray.pipeline.sharded import Engine, Made, ShardContent, ShardPlan, ShardTask, gather, plan_shards, run_sharded
from rhoray.sources.items import Item, fetch_item, list_source
from rhoray.store.codec import BAND_TOLERANCE
from rhoray.store.describe import describe
from rhoray.store.manifest import Manifest
from rhoray.store.schema import DENSITY_SCHEMA, SCHEMA_VERSION
from rhoray.store.shards import Row

logger = logging.getLogger(__name__)

SCF_COLUMNS = ("converged", "attempts", "iterations", "energy_ev")
NEVER = -1.0  # a large crystal's SCF is silent for longer than any other task


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeConfig:
    """What to calculate, where to, and how finely.

    Attributes:
        structures: anything that `list_source` takes; of densities only the crystal is used.
        out: URI of the dataset.
        accuracy: a name in ACCURACIES.
        cpu_limit: CPU seconds after which a crystal's SCF is given up.
        limit: take only the first so many.
        overwrite: replace a finished dataset that was made from something else.
    """

    structures: str
    out: str
    accuracy: str = "reference"
    cpu_limit: int = DAY_S
    limit: int | None = None
    overwrite: bool = False


def compute_density(config: ComputeConfig) -> dict[str, Any]:
    """Calculate every crystal on the connected Ray and commit the manifest.

    Returns:
        computed, quarantined; taken_over, those that an earlier run had finished; cpu_seconds of this run's SCFs;
        seconds, out, accuracy, engine; and the stages of all workers together.

    Raises:
        ResourceError: GPAW is absent.
        RhoRayError: no structures, or a dataset already at `out` that came from elsewhere.
    """
    started = time.monotonic()
    versions = require_gpaw()
    out, accuracy = normalise(config.out), ACCURACIES[config.accuracy]
    source = list_source(config.structures, limit=config.limit)
    items = without_own_tables(source, None, out)
    settings = {
        "scf": asdict(accuracy), "engine": versions,
        "tolerance": BAND_TOLERANCE, "schema": SCHEMA_VERSION, "code": rhoray.__version__,
    }  # fmt: skip
    tasks = plan_shards(describe_items(items), settings, most=1)
    check_out(out, tasks, overwrite=config.overwrite)
    engine = Engine("compute", "crystals", memory=_memory_of_a_task(memory_needed(items, accuracy)), patience_s=NEVER)
    rows, stages = gather(_logged(_made(tasks, out, engine, config.cpu_limit)))
    table = in_order(rows, items)
    manifest = Manifest(out, table, {"source": source.uri, "plan": sorted(tasks.names), **settings})
    commit(manifest, overwrite=config.overwrite)
    write_bytes(join(out, SCF_TABLE), _scf_table(rows, table).encode())
    counts, taken = Counter(table.status), stages.summary()
    return {
        "computed": counts["written"],
        "taken_over": len(items) - int(taken.get("crystal", {}).get("items", 0)),
        "quarantined": counts["quarantined"],
        "cpu_seconds": taken.get("scf_cpu", {}).get("seconds", 0.0),
        "seconds": round(time.monotonic() - started, 2),
        "out": out,
        "accuracy": config.accuracy,
        "engine": versions,
        "stages": taken,
    }


def _made(tasks: ShardPlan, out: str, engine: Engine, most_cpu_s: int) -> Iterator[Made]:
    """Make every crystal; what an interrupted run gave up under a lower limit is removed and made anew."""
    process, of_source = functools.partial(scf_shard, most_cpu_s=most_cpu_s), {t.items[0]["uri"]: t for t in tasks}
    again = []
    for made in run_sharded(tasks, process, out, DENSITY_SCHEMA, engine):
        if any(row["scf"].get("cpu_limit", most_cpu_s) < most_cpu_s for row in made.rows):
            again += [of_source[row["source"]] for row in made.rows]
        else:
            yield made
    for task in again:
        remove(join(out, task.name))
    if again:
        yield from run_sharded(again, process, out, DENSITY_SCHEMA, engine)


def _logged(made: Iterable[Made]) -> Iterator[Made]:
    """Say of every crystal what it took, as it is finished."""
    for shard in made:
        for row in shard.rows:
            scf, spent = row["scf"], shard.stages.get("scf_cpu", {}).get("seconds")
            if scf["converged"]:
                how = "taken over" if spent is None else f"{spent:.1f} CPU seconds"
                logger.info("%s %s: %d iterations, %s", row["material_id"], row["formula"], scf["iterations"], how)
        yield shard


def memory_needed(items: Sequence[Item], accuracy: Accuracy) -> float:
    """Return about how many bytes the largest crystal takes, of those that will be calculated."""
    needed = [0.0]
    with progress_bar(len(items), "look at", "crystals") as bar:
        for item in items:
            with suppress(InputRefused):  # the worker says why
                crystal = crystal_of(item)
                check_structure(crystal)
                needed.append(scf_memory(crystal, accuracy))
            bar.update()
    return max(needed)


def _memory_of_a_task(needed: float) -> float:
    """Return the bytes to set aside for a task: what it needs, a whole node's at most."""
    whole = float(math.ceil(needed))
    return min(whole, most_memory_of_a_node() or whole)


def crystal_of(item: Item) -> Structure:
    """Return the crystal that an item holds, with or without a density.

    Raises:
        InputRefused: why there is none.
    """
    raw = fetch_item(item)
    if isinstance(raw, dict):
        return _structure_of_row(raw)
    plain = decompress(raw)
    form = sniff(plain)
    return read_structure(plain, form) if form in STRUCTURE_FORMATS else structure_of(read_density(plain))


def _structure_of_row(row: Row) -> Structure:
    coordinates = row["frac_coords"]
    sites = [coordinates[i : i + 3] for i in range(0, len(coordinates), 3)]
    lattice = [row["lattice"][i : i + 3] for i in (0, 3, 6)]
    return Structure(lattice, row["species"], sites)


def scf_shard(task: ShardTask, *, most_cpu_s: int = DAY_S) -> ShardContent:
    """Calculate a task's crystals, each in so many CPU seconds; refusals become rows, never exceptions."""
    content = ShardContent([], [], Stages())
    for raw in task.items:
        item, refused = described_item(raw)
        with content.stages.measure("crystal"):
            try:
                if refused:
                    raise InputRefused(refused)
                row, about = _calculate(item, Accuracy(**task.settings["scf"]), content.stages, most_cpu_s)
                content.rows.append(row)
            except InputRefused as error:
                # So that a rerun under a higher limit knows whom to try again.
                given_up = {"cpu_limit": most_cpu_s} if isinstance(error, CpuLimitReached) else {}
                about = {**quarantined_row(item, error), "scf": {"converged": False, **given_up}}
        content.manifest_rows.append(about)
    return content


def _calculate(item: Item, accuracy: Accuracy, stages: Stages, most_cpu_s: int) -> tuple[Row, Row]:
    require_gpaw()
    structure = crystal_of(item)
    began = time.process_time()
    try:
        with cpu_limit(most_cpu_s):
            result = scf_density(structure, accuracy)
    finally:
        spent = time.process_time() - began
        stages.add({"scf_cpu": {"items": 1, "bytes": 0, "seconds": spent}})
    row, about = describe(item.material_id, result.density, "compact")
    scf = {
        "converged": True,
        "attempts": result.attempts,
        "iterations": result.iterations,
        "energy_ev": round(result.energy_ev, 6),
    }
    return row, {**about, "source": item.uri, "bytes_in": item.size, "scf": scf}


def _scf_table(rows: list[Row], table: pd.DataFrame) -> str:
    """Return the record of every SCF as CSV, in the manifest's order."""
    scf = {row["source"]: row["scf"] for row in rows}
    records = [{**dict.fromkeys(SCF_COLUMNS), **scf[source]} for source in table.source]
    frame = pd.DataFrame(records, columns=list(SCF_COLUMNS)).astype({"attempts": "Int64", "iterations": "Int64"})
    frame.insert(0, "material_id", table.material_id.to_numpy())
    return frame.to_csv(index=False, lineterminator="\n")
