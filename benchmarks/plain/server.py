"""What a user would write: FastAPI around the model, one uvicorn worker.

uvicorn plain.server:app
"""

from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, UploadFile

from rhoray.core.errors import InputRefused
from rhoray.inference.predictor import Predictor, read_input

app = FastAPI()
predictor = Predictor.load("pretrained:")


@app.post("/v1/predict")
def predict(file: Annotated[UploadFile, "a CHGCAR"]) -> list[dict[str, Any]]:
    """Answer with each property, its interval and its unit."""
    try:
        density = read_input(file.file.read())
    except InputRefused as error:
        raise HTTPException(422, str(error)) from error
    found = predictor(density)
    return [
        {"target": p.target, "value": p.value, "low": p.lower, "high": p.upper, "unit": p.unit}
        for p in found.properties
    ]
