"""Comparisons of the shapes that a report has to bear."""

from comparisons import make_comparison, make_pictures

from diptych.reports.page import render

LONG = "a class with a name that is longer than anybody would like it to be"
LONG_WORD = "Pneumonoultramicroscopicsilicovolcanoconiosis"


def long_names():
    comparison = make_comparison(num_classes=12, num_images=400, num_seeds=2)
    names = [LONG, LONG_WORD, *comparison["subject"]["class_names"][2:]]
    comparison["subject"]["class_names"] = names
    for entry, name in zip(comparison["per_class"], names, strict=True):
        entry["name"] = name
    comparison["sides"][0]["name"] = "PyTorch with a long name, compiled, on a machine far away"
    comparison["sides"][1]["name"] = LONG_WORD
    return comparison


MAKERS = {
    "two": make_comparison,
    "one": lambda: make_comparison(num_seeds=1, num_epochs=1),
    "three": lambda: make_comparison(num_sides=3, gap=0.5),
    "six": lambda: make_comparison(num_sides=6, num_seeds=2),
    "binary": lambda: make_comparison(num_classes=2, num_images=300),
    "hundred": lambda: make_comparison(num_classes=100),
    "long": long_names,
}


def report(shape):
    """A report of that shape, as text."""
    comparison = MAKERS[shape]()
    return render(comparison, make_pictures(comparison))
