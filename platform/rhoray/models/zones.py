"""The spectrum of a periodic frame, cut into zones: bands of 16^3 numbers from the longest waves to the shortest.

A wave of index k = (ka, kb, kc) on the 128^3 frame looks, on a grid of 16^3 points, like every wave whose index differs
by multiples of 16: the residue class of k. Each of the 4,096 classes sorts its waves by length; the b-th of each
class together are band b, the b-th Brillouin zone of the reciprocal grid's points that are 16 apart. Transformed back
over the residues a band is a real 16^3 grid: the density's local content at such wavelengths. Band 0 is the local mean.
Any shift of the crystal by a sixteenth of an axis shifts the bands by one point.

Length is measured by a metric that belongs to the crystal, so that a cell's long axis gets as many more waves as it is
longer. The density itself says which: its waves fade with their true length, whatever the cell's shape.

Whole zones have edges: some classes keep longer waves than others give up. With `ball` the first 16 bands hold the
longest waves of all instead: a class that has fewer than 16 among them lends its place to a class that has more. Its
grids then shift with the crystal but for those few, the shortest waves that are kept.

A density is real: the wave at -k is the conjugate of that at k, and so is class -r of class r. Eight classes are their
own partners; their waves' real and imaginary parts go to two bands. In class 0 the mean (the electron count) leaves one
number free; three other classes give up their 16th band's wave. These seven numbers hold what the decoder must know
besides the waves: the metric, and how strong the waves are that the 16 bands leave out.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple, ParamSpec, TypeVar, cast

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

FRAME = 128
CELLS = 16
CLASSES = CELLS**3
STRIDE = FRAME // CELLS
ALIASES = STRIDE**3
BANDS = 16
KNOWN = 64  # bands among which waves change places, whatever is asked for
METRIC_SCALE = 1e-3  # a metric's steps, among numbers in e/A3
# Share of the power; its square root, 0.003 % of the density, is a tenth of what compact shards round off. A metric of
# its own would make encoding such a crystal four times as slow.
NEGLIGIBLE = 1e-9
METRIC_STEPS = 64  # to 1: a metric is whole numbers, so that lengths compare alike on every machine
HALF = FRAME // 2 + 1
NOWHERE = FRAME * FRAME * HALF  # where waves go that their conjugates stand for
ROOT = 2.0**0.5
UPPER = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))

P = ParamSpec("P")
T = TypeVar("T")
Spectrum = Complex[Tensor, "b 128 128 65"]
Metric = Int[Tensor, "b 6"]
Bands = Float[Tensor, "b bands 16 16 16"]


def constant(make: Callable[P, T]) -> Callable[P, T]:
    """Make a function's tensors once for all, and usable by training even if encoding asked for them first."""

    def plainly(*args: P.args, **kwargs: P.kwargs) -> T:
        with torch.inference_mode(False), torch.no_grad():
            return make(*args, **kwargs)

    return cast(Callable[P, T], functools.cache(functools.wraps(make)(plainly)))


class _Layout(NamedTuple):
    """What does not depend on a crystal: classes, one of each pair, and their waves.

    Attributes:
        waves: indices of every wave of the chosen classes, (classes, aliases, 3); 8 own partners first.
        chosen: place of those classes on the 16^3 grid.
        partners: place of the classes that are their conjugates.
        forbidden: waves that no class may take, (classes, aliases): they have no partner, or stand for another.
    """

    waves: Tensor
    chosen: Tensor
    partners: Tensor
    forbidden: Tensor


OWN = 8
# The numbers that hold the header: the free one of class 0, and the last wave of three classes that have none.
HEADER_CLASSES = (0, 1, 2, 4)


@constant
def _layout(device: torch.device) -> _Layout:
    cells = torch.tensor(list(itertools.product(range(CELLS), repeat=3)))
    place = torch.arange(CLASSES)
    across = (-cells) % CELLS
    partner = (across[:, 0] * CELLS + across[:, 1]) * CELLS + across[:, 2]
    own = place[place == partner]
    chosen = torch.cat([own, place[place < partner]])
    steps = torch.tensor(list(itertools.product(range(-STRIDE // 2, STRIDE // 2), repeat=3)))
    waves = cells[chosen][:, None] + CELLS * steps
    forbidden = (waves.abs() >= FRAME // 2).any(-1)
    a, b, c = waves[:OWN].unbind(-1)  # of a wave and its conjugate in the same class, the first stands for both
    forbidden[:OWN] |= (c < 0) | ((c == 0) & ((b < 0) | ((b == 0) & (a <= 0))))
    return _Layout(*(t.to(device) for t in (waves, chosen, partner[chosen], forbidden)))


@constant
def _products(device: torch.device) -> Tensor:
    """Return ka ka, kb kb, kc kc, 2 ka kb, 2 ka kc, 2 kb kc of every wave, (6, classes * aliases)."""
    waves = _layout(device).waves.double()
    return torch.stack([(1 + (i != j)) * waves[..., i] * waves[..., j] for i, j in UPPER]).flatten(1)


@constant
def _moment_factors(device: torch.device) -> Tensor:
    """Return the same six products of every wave of a half spectrum, without the mean, (6, 128 * 128 * 65)."""
    full = torch.fft.fftfreq(FRAME, 1 / FRAME, device=device)
    a, b, c = torch.meshgrid(full, full, torch.arange(HALF, device=device, dtype=full.dtype), indexing="ij")
    k = (a, b, c)
    return torch.stack([k[i] * k[j] for i, j in UPPER]).flatten(1)


def read_metric(spectrum: Spectrum) -> Metric:
    """Return the metric that the spectrum itself suggests, in whole 1/64ths, volumes kept.

    In a crystal of round atoms the spectrum fades alike in all directions, so the mean of k k^T over its waves,
    weighted by their amplitude, is the metric's inverse but for a factor.
    """
    strength = spectrum.detach().abs().flatten(1)
    strength[:, 0] = 0
    total = strength.sum(1, keepdim=True).clamp_min(torch.finfo(strength.dtype).tiny)
    return quantised(_symmetric((strength @ _moment_factors(spectrum.device).T / total).double()))


def plain_metric(count: int, device: torch.device) -> Metric:
    """Return the metric that takes all axes as equal, which loses nothing while the density is coarse."""
    return quantised(torch.eye(3, dtype=torch.float64, device=device).expand(count, 3, 3))


def quantised(inverse: Float[Tensor, "b 3 3"]) -> Metric:
    """Return the metric whose inverse is given, as whole numbers; a bounded one where there is none."""
    trace = inverse.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    eye = torch.eye(3, dtype=inverse.dtype, device=inverse.device)
    inverse = torch.where(trace > 0, inverse / trace.clamp_min(1e-30), eye) + 1e-3 * eye
    metric = torch.linalg.inv(inverse)
    metric = metric / torch.linalg.det(metric)[:, None, None] ** (1 / 3)
    rows = torch.stack([metric[:, i, j] for i, j in UPPER], dim=1)
    return (rows * METRIC_STEPS).round().long()


def _symmetric(rows: Float[Tensor, "b 6"]) -> Float[Tensor, "b 3 3"]:
    aa, bb, cc, ab, ac, bc = rows.unbind(1)
    return torch.stack([aa, ab, ac, ab, bb, bc, ac, bc, cc], dim=1).unflatten(1, (3, 3))


class Zones(NamedTuple):
    """Where the bands of some crystals stand in their half spectra.

    Attributes:
        place: flat index of each wave, (b, bands, classes chosen); NOWHERE where a band holds none.
        conjugate: whether the wave stored there is the conjugate of the one wanted.
        mirror: flat index of the conjugate wave where a half spectrum stores that too, else NOWHERE.
        bands: how many.
    """

    place: Tensor
    conjugate: Tensor
    mirror: Tensor
    bands: int

    def of(self, rows: Tensor) -> "Zones":
        """Return those of some crystals."""
        return Zones(self.place[rows], self.conjugate[rows], self.mirror[rows], self.bands)

    def repeated(self, count: int) -> "Zones":
        """Return those of one crystal for so many, without a copy."""
        place, conjugate, mirror = (part.expand(count, -1, -1) for part in self[:3])
        return Zones(place, conjugate, mirror, self.bands)

    def first(self, count: int) -> "Zones":
        """Return the first bands alone."""
        return Zones(self.place[:, :count], self.conjugate[:, :count], self.mirror[:, :count], count)

    def replaced(self, rows: Bool[Tensor, " b"], others: "Zones") -> "Zones":
        """Return these zones with others, one for each of the chosen crystals."""
        return Zones(
            self.place.index_put((rows,), others.place),
            self.conjugate.index_put((rows,), others.conjugate),
            self.mirror.index_put((rows,), others.mirror),
            self.bands,
        )


def zones_of(metric: Metric, count: int, *, ball: bool = False) -> Zones:
    """Return where the first `count` bands are (an even number, at most 64)."""
    other = (metric != plain_metric(1, metric.device)).any(1)
    zones = _plain_zones(count, ball, metric.device).repeated(len(metric))
    return zones.replaced(other, _sorted_zones(metric[other], count, ball=ball)) if bool(other.any()) else zones


@constant
def _plain_zones(count: int, ball: bool, device: torch.device) -> Zones:
    """Return the zones of one crystal whose axes count as equal, as most do."""
    return _sorted_zones(plain_metric(1, device), count, ball=ball)


def _sorted_zones(metric: Metric, count: int, *, ball: bool) -> Zones:
    layout = _layout(metric.device)
    length = (metric.double() @ _products(metric.device)).unflatten(1, (-1, ALIASES))
    # Whole numbers below 2^53: exact, and the place breaks ties the same way everywhere.
    length = length * ALIASES + torch.arange(ALIASES, device=metric.device)
    length = length.masked_fill(layout.forbidden, torch.inf)
    found = length.topk(KNOWN if ball else count, largest=False)  # (b, classes, some)
    waves = torch.take_along_dim(layout.waves[None], found.indices[..., None], dim=2)
    if ball:
        waves = _longest_first(waves, found.values)[:, :, :count]
    waves = waves.permute(0, 2, 1, 3)  # (b, count, classes, 3)
    index, conjugate = _places(waves)
    mirror, negated = _places(-waves)
    mirror = torch.where(negated | conjugate, NOWHERE, mirror)  # only the plane kc = 0 holds both
    return Zones(index, conjugate, mirror, count)


def _longest_first(waves: Int[Tensor, "b classes some 3"], length: Float[Tensor, "b classes some"]) -> Tensor:
    """Return each class's waves, some exchanged for others', so that the first 16 bands hold the longest of all."""
    room = _room(length.device)
    first = (torch.arange(length.shape[2], device=length.device) < room[:, None]).flatten()
    # Stable, so that waves of one length are taken in the same order everywhere.
    order = length.flatten(1).argsort(dim=1, stable=True)
    longest = torch.zeros_like(order, dtype=torch.bool).scatter(1, order[:, : int(room.sum())], value=True)
    out = waves.flatten(1, 2).clone()
    for crystal, (own, chosen) in enumerate(zip(waves.flatten(1, 2), longest, strict=True)):
        vacant, without = (first & ~chosen).nonzero()[:, 0], (chosen & ~first).nonzero()[:, 0]
        out[crystal, vacant], out[crystal, without] = own[without], own[vacant]
    return out.unflatten(1, waves.shape[1:3])


@constant
def _room(device: torch.device) -> Int[Tensor, " classes"]:
    """Return how many waves of each class the first 16 bands hold, the header's apart."""
    room = torch.full((len(_layout(device).chosen),), BANDS, device=device)
    room[:OWN] = BANDS // 2
    room[list(HEADER_CLASSES)] -= 1
    return room


def _places(waves: Int[Tensor, "*any 3"]) -> tuple[Tensor, Tensor]:
    conjugate = waves[..., 2] < 0
    a, b, c = torch.where(conjugate[..., None], -waves, waves).unbind(-1)
    return ((a % FRAME) * FRAME + b % FRAME) * HALF + c, conjugate


def take_bands(spectrum: Spectrum, zones: Zones) -> Bands:
    """Return the bands of spectra (of `rfftn` with norm `forward`) as real 16^3 grids; class 0 without metric.

    These small transforms are in float64, which costs a millisecond: else they would round as much as the large ones.
    """
    b = spectrum.shape[0]
    flat = torch.view_as_real(spectrum).flatten(1, 3)
    index = zones.place.flatten(1)
    values = torch.view_as_complex(flat.gather(1, index[..., None].expand(-1, -1, 2)))
    values = values.unflatten(1, zones.place.shape[1:])
    values = torch.where(zones.conjugate, values.conj(), values)
    layout = _layout(spectrum.device)
    own = _split(values[:, : zones.bands // 2 + 1, :OWN], flat[:, 0, 0], zones.bands)
    values = torch.cat([own.to(values.dtype), values[:, :, OWN:]], dim=2)
    values = values.to(torch.complex128)
    grids = values.new_zeros(b, zones.bands, CLASSES)
    grids[:, :, layout.partners] = values.conj()
    grids[:, :, layout.chosen] = values
    return torch.fft.ifftn(grids.unflatten(2, (CELLS,) * 3), dim=(2, 3, 4), norm="forward").real


def _split(values: Tensor, mean: Tensor, count: int) -> Tensor:
    """Return the real numbers of the classes that are their own partners, (b, count, 8)."""
    parts = torch.stack([values.real, values.imag], dim=2).flatten(1, 2) * ROOT
    others = parts[:, :count, 1:]
    zero = torch.cat([mean[:, None], parts[:, : count - 1, 0]], dim=1)
    return torch.cat([zero[..., None], others], dim=2)


def put_bands(bands: Bands, zones: Zones) -> Spectrum:
    """Invert `take_bands`: the half spectra that hold these bands and nothing else, in their precision."""
    b = bands.shape[0]
    layout = _layout(bands.device)
    grids = torch.fft.fftn(bands, dim=(2, 3, 4), norm="forward").flatten(2)
    own = grids[:, :, layout.chosen[:OWN]].real
    values = torch.cat([_join(own, zones.bands), grids[:, :, layout.chosen[OWN:]]], dim=2)
    values = torch.where(zones.conjugate, values.conj(), values).flatten(1)
    places = _stored(zones)
    parts = torch.view_as_real(torch.cat([values, values.conj()], dim=1))
    flat = parts.new_zeros(b, NOWHERE + 1, 2).scatter(1, places[..., None].expand(-1, -1, 2), parts)
    mean = torch.stack([own[:, 0, 0], torch.zeros_like(own[:, 0, 0])], dim=-1)
    flat = torch.cat([mean[:, None], flat[:, 1:NOWHERE]], dim=1)
    return torch.view_as_complex(flat.unflatten(1, (FRAME, FRAME, HALF)).contiguous())


def _join(own: Float[Tensor, "b count 8"], count: int) -> Tensor:
    """Invert `_split`, the mean apart; the second half of the bands is empty."""
    zero = torch.cat([own[:, 1:, 0], torch.zeros_like(own[:, :1, 0])], dim=1)
    parts = torch.cat([zero[..., None], own[:, :, 1:]], dim=2).unflatten(1, (count // 2, 2)) / ROOT
    pairs = torch.complex(parts[:, :, 0], parts[:, :, 1])
    return torch.cat([pairs, torch.zeros_like(pairs)], dim=1)


def best_zones(spectrum: Spectrum, count: int, *, ball: bool = False) -> tuple[Metric, Zones]:
    """Return, per crystal, the metric whose first 16 bands hold the most of the spectrum, and its first `count` bands.

    Where nearly nothing is left out with all axes equal, that is it: the choice must not hang on rounding.
    """
    device = spectrum.device
    squares = torch.view_as_real(spectrum.detach()).flatten(1).square()
    inside, left_out = (squares @ _weights(ball, device)).unbind(1)
    coarse = left_out <= NEGLIGIBLE * (inside + left_out)
    metric = plain_metric(len(spectrum), device)
    zones = zones_of(metric, count, ball=ball)
    if bool(coarse.all()):
        return metric, zones
    fine = ~coarse
    read = read_metric(spectrum[fine])
    others = zones_of(read, count, ball=ball)
    # In double precision: rounding would hide the little that is left out.
    some = torch.nn.functional.pad(_power(spectrum[fine]), (0, 1))
    better = _power_inside(some, others.first(BANDS)) > _power_inside(some, zones.first(BANDS).of(fine))
    chosen = fine.clone()
    chosen[fine] = better
    metric[chosen] = read[better]
    return metric, zones.replaced(chosen, others.of(better))


@constant
def _weights(ball: bool, device: torch.device) -> Float[Tensor, "parts 2"]:
    """Return how much each wave's real and imaginary part count inside the first 16 plain bands, and outside them."""
    every = _power(torch.ones(1, FRAME, FRAME, HALF, dtype=torch.complex64, device=device))
    inside = _stored(_plain_zones(BANDS, ball, device))
    outside = torch.nn.functional.pad(every, (0, 1)).scatter(1, inside, 0.0)[:, :NOWHERE]
    return torch.stack([every[0] - outside[0], outside[0]], dim=1).float().repeat_interleave(2, dim=0)


def _power(spectrum: Spectrum) -> Float[Tensor, "b waves"]:
    """Return the power of each wave, its conjugate's included where a half spectrum leaves that out; not the mean's."""
    spectrum = spectrum.detach()
    power = spectrum.real.double().square() + spectrum.imag.double().square()
    power[..., 1:-1] *= 2
    power = power.flatten(1)
    power[:, 0] = 0
    return power


def _power_inside(power: Float[Tensor, "b waves_and_nowhere"], zones: Zones) -> Float[Tensor, " b"]:
    return power.gather(1, _stored(zones)).sum(1)


def _stored(zones: Zones) -> Int[Tensor, "b places"]:
    """Return the places of all waves of some bands and of their conjugates in a half spectrum."""
    place, mirror = zones.place.clone(), zones.mirror.clone()
    place[:, zones.bands // 2 :, :OWN] = NOWHERE  # two bands share a wave there
    mirror[:, zones.bands // 2 :, :OWN] = NOWHERE
    return torch.cat([place.flatten(1), mirror.flatten(1)], dim=1)


LAST = slice(BANDS - 2, BANDS)


def write_header(bands: Bands, metric: Metric, left_out: Float[Tensor, " b"]) -> Float[Tensor, "b 16 16 16 16"]:
    """Return latents: 16 bands, with the metric and `left_out` where waves give room to them."""
    header = torch.cat([left_out[:, None], metric.to(bands.dtype) / METRIC_STEPS * METRIC_SCALE], dim=1)
    found, patterns = _header_of(bands)
    return bands + _as_bands(header - found, patterns)


def read_header(latents: Float[Tensor, "b 16 16 16 16"]) -> tuple[Bands, Metric, Float[Tensor, " b"]]:
    """Return the bands with nothing in the header's place, the metric, and `left_out`."""
    header, patterns = _header_of(latents)
    metric = (header[:, 1:].detach().double() / METRIC_SCALE * METRIC_STEPS).round().long()
    return latents - _as_bands(header, patterns), metric, header[:, 0]


@constant
def _patterns(device: torch.device) -> Float[Tensor, "4 16 16 16"]:
    """Return the waves of the header's classes on the 16^3 grid: each is +1 or -1 from point to point."""
    alternating, constant = (-1.0) ** torch.arange(CELLS), torch.ones(CELLS)
    rows = []
    for own in HEADER_CLASSES:
        a, b, c = (alternating if own & bit else constant for bit in (4, 2, 1))
        rows.append(a[:, None, None] * b[:, None] * c)
    return torch.stack(rows).to(device)


def _header_of(bands: Bands) -> tuple[Float[Tensor, "b 7"], Tensor]:
    patterns = _patterns(bands.device).to(bands.dtype)
    found = torch.einsum("bnijk,pijk->bpn", bands[:, LAST], patterns) / CLASSES
    return torch.cat([found[:, 0, 1:], found[:, 1:].flatten(1)], dim=1), patterns


def _as_bands(header: Float[Tensor, "b 7"], patterns: Tensor) -> Bands:
    numbers = torch.cat([torch.zeros_like(header[:, :1]), header], dim=1).unflatten(1, (len(HEADER_CLASSES), 2))
    last = torch.einsum("bpn,pijk->bnijk", numbers, patterns)
    return torch.cat([last.new_zeros(len(last), BANDS - 2, *last.shape[2:]), last], dim=1)
