"""Every hostile file by name: how it is built, and which doors may let it in, as they take nothing hostile from it."""

import hostile_cards
import hostile_flat
import hostile_hdf5
import hostile_keras
import hostile_onnx
import hostile_pickles
import hostile_places
import hostile_zips

# The card is sound, and all that describing reads.
TOLD = {"describe"}
DOORS = {"describe", "predict", "transfer"}


def _with(doors, *tables):
    return {name: (build, frozenset(doors)) for table in tables for name, build in table.items()}


CORPUS = {
    **_with((), hostile_zips.CASES, hostile_cards.CASES, hostile_onnx.CASES, hostile_hdf5.CASES, hostile_flat.CASES),
    **_with((), hostile_places.CASES),
    **_with(TOLD, hostile_pickles.CASES, hostile_keras.CASES, hostile_cards.TOLD, hostile_hdf5.TOLD),
    **_with(TOLD, hostile_onnx.TOLD, hostile_flat.TOLD, hostile_places.TOLD),
    **_with(TOLD | {"transfer"}, hostile_keras.MOVED, hostile_hdf5.MOVED),
    **_with({"transfer"}, hostile_cards.MOVED),
    **_with(DOORS, hostile_cards.HARMLESS, hostile_hdf5.HARMLESS, hostile_flat.HARMLESS),
}
