"""Option names of Ultralytics, Keras, Lightning and other tools, and the corresponding options here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from diptych.errors import UsageError

# Names are looked up without `-` and `_`.
FOREIGN_WORDS = {
    "--learning-rate": "lr lr0 baselr maxlr initiallr",
    "--batch-size": "batch bs batchsz trainbatchsize perdevicetrainbatchsize",
    "--epochs": "epoch maxepochs numepochs nepochs numtrainepochs",
    "--image-size": "imgsz imgsize img imagesz inputsize resolution targetsize",
    "--validation-fraction": "valsplit validationsplit valfraction valsize valpercent fraction",
    "--test-fraction": "testsplit testsize testfrac testpercent",
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


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Return ` (did you mean '…'?)` with the option that another tool calls `word`, or the closest; else nothing."""
    options = list(options)
    foreign = [option for option in options if word.lower() in FOREIGN_VALUES.get(option, "").split()]
    near = foreign or get_close_matches(word[:60], options, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def unknown_option(where: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for an option that the command or function `where` lacks; suggests the one that was meant.

    `name` and the `known` options are written as `--lr` on the command line and as `lr` in Python.
    """
    known = tuple(known)
    answer = ANSWERS.get(re.sub("[-_]", "", name).lower(), "")
    if not name.startswith("-"):
        answer = re.sub(r"--([\w-]+)", lambda match: match[1].replace("-", "_"), answer).replace(" ", "=", 1)
    first = answer.partition(" " if name.startswith("-") else "=")[0]
    meant = f"; use {answer}" if first in known or (answer and first.isupper()) else did_you_mean(name, known)
    return UsageError(f"{where} has no option '{name}'{meant}.")
