"""From a density to its two rows: one for a shard, one for the manifest."""

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import mass_density, reduced_formula, symmetry, volume_per_atom
from rhoray.density.frames import to_frame
from rhoray.density.valence import electron_count_warning
from rhoray.store.codec import StoreKind, encode_values, to_compact
from rhoray.store.manifest import WRITTEN, split_of
from rhoray.store.shards import Row, density_row


def describe(material_id: str, source: ChargeDensity, store: StoreKind, *, compact: bool = False) -> tuple[Row, Row]:
    """Return the shard row and the manifest row of a density.

    The manifest row lacks what only the caller knows: source, shard, bytes_in.

    Args:
        material_id: key of both rows.
        source: the density as it was read.
        compact: whether the source is what a compact store gave back; it then stays as it is.
        store: `compact` keeps it band-limited on its smallest grid, `grid` as a 128^3 frame of its cell.

    Raises:
        Impossible: values beyond float16's range.
    """
    density = source if compact else to_compact(source)
    values = to_frame(density, "cell") if store == "grid" else density.values
    encoded = encode_values(values)
    na, nb, nc = values.shape
    formula = reduced_formula(density)
    found = symmetry(density)
    about = {
        "material_id": material_id,
        "status": WRITTEN,
        "content_hash": source.content_hash,
        "formula": formula,
        "density_kind": density.kind,
        "num_atoms": density.n_atoms,
        "num_electrons": density.n_electrons,
        "mass_density": mass_density(density),
        "volume_per_atom": volume_per_atom(density),
        "crystal_system": found.crystal_system,
        "space_group_number": found.space_group_number,
        "prototype": found.prototype,
        "warning": electron_count_warning(density),
        "split": split_of(formula),
        "bytes_out": len(encoded),
    }
    return density_row(material_id, formula, density, encoded, (na, nb, nc)), about
