"""What the endpoint answers, as pydantic models: the source of the OpenAPI page."""

from dataclasses import asdict
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from rhoray.density.charge_density import ChargeDensity, DensityKind
from rhoray.inference import prediction
from serve.messages import ModelId

Seconds = dict[str, Annotated[float, Field(ge=0)]]


class UriInput(BaseModel):
    """A density in object storage, named instead of sent."""

    model_config = ConfigDict(extra="forbid")

    uri: str = Field(max_length=2048, examples=["s3://bucket/densities/mp-149_CHGCAR.gz"])


class Material(BaseModel):
    """The crystal as it was read, so that the sender sees whether it was understood."""

    formula: str = Field(description="reduced formula", examples=["LiF"])
    n_atoms: int = Field(description="atoms in the cell", examples=[2])
    volume: FiniteFloat = Field(description="cell volume, cubic Angstrom", examples=[17.0])
    n_electrons: FiniteFloat = Field(description="valence electrons in the cell", examples=[8.0])
    density_kind: DensityKind = Field(description="promolecular: free atoms superposed, of a CIF or POSCAR")


class PropertyValue(BaseModel):
    """One property with its 90 % interval."""

    target: str = Field(examples=["bulk_modulus"])
    value: FiniteFloat = Field(examples=[65.18])
    lower: FiniteFloat = Field(description="lower end of the 90 % interval", examples=[46.82])
    upper: FiniteFloat = Field(description="upper end of the 90 % interval", examples=[90.72])
    unit: str = Field(examples=["GPa"])


class Model(BaseModel):
    """Which bundle answered."""

    name: str = Field(examples=["pretrained"])
    version: str = Field(examples=["20261126-07f921ca"])


class PredictResponse(BaseModel):
    """All properties of one crystal."""

    material: Material
    predictions: list[PropertyValue]
    in_domain: bool = Field(description="whether the model was trained on crystals like this one", examples=[True])
    reasons: list[str] = Field(description="why not; empty when in_domain", examples=[[]])
    model: Model
    seconds: Seconds = Field(
        description="wall time of each stage",
        examples=[{"upload": 0.01, "parse": 0.007, "encode": 0.197, "predict": 0.022, "total": 0.325}],
    )


class FilePrediction(PredictResponse):
    """An entry of a batch that has a prediction."""

    file: str = Field(description="name of the part as it was sent", examples=["mp-1138_CHGCAR.gz"])


class Live(BaseModel):
    """The endpoint's process answers, whatever its model does."""

    live: bool = Field(examples=[True])


class Health(BaseModel):
    """The endpoint lives, and its model is loaded."""

    live: bool = Field(examples=[True])
    ready: bool = Field(examples=[True])
    model: Model


def material_of(density: ChargeDensity) -> Material:
    """Return what the answer says of a crystal."""
    return Material(**asdict(prediction.material_of(density)))


def model_of(model: ModelId) -> Model:
    """Return name and version of the bundle that answered."""
    return Model(name=model.name, version=model.version)


def response_of(
    material: Material, found: prediction.Prediction, model: ModelId, seconds: dict[str, float]
) -> PredictResponse:
    """Return the answer for one crystal."""
    return PredictResponse(
        material=material,
        predictions=[
            PropertyValue(target=p.target, value=p.value, lower=p.lower, upper=p.upper, unit=p.unit)
            for p in found.properties
        ],
        in_domain=found.in_domain,
        reasons=list(found.reasons),
        model=model_of(model),
        seconds={stage: round(value, 6) for stage, value in seconds.items()},
    )
