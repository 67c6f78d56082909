"""Training that a person would use: progress, validation, checkpoints, exact resume, early stop.

::

    from fastconv import data, models, train

    images, labels = data.digits()
    part = data.split(len(labels), validation=200)
    loader = data.DataLoader(images[part.training], labels[part.training], 32, shuffle=True, generator=0)
    history = train.fit(
        model := models.LeNet5(generator=0), loader, epochs=20,
        validation=(images[part.validation], labels[part.validation]), folder="runs/lenet",
    )
    print(train.evaluate(model, (images[part.test], labels[part.test])))

One family per file: _loop (fit), _evaluation (evaluate), _history (what an epoch gave, and its picture), _checkpoint (a
run in a file), _interrupt (Ctrl-C between steps), _progress (the bar), _memory (what a step holds).
"""

from __future__ import annotations

from fastconv.train._evaluation import Evaluation, evaluate
from fastconv.train._history import Epoch, History
from fastconv.train._loop import fit
from fastconv.train._memory import StepMemory, step_memory

__all__ = ["Epoch", "Evaluation", "History", "StepMemory", "evaluate", "fit", "step_memory"]
