"""Words that people bring from Ultralytics, Keras, Lightning and other tools, and the answer to each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from diptych.errors import UsageError
from diptych.spec.typed import did_you_mean

# Options; a word is looked up without `-` and `_`.
FOREIGN_WORDS = {
    "--learning-rate": "lr lr0 baselr maxlr initiallr",
    "--batch-size": "batch bs batchsz trainbatchsize perdevicetrainbatchsize",
    "--epochs": "epoch maxepochs numepochs nepochs numtrainepochs",
    "--image-size": "imgsz imgsize img imagesz inputsize resolution targetsize",
    "--validation-fraction": "valsplit validationsplit valfraction valsize valpercent fraction",
    "--early-stopping": "patience earlystop earlystoppingpatience",
    "--optimizer": "optim opt",
    "--schedule": "scheduler lrscheduler lrschedule sched",
    "--schedule cosine": "coslr",
    "--warmup-epochs": "warmup",
    "--decoupled-decay (AdamW) or --l2": "weightdecay wd decay",
    "--clip-norm": "gradientclipval clipgrad gradclip clipnorm maxgradnorm globalclipnorm",
    "--average-decay": "ema emadecay modelema",
    "--class-weights": "classweight clsweights",
    "--precision": "amp fp16 bf16 half dtype mixedprecision",
    "--flip": "fliplr flipud hflip vflip horizontalflip",
    "--keep-best": "savebest savebestonly saveweightsonly",
    "--device": "accelerator devices gpus",
    "--device cuda": "gpu cuda usecuda",
    "--engine": "framework backend",
    "--model": "arch architecture net network cfg modelname",
    "--out": "project output outputdir savedir logdir rootdir defaultrootdir workdir runsdir dir",
    "--name": "experiment experimentname expname runname version tag",
    "--workers": "numworkers nworkers dataloaders j",
    "--threads": "numthreads nthreads cores cpus",
    "--checkpoint-steps": "saveperiod savesteps savefreq everyntrainsteps checkpointinterval",
    "--resume": "ckpt ckptpath checkpoint resumefrom restore fromcheckpoint",
    "--to": "format formats",
    "--top": "topk",
    "--trust": "trustremotecode weightsonly",
    "DATA, the first argument": "data dataset traindir datapath",
    "IMAGE, after the model": "source images image input",
}
ANSWERS = {word: answer for answer, words in FOREIGN_WORDS.items() for word in words.split()}
FOREIGN_VALUES = {
    "cuda": "gpu 0",
    "torch": "pytorch pt",
    "tensorflow": "tf keras",
    "float16": "fp16 half 16",
    "bfloat16": "bf16 bf16-mixed",
    "float32": "fp32 32",
    "skip": "ignore",
}


def unknown_option(where: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for an option that does not exist; suggests the one that was meant.

    Args:
        where: verb or function.
        name: the option as written: `--lr` on the command line, `lr` in Python.
        known: the options that exist, written the same way.
    """
    known = tuple(known)
    answer = ANSWERS.get(re.sub("[-_]", "", name).lower(), "")
    if not name.startswith("-"):
        answer = re.sub(r"--([\w-]+)", lambda match: match[1].replace("-", "_"), answer).replace(" ", "=", 1)
    first = answer.partition(" " if name.startswith("-") else "=")[0]
    meant = f"; use {answer}" if first in known or (answer and first.isupper()) else did_you_mean(name, known)
    return UsageError(f"{where} has no option '{name}'{meant}.")


def bad_choice(name: str, value: str, choices: Sequence[str]) -> UsageError:
    """The error for a value that is not among the choices; suggests the one that was meant."""
    answers = [choice for choice in choices if value.lower() in FOREIGN_VALUES.get(choice, "").split()]
    meant = f"; use {answers[0]}" if answers else did_you_mean(value, choices)
    return UsageError(f"{name} must be one of {', '.join(choices)}, got '{value}'{meant}.")
