"""The main job in minutes: a small CNN on scikit-learn's digits, trained in both frameworks, proved equal, compared."""

import sys
import time

from rich.console import Console

import diptych

console = Console()
start = time.perf_counter()


def tell(words: str) -> None:
    """What begins, and when."""
    console.print(f"[dim]{time.perf_counter() - start:4.0f} s[/]  {words}", highlight=False)


console.print("One small CNN, 1,797 images of digits, natively in PyTorch and in TensorFlow, from two seeds each:")
found = diptych.compare("digits", model="cnn", seeds=2, epochs=10, on_step=tell)

console.print()
console.print(f"[bold]{found.found['verdict']['headline']}[/]", highlight=False)
for line in found.found["verdict"]["details"]:
    console.print(line, highlight=False)
console.print(f"parity: {found.found['parity']['verdict']}", highlight=False)
console.print(f"{time.perf_counter() - start:.0f} s in all")
print(f"report: {found.report_path}")
sys.exit(0 if found.found["parity"]["passed"] else 1)
