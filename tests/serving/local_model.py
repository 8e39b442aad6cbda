"""The packaged bundle behind the routes without Ray: what the deployments do, in this process."""

import asyncio
from time import perf_counter

from rhoray.inference.predictor import Predictor
from rhoray.inference.reconstruct import decode_latent
from serve.messages import Answer, Decoded, Encoded, ModelId


class LocalModel:
    def __init__(self):
        self.predictor = Predictor.load("pretrained:")
        self.id = ModelId(self.predictor.name, self.predictor.version)

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
