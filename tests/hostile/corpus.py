"""Every hostile file by name: how it is built, and which doors may let it in, as they take nothing hostile from it."""

import hostile_cards
import hostile_flat
import hostile_keras
import hostile_onnx
import hostile_places
import hostile_torch

MODULES = (hostile_cards, hostile_flat, hostile_keras, hostile_onnx, hostile_places, hostile_torch)
DESCRIBE, TRANSFER = ("describe",), ("transfer",)
DOORS = {"CASES": (), "TOLD": DESCRIBE, "MOVED": TRANSFER, "FOR_TRUST": DESCRIBE + TRANSFER}
DOORS["HARMLESS"] = (*DESCRIBE, "predict", *TRANSFER)
CORPUS = {
    name: (build, doors)
    for table, doors in DOORS.items()
    for module in MODULES
    for name, build in getattr(module, table, {}).items()
}
