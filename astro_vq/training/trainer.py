"""The training loop itself: steps, lines of metrics, validations, checkpoints."""

import math
import time
from typing import Any

import torch
from torch import Tensor

from astro_vq.checkpoint import save_model
from astro_vq.config import RunConfig
from astro_vq.models import Model, build_model
from astro_vq.training.batches import BatchOrder, train_batches
from astro_vq.training.data import TrainingData
from astro_vq.training.devices import choose_precision
from astro_vq.training.folder import RunFolder
from astro_vq.training.interrupt import Interruption
from astro_vq.training.metrics_log import MetricsLog
from astro_vq.training.outputs import figures_of, write_outputs
from astro_vq.training.reports import (
    DivergenceError,
    Note,
    Progress,
    StepReport,
    TrainingResult,
    ValidationReport,
)
from astro_vq.training.schedule import Schedule
from astro_vq.training.state import (
    Checkpoint,
    Position,
    load_checkpoint,
    restore,
    save_checkpoint,
)
from astro_vq.training.validation import validate

REPORT_SECONDS = 1.0
"""Time between reports of progress."""

CHECKPOINT_SECONDS = 300.0
"""A checkpoint is written after this time, whatever the number of steps."""

VALIDATIONS = 10
"""Validations that a run has at least, spread evenly."""

VALIDATION_SHARE = 0.1
"""Share of the time that validations may take where the run ends at a time."""

QUICK_CUTOUTS, FINAL_CUTOUTS = 512, 4096
"""Cutouts looked at by a validation during the run, and at its end."""

VALIDATION_COLUMNS = ("gradient_norm", "sky_loss", "sky_nll_per_dim", "sky_mse", "codes_used")


class Trainer:
    """The state of a run while it goes.

    Parameters
    ----------
    config : RunConfig
        What to do.
    data : TrainingData
        Images.
    folder : RunFolder
        Where to write; it exists.
    device : torch.device
        Where the networks run.
    tell : callable
        Is called with every report.
    started : float
        Time, by `time.monotonic`, at which this run or this part of it started.
    """

    def __init__(
        self,
        config: RunConfig,
        data: TrainingData,
        folder: RunFolder,
        device: torch.device,
        tell: Progress,
        *,
        started: float,
    ) -> None:
        options = config.training
        self.config = config
        self.data = data
        self.folder = folder
        self.device = device
        self.tell = tell
        self.started = started
        self.schedule = Schedule.from_config(options)
        self.autocast = choose_precision(options.precision, device)
        self.model: Model = build_model(config.model, data.channels).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=options.learning_rate)
        self.position = Position()
        self.terms: tuple[str, ...] = ()
        self.pending: list[Tensor] = []
        self.last_terms: dict[str, float] = {}
        self.last_validation: ValidationReport | None = None
        self._before = 0.0
        self._checkpoint_time = started
        self._report_time = 0.0
        self._validation_seconds = 0.0
        self._interval = [0, 0.0]  # cutouts and seconds since the last line of metrics
        self._rate = 0.0

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take a run up where a checkpoint left it."""
        restore(checkpoint, self.model, self.optimizer)
        self.position = checkpoint.position
        self.terms = checkpoint.terms
        self.pending = list(checkpoint.pending.to(self.device))
        self._before = checkpoint.position.seconds

    def run(self, interruption: Interruption) -> TrainingResult:
        """Train until the end or until a signal; then write everything."""
        options, position = self.config.training, self.position
        order = BatchOrder(
            len(self.data.training), options.batch_size, seed=options.seed, start=position.step
        )
        batches = train_batches(
            self.data.training, order, workers=self.config.data.workers, device=self.device
        )
        if not self.terms:
            self.terms = self._name_terms()
        columns = (*self.terms, *VALIDATION_COLUMNS)
        with MetricsLog(self.folder.metrics, columns, keep=position.rows) as log:
            self._tick()
            if position.step and position.progress >= 1:
                self.tell(Note("the run is complete; to go on, give more --steps or --time-budget"))
            saved = position.step if position.step else -1
            while position.progress < 1 and not interruption.is_wanted:
                self._step(next(batches), order)
                if position.step % options.log_every == 0:
                    self._log_terms(log, order)
                if self._is_validation_due():
                    self._validate(log, order, QUICK_CUTOUTS)
                if self._is_checkpoint_due():
                    self._save(log)
                    saved = position.step
            if saved != position.step:
                self._save(log)
            interrupted = interruption.is_wanted
            self._finish(log, order)
        return self._result(interrupted=interrupted)

    def _name_terms(self) -> tuple[str, ...]:
        """Return the names of what is recorded at each step."""
        batch = next(self.data.validation_batches(2, limit=2)).to(self.device)
        self.model.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            names = tuple(self.model.loss(batch))
        return (*names, "gradient_norm")

    def _tick(self) -> None:
        """Bring time and progress up to date."""
        self.position.seconds = self._before + time.monotonic() - self.started
        self.position.progress = self.schedule.progress(self.position.step, self.position.seconds)

    def _step(self, batch: Any, order: BatchOrder) -> None:  # noqa: ANN401
        """Do one step of the optimiser."""
        begun = time.monotonic()
        position, clip = self.position, self.config.training.clip
        rate = self.schedule.rate(position.step, position.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        moved = batch.to(self.device)
        self.model.train()
        enabled = self.autocast is not None
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=enabled):
            terms = self.model.loss(moved)
        self.optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), math.inf if clip is None else clip
        )
        values = [*terms.values(), norm]
        self.pending.append(torch.stack([value.detach().float() for value in values]))
        if self.device.type == "cpu":  # elsewhere looking at each step would stop the pipeline
            self._check_finite(self.pending[-1])
        self.optimizer.step()
        position.step += 1
        self._tick()
        now = time.monotonic()
        self._interval[0] += len(moved.pixels)
        self._interval[1] += now - begun
        if now - self._report_time > REPORT_SECONDS:
            self._report_time = now
            self._report(rate)

    def _check_finite(self, terms: Tensor) -> None:
        """Raise unless loss terms and the norm of the gradient are finite."""
        if bool(torch.isfinite(terms).all()):
            return
        kept = self.folder.last_checkpoint
        saved = "there is no checkpoint yet"
        if kept is not None:
            step = load_checkpoint(kept).position.step
            saved = f"the checkpoint of step {step} is kept and can be resumed"
        raise DivergenceError(
            f"the loss or its gradient is not finite near step {self.position.step + 1}; {saved}; "
            "a smaller --learning-rate, --clip or --precision float32 may help"
        )

    def _means(self) -> dict[str, float]:
        """Return the means of the terms since the last line of metrics."""
        if not self.pending:
            return dict(self.last_terms)
        pending = torch.stack(self.pending).cpu()
        self._check_finite(pending)
        means = pending.double().mean(0)
        return dict(zip(self.terms, means.tolist(), strict=True))

    def _report(self, rate: float) -> None:
        cutouts, seconds = self._interval
        if seconds > 0:
            self._rate = cutouts / seconds
        self.tell(
            StepReport(
                step=self.position.step,
                progress=self.position.progress,
                seconds=self.position.seconds,
                terms=self._means(),
                learning_rate=rate,
                images_per_second=self._rate,
            )
        )

    def _log_terms(self, log: MetricsLog, order: BatchOrder) -> None:
        """Write a line of metrics and start the next."""
        if not self.pending:
            return
        self.last_terms = self._means()
        self.pending.clear()
        cutouts, seconds = self._interval
        self._rate = cutouts / seconds if seconds > 0 else self._rate
        self._interval = [0, 0.0]
        log.append(
            {
                **self._row("train", order),
                "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
                "images_per_second": round(self._rate, 1),
                **self.last_terms,
            }
        )

    def _row(self, split: str, order: BatchOrder) -> dict[str, int | float | str]:
        position = self.position
        return {
            "step": position.step,
            "split": split,
            "epoch": order.epoch_of(position.step),
            "seconds": round(position.seconds, 3),
        }

    def _is_validation_due(self) -> bool:
        """Say whether to validate after this step: every so often, and each tenth of the run."""
        step, options = self.position.step, self.config.training
        if self.position.progress >= 1:
            return False  # comes with the end of the run
        tenth = math.floor(VALIDATIONS * self.position.progress)
        crossed = tenth > self.position.part
        self.position.part = tenth
        due = crossed or step % options.validate_every == 0
        if due and options.time_budget is not None and options.steps is None:
            return self._validation_seconds <= VALIDATION_SHARE * self.position.seconds
        return due

    def _validate(self, log: MetricsLog, order: BatchOrder, limit: int) -> None:
        """Validate and write the line of metrics."""
        begun = time.monotonic()
        report = validate(
            self.model,
            self.data.validation_batches(self.config.training.batch_size, limit=limit),
            device=self.device,
            step=self.position.step,
        )
        self._validation_seconds += time.monotonic() - begun
        self.last_validation = report
        known = {name: value for name, value in report.terms.items() if name in self.terms}
        sky = {f"sky_{name}": value for name, value in report.sky.items()}
        used = {"codes_used": report.codes_used} if report.counts else {}
        log.append({**self._row("validation", order), **known, **sky, **used})
        self.tell(report)
        self._tick()

    def _is_checkpoint_due(self) -> bool:
        if self.position.step % self.config.training.checkpoint_every == 0:
            return True
        return time.monotonic() - self._checkpoint_time > CHECKPOINT_SECONDS

    def _save(self, log: MetricsLog) -> None:
        """Write a checkpoint, and the model beside it."""
        pending = torch.stack(self.pending) if self.pending else None
        if pending is not None:
            self._check_finite(pending)
        self.position.rows = log.rows
        name = self.folder.path.resolve().name
        save_checkpoint(
            self.folder,
            self.model,
            self.optimizer,
            self.config,
            self.position,
            terms=self.terms,
            pending=pending,
            data=self.data.identity,
        )
        figures = figures_of(self.position, self.config, self.last_validation)
        save_model(self.folder.path, self.model, self.config, name=name, extra=figures)
        self._checkpoint_time = time.monotonic()

    def _finish(self, log: MetricsLog, order: BatchOrder) -> None:
        """Write the last lines, the plots, the card and the model with its figures."""
        self._log_terms(log, order)
        self._validate(log, order, FINAL_CUTOUTS)
        write_outputs(
            self.folder,
            self.model,
            self.config,
            self.data,
            self.position,
            self.last_validation,
            device=self.device,
        )

    def _result(self, *, interrupted: bool) -> TrainingResult:
        return TrainingResult(
            output=self.folder.path,
            step=self.position.step,
            seconds=self.position.seconds,
            images=self.position.step * self.config.training.batch_size,
            interrupted=interrupted,
            terms=self.last_terms,
            validation=self.last_validation,
        )
