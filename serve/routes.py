"""The HTTP routes, as a FastAPI app that any PropertyModel can stand behind."""

import asyncio
import io
from time import perf_counter
from typing import Any

import numpy as np
from fastapi import APIRouter, Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from rhoray import __version__
from rhoray.core.errors import RhoRayError
from serve import openapi
from serve.admission import Admission, Ticket
from serve.auth import token_check
from serve.messages import PropertyModel
from serve.metrics import RequestMetrics
from serve.middleware import LastResort, Observed
from serve.page import page_routes
from serve.problems import (
    FileProblem,
    Overloaded,
    answer_error,
    answer_http_exception,
    answer_validation_error,
    instance_of,
    problem_name,
    problem_of,
)
from serve.schemas import FilePrediction, Health, Live, PredictResponse, model_of
from serve.service import Service
from serve.settings import ServeSettings
from serve.upload import (
    Limits,
    UploadedFile,
    media_type_of,
    one_content,
    read_files,
    read_uri_input,
    refuse_media_type,
)
from serve.views import ViewResponse

MULTIPART = "multipart/form-data"
JSON = "application/json"
NPY = "application/x-npy"
CHGCAR = "text/plain; charset=us-ascii"
TITLE = "RhoRay"
DENSITY_ERROR_HEADER = "X-Density-Error"
HEALTH_TIMEOUT_S = 5.0


def build_api(settings: ServeSettings, model: PropertyModel, *, behind_serve: bool = False) -> FastAPI:
    """Return the whole HTTP app.

    Args:
        settings: limits, tokens, allowed prefixes.
        model: who answers.
        behind_serve: whether Serve's proxy gives every answer its request id.
    """
    api = FastAPI(
        title=TITLE,
        version=__version__,
        description=openapi.DESCRIPTION,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    metrics = RequestMetrics()
    api.add_middleware(LastResort)
    api.add_middleware(Observed, metrics=metrics, behind_serve=behind_serve)
    api.exception_handler(RhoRayError)(answer_error)
    api.exception_handler(RequestValidationError)(answer_validation_error)
    api.exception_handler(HTTPException)(answer_http_exception)
    service = Service(settings, model, metrics)
    admission = Admission(
        max_requests=settings.max_concurrent_requests,
        max_bytes=settings.max_bytes_in_flight,
        on_change=metrics.load,
    )
    api.include_router(page_routes())
    api.include_router(_open_routes(service))
    guarded = [Depends(token_check(settings.tokens))]
    api.include_router(_model_routes(service, admission), dependencies=guarded)
    return api


def _open_routes(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["operation"])

    @router.get("/health/live")
    async def live() -> Live:
        """Answer 200 as long as the process does, even while the model is loading or busy.

        What Serve's proxy refuses under overload does not get here.
        """
        return Live(live=True)

    @router.get("/health/ready", responses=openapi.problems(503))
    @router.get("/health", responses=openapi.problems(503))
    async def health() -> Health:
        """Answer 200 once the model can predict, whatever token is configured."""
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                model = await service.model.identity()
        except TimeoutError as error:
            raise Overloaded(f"the model did not answer within {HEALTH_TIMEOUT_S:g} s") from error
        return Health(live=True, ready=True, model=model_of(model))

    return router


def _model_routes(service: Service, admission: Admission) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["prediction"])

    @router.get("/model", responses=openapi.problems(401, 503) | openapi.model_card())
    async def card() -> dict[str, Any]:
        """Return the model card: targets, units, metrics, data hashes, licence."""
        return await service.model.card()

    @router.post("/predict", openapi_extra=openapi.one_file(), responses=openapi.FILE_PROBLEMS)
    async def predict(request: Request) -> PredictResponse:
        """Return the properties of one crystal."""
        start = perf_counter()
        with admission.enter() as ticket:
            content = await _content(service, request, ticket)
            return await service.predict(content, upload_seconds=perf_counter() - start)

    @router.post("/predict/batch", openapi_extra=openapi.several_files(), responses=openapi.FILE_PROBLEMS)
    async def predict_batch(request: Request) -> list[FilePrediction | FileProblem]:
        """Return, for each `file` part in order, a prediction or a problem document."""
        start = perf_counter()
        with admission.enter() as ticket:
            files = await _files(service, request, ticket)
            return await _predict_each(service, files, instance_of(request), perf_counter() - start)

    @router.post("/view", openapi_extra=openapi.one_file(), responses=openapi.FILE_PROBLEMS)
    async def view(request: Request) -> ViewResponse:
        """Return a prediction with what the page shows: atoms, densities on a small grid, known compounds nearby."""
        start = perf_counter()
        with admission.enter() as ticket:
            content = await _content(service, request, ticket)
            return await service.view(content, upload_seconds=perf_counter() - start)

    _add_file_routes(router, service, admission)
    return router


def _add_file_routes(router: APIRouter, service: Service, admission: Admission) -> None:
    """Add the routes whose answers are files."""

    @router.post(
        "/encode",
        openapi_extra=openapi.one_file(),
        responses=openapi.FILE_PROBLEMS | openapi.binary(NPY),
        response_class=Response,
    )
    async def encode(request: Request) -> Response:
        """Return the latent of one density as .npy, (16, 16, 16, 16) float32."""
        with admission.enter() as ticket:
            content = await _content(service, request, ticket)
            latent = await service.encode(content)
        disposition = {"Content-Disposition": 'attachment; filename="latent.npy"'}
        return Response(npy_bytes(latent), headers=disposition, media_type=NPY)

    @router.post(
        "/reconstruct",
        openapi_extra=openapi.one_file(),
        responses=openapi.DECODE_PROBLEMS | openapi.reconstruction(CHGCAR, DENSITY_ERROR_HEADER),
        response_class=Response,
    )
    async def reconstruct(request: Request) -> Response:
        """Return the density decoded from its latent, as a CHGCAR on the grid of the file that was sent.

        Its error, integral |d rho| over integral rho, is in the header X-Density-Error.
        """
        with admission.enter() as ticket:
            content = await _content(service, request, ticket)
            made = await service.reconstruct(content)
        headers = {
            "Content-Disposition": 'attachment; filename="CHGCAR"',
            DENSITY_ERROR_HEADER: f"{made.density_error:.6g}",
        }
        return Response(made.chgcar, headers=headers, media_type=CHGCAR)


async def _content(service: Service, request: Request, ticket: Ticket) -> bytes:
    """Return the one file of a request, sent or named."""
    settings = service.settings
    found = media_type_of(request)
    async with service.arrive_in_time():
        if found == JSON:
            uri = await read_uri_input(request, ticket)
            ticket.hold(settings.max_upload_bytes)  # its size is not known before it is here
            return await service.fetch(uri)
        if found == MULTIPART:
            limits = Limits(body=settings.max_request_bytes, file=settings.max_upload_bytes)
            return one_content(await read_files(request, limits, ticket))
    raise refuse_media_type(found, MULTIPART, JSON)


async def _files(service: Service, request: Request, ticket: Ticket) -> list[UploadedFile]:
    """Return all files of a batch request."""
    settings = service.settings
    found = media_type_of(request)
    if found != MULTIPART:
        raise refuse_media_type(found, MULTIPART)
    limits = Limits(
        body=settings.max_batch_request_bytes,
        file=settings.max_upload_bytes,
        files=settings.max_batch_files,
    )
    async with service.arrive_in_time():
        return await read_files(request, limits, ticket)


async def _predict_each(
    service: Service, files: list[UploadedFile], instance: str, upload_seconds: float
) -> list[FilePrediction | FileProblem]:
    """Answer every file, at most a model batch at once: one request must not fill the queues."""
    places = asyncio.Semaphore(service.settings.max_batch_size)

    async def answer(position: int, file: UploadedFile) -> FilePrediction | FileProblem:
        async with places:
            try:
                content = one_content([file])
                response = await service.predict(content, upload_seconds=upload_seconds)
            except Exception as error:  # noqa: BLE001 - problem_of logs what nobody expected
                problem = problem_of(error, f"{instance}:{position}")
                service.metrics.refused(problem_name(problem))
                return FileProblem(file=file.name, **problem.model_dump())
        return FilePrediction(file=file.name, **response.model_dump())

    return await asyncio.gather(*(answer(i, file) for i, file in enumerate(files)))


def npy_bytes(array: np.ndarray) -> bytes:
    """Return an array as a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
