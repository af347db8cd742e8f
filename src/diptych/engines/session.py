"""The worker's own side: one engine, one model, one optimizer, and the requests that reach them."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from diptych import engines
from diptych.data.batches import Batch
from diptych.engines.contract import Arrays, Engine, Model, Optimizer
from diptych.engines.frames import read_frame, write_frame
from diptych.errors import DiptychError, in_one_line
from diptych.spec.codec import model_from_json, recipe_from_json

Reply = tuple[dict[str, Any], Arrays]


def serve(engine_name: str, threads: int, requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests until their stream ends; an error is an answer too."""
    session = Session(engine_name, threads)
    while True:
        try:
            header, arrays = read_frame(requests)
        except EOFError:
            return
        write_frame(replies, *session.answer(header, arrays))


class Session:
    """What a worker holds between two requests; each verb takes a request's header and arrays."""

    def __init__(self, engine_name: str, threads: int) -> None:
        self.engine_name = engine_name
        self.threads = threads
        self.model: Model = None
        self.optimizer: Optimizer = None
        self.verbs: dict[str, Callable[[dict[str, Any], Arrays], Reply]] = {
            "runtime": self._runtime,
            "build": self._build,
            "load_weights": self._load_weights,
            "read_weights": self._read_weights,
            "layer_outputs": self._layer_outputs,
            "predict": self._predict,
            "gradients": self._gradients,
            "make_optimizer": self._make_optimizer,
            "train": self._train,
            "export": self._export,
            "read_file": self._read_file,
        }

    @cached_property
    def engine(self) -> Engine:
        """The engine, imported with the first request, so that its failure is an answer."""
        engine = engines.get(self.engine_name)
        engine.configure(self.threads)
        return engine

    def answer(self, header: dict[str, Any], arrays: Arrays) -> Reply:
        """Do what a request asks."""
        try:
            return self.verbs[header["verb"]](header, arrays)
        except DiptychError as error:
            return {"error": type(error).__name__, "message": str(error)}, {}
        except Exception as error:  # a framework raises what it likes; the parent raises it as an EngineError
            traceback.print_exc()
            message = f"{self.engine_name} failed at '{header['verb']}': {in_one_line(error)}"
            return {"error": "EngineError", "message": message}, {}

    def _runtime(self, header: dict[str, Any], arrays: Arrays) -> Reply:
        return self.engine.runtime(), {}

    def _build(self, header: dict[str, Any], arrays: Arrays) -> Reply:
        self.model = self.engine.build(model_from_json(header["spec"]), header["precision"])
        return {}, {}

    def _load_weights(self, header: dict[str, Any], arrays: Arrays) -> Reply:
        self.engine.load_weights(self.model, arrays)
        return {}, {}

    def _read_weights(self, header: dict[str, Any], arrays: Arrays) -> Reply:
        return {}, self.engine.read_weights(self.model)

    def _layer_outputs(self, header: dict[str, Any], arrays: Arrays) -> Reply:
        return {}, self.engine.layer_outputs(self.model, arrays["images"], header["training"])

    def _predict(self, header: dict[str, Any], arrays: Arrays) -> Reply:
        return {}, {"logits": self.engine.predict(self.model, arrays["images"])}

    def _gradients(self, header: dict[str, Any], arrays: Arrays) -> Reply:
        loss, gradients = self.engine.gradients(self.model, Batch(**arrays))
        return {"loss": loss}, gradients

    def _make_optimizer(self, header: dict[str, Any], arrays: Arrays) -> Reply:
        self.optimizer = self.engine.make_optimizer(self.model, recipe_from_json(header["recipe"]))
        return {}, {}

    def _train(self, header: dict[str, Any], arrays: Arrays) -> Reply:
        rates = header["rates"]
        fields = ("images", "targets", "weights")
        batches = [Batch(*(arrays[f"{field}/{step}"] for field in fields)) for step in range(len(rates))]
        totals = self.engine.train_epoch(self.model, self.optimizer, batches, rates, header["seed"])
        weights = self.engine.read_weights(self.model)
        state = self.engine.read_optimizer(self.optimizer)
        reply = {f"weights/{name}": array for name, array in weights.items()}
        reply.update({f"state/{name}": array for name, array in state.items()})
        return asdict(totals), reply

    def _export(self, header: dict[str, Any], arrays: Arrays) -> Reply:
        self.engine.export(self.model, header["form"], Path(header["path"]), header["card"], arrays.get("calibration"))
        return {}, {}

    def _read_file(self, header: dict[str, Any], arrays: Arrays) -> Reply:
        stored = vars(self.engine.read_file(Path(header["path"])))
        return {key: value for key, value in stored.items() if key != "arrays"}, stored["arrays"]
