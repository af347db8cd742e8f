# %% [markdown]
# # PyTorch or TensorFlow? One model, trained in both
#
# Two scripts that were written by hand differ in many small ways, so comparing them says
# little about the frameworks. diptych builds both sides from one specification, proves
# that they are the same model, and only then compares them.
#
# Run this notebook in the environment of a clone of diptych: `make demo` sets it up, and
# `.venv/bin/pip install jupyterlab` adds Jupyter.

# %%
import matplotlib.pyplot as plt
import pandas as pd

import diptych

DATA = "digits"
SEEDS = 3
EPOCHS = 10
THOROUGH = True

# %% [markdown]
# ## Is it the same model?
#
# `verify` builds the model in both frameworks and compares each layer, the gradients, the
# updates of the weights, and a training on the same batches.

# %%
certificate = diptych.verify(
    "cnn", input_shape=(8, 8, 1), recipe="default", precisions=("float64",)
)
print(certificate.summary)

# %% [markdown]
# ## Do both train equally well?
#
# In float32 and bfloat16, rounding differs between the frameworks, and two trainings drift
# apart. So each seed is trained in both, and the difference is compared with a margin:
# half a percentage point of accuracy.

# %%
comparison = diptych.compare(
    DATA, model="cnn", seeds=SEEDS, epochs=EPOCHS, thorough=THOROUGH, progress=False
)
print(comparison.content["verdict"]["headline"])
for line in comparison.content["verdict"]["details"]:
    print("-", line)

# %%
sides = [side["name"] for side in comparison.content["sides"]]
pairs = comparison.content["pairs"]["1"]
seeds = pd.Index([pair["seed"] for pair in pairs], name="seed")
accuracies = pd.DataFrame([pair["accuracy"] for pair in pairs], seeds, sides)
accuracies["agreement"] = [pair["agreement"] for pair in pairs]
accuracies.style.format("{:.2%}")

# %%
lowest = accuracies[sides].min().min()
axis = accuracies[sides].plot.bar(figsize=(6, 3.2), rot=0)
axis.set(xlabel="seed", ylabel="test accuracy", ylim=(lowest - 0.01, 1.01))
axis.legend(loc="upper center", ncols=2)
plt.tight_layout()
plt.show()

# %% [markdown]
# ## What does each cost?
#
# Each run is measured in a process of its own. The figures depend on the machine, and on
# what else it computes; the conditions are part of the report.

# %%
conditions = comparison.content["conditions"]
for name in ("processor", "threads", "precision"):
    print(f"{name}: {conditions[name]}")
costs = pd.DataFrame(
    [cost["medians"] for cost in comparison.content["costs"]],
    index=[f"{cost['title']} ({cost['unit']})" for cost in comparison.content["costs"]],
    columns=sides,
)
costs.style.format(lambda value: f"{value:,.4f}" if value < 10 else f"{value:,.0f}")

# %% [markdown]
# ## One model, two frameworks
#
# Train in one and evaluate in the other: the weights are the same arrays.

# %%
run = diptych.train(DATA, model="cnn", engine="torch", epochs=EPOCHS, progress=False)
for engine in ("torch", "tensorflow"):
    accuracy = diptych.evaluate(run, engine=engine)["accuracy"]
    print(f"trained in PyTorch, tested with {engine}: {accuracy:.4%}")

# %%
print(f"The whole report, with the proof and all statistics: {comparison.report_path}")
