# %% [markdown]
# # Tuned hyperparameters, tested in both frameworks
#
# `diptych.tune` searches for a recipe and a model with a higher validation accuracy. The
# first trial is the default recipe, so the winner's mean validation accuracy is never
# lower than the default's. The test images are used once, at the end.
#
# Run this notebook in the environment of a clone of diptych: `make demo` sets it up, and
# `.venv/bin/pip install jupyterlab -e '.[tune]'` adds Jupyter and Optuna.

# %%
import matplotlib.pyplot as plt
import optuna
import pandas as pd

import diptych

DATA = "digits"
TRIALS = 24
EPOCHS = 8

# %% [markdown]
# ## The search
#
# Trials that fall behind are stopped early. The study can be interrupted at any time;
# the same call resumes it.

# %%
tuned = diptych.tune(
    DATA,
    model="cnn",
    engine="torch",
    trials=TRIALS,
    epochs=EPOCHS,
    finalists=2,
    progress=False,
)

# %%
trials = pd.DataFrame(tuned.content["trials"]).set_index("number")
hyperparameters = pd.DataFrame([*trials["params"]], index=trials.index)[
    ["optimizer", "rate_factor", "batch_size"]
]
trials[["state", "accuracy", "epochs", "num_parameters"]].join(hyperparameters).round(4)

# %% [markdown]
# ## The best so far
#
# One point for each trial that was trained to its end, and the best accuracy so far.

# %%
finished = trials[trials["state"] == "finished"]
_, axis = plt.subplots(figsize=(6, 3.2))
axis.plot(finished.index, finished["accuracy"], "o", label="trial")
axis.step(
    finished.index, finished["accuracy"].cummax(), where="post", label="best so far"
)
axis.set(xlabel="trial", ylabel="validation accuracy")
axis.legend(loc="center right")
plt.tight_layout()
plt.show()

# %% [markdown]
# ## What matters?
#
# The study is an `optuna.Study`, so Optuna's plots and its dashboard work with it.

# %%
pd.DataFrame(
    tuned.content["importance"], columns=["hyperparameter", "importance"]
).round(2)

# %%
axes = optuna.visualization.matplotlib.plot_intermediate_values(tuned.study)
axes.set(title="", xlabel="epoch", ylabel="validation accuracy")
plt.tight_layout()
plt.show()

# %% [markdown]
# ## The finalists
#
# The best trials and the default recipe were trained again with fresh seeds, in both
# frameworks. Then the test images were used for the first time.

# %%
print(tuned.content["result"]["sentence"])
result = {name: tuned.content["result"][name] for name in ("tuned", "default")}
pd.DataFrame(
    {
        name: {engine: one[engine] for engine in ("torch", "tensorflow")}
        for name, one in result.items()
    }
).map(lambda accuracies: ", ".join(f"{accuracy:.2%}" for accuracy in accuracies))

# %% [markdown]
# ## The winner
#
# `recipe.json` and `spec.json` are files for `diptych train --recipe ... --model ...`.

# %%
run = diptych.train(
    DATA, recipe=tuned.recipe, model=tuned.spec, engine="tensorflow", progress=False
)
print(f"TensorFlow, the chosen recipe: {run.read_metrics()['accuracy']:.2%}")
print(f"The report: {tuned.directory / 'study.html'}")
