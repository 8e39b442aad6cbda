"""The packaged bundle behind the routes without Ray: what the deployments do, in this process."""

import asyncio
import socket
import threading
import time
from contextlib import contextmanager
from time import perf_counter

import uvicorn

from rhoray.inference.predictor import Predictor
from rhoray.inference.reconstruct import decode_latent
from serve.messages import Answer, Decoded, Encoded, ModelId
from serve.parsing import FileParser
from serve.routes import build_api
from serve.settings import ServeSettings


class LocalModel:
    def __init__(self):
        self.predictor = Predictor.load("pretrained:")
        self.id = ModelId(self.predictor.name, self.predictor.version)
        self.parse = FileParser(2, limit=ServeSettings().max_decompressed_bytes).parse

    async def encode(self, density):
        start = perf_counter()
        (latent,) = await asyncio.to_thread(self.predictor.encode, [density])
        return Encoded(latent, self.id, perf_counter() - start)

    async def predict(self, density, encoded=None):
        encoded = encoded or await self.encode(density)
        start = perf_counter()
        (prediction,) = await asyncio.to_thread(self.predictor.predict, [density], encoded.latent[None])
        return Answer(prediction, self.id, encoded.seconds, perf_counter() - start)

    async def decode(self, encoded, *, seen, shape):
        start = perf_counter()
        trained = self.predictor.bundle.autoencoder
        values = await asyncio.to_thread(decode_latent, trained, encoded.latent, seen=seen, shape=shape)
        return Decoded(values.astype("float32"), perf_counter() - start)

    async def card(self):
        return self.predictor.card

    async def identity(self):
        return self.id


@contextmanager
def serving(model, *, port=0, **settings):
    """Serve the app from a thread; gives its address."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        api = build_api(ServeSettings(**settings), model)
        server = uvicorn.Server(uvicorn.Config(api, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=20)
