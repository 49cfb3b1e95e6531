"""The training loop itself: steps, lines of metrics, validations, checkpoints."""

import math
import time
from collections.abc import Iterator

import torch

from astro_vq.checkpoint import save_model
from astro_vq.config import RunConfig
from astro_vq.data.datasets import Batch
from astro_vq.errors import ConfigError
from astro_vq.models import Model, build_model
from astro_vq.training.batches import BatchOrder, train_batches
from astro_vq.training.data import TrainingData
from astro_vq.training.devices import choose_precision
from astro_vq.training.distributed import SharedLoss
from astro_vq.training.folder import RunFolder
from astro_vq.training.interrupt import Interruption
from astro_vq.training.launch import Launch
from astro_vq.training.meter import Meter
from astro_vq.training.metrics_log import MetricsLog
from astro_vq.training.noise import warm_noise
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
from astro_vq.training.snapshots import drop_snapshots, save_snapshot
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

LINES = 50
"""Lines of metrics, at least, of a run that ends at a time, however slow it is."""

VALIDATIONS = 10
"""Validations that a run has at least, spread evenly."""

VALIDATION_SHARE = 0.1
"""Share of the time that validations may take where the run ends at a time."""

VALIDATION_CUTOUTS = 1024
"""Cutouts, at most, that a validation looks at: always the same ones."""

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
    launch : Launch
        Place of this process among those that train together; the first one writes.
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
        launch: Launch,
        *,
        started: float,
    ) -> None:
        options = config.training
        self.config = config
        self.data = data
        self.folder = folder
        self.device = device
        self.tell = tell
        self.launch = launch
        self.started = started
        self.schedule = Schedule.from_config(options)
        self.autocast = choose_precision(options.precision, device)
        if config.model.model == "sparse":
            raise ConfigError(
                "codes of sparse tokens are fitted, not trained by gradient: use "
                "python -m astro_vq.training.fit_sparse FOLDER -o RUN"
            )
        self.model: Model = build_model(config.model, data.channels).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=options.learning_rate)
        self.position = Position()
        self.meter = Meter(())
        self.last_validation: ValidationReport | None = None
        self._before = 0.0
        self._checkpoint_time = started
        self._report_time = 0.0
        self._validation_seconds = 0.0
        self._validated = 0.0  # progress at the last validation
        self._lines = 0

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take a run up where a checkpoint left it."""
        restore(checkpoint, self.model, self.optimizer)
        self.position = checkpoint.position
        self.meter = Meter(checkpoint.terms, checkpoint.pending.to(self.device))
        self._before = checkpoint.position.seconds

    def run(self, interruption: Interruption) -> TrainingResult:
        """Train until the end or until a signal; then write everything."""
        options, position = self.config.training, self.position
        order = BatchOrder(
            len(self.data.training),
            options.batch_size,
            seed=options.seed,
            start=position.step,
            part=self.launch.rank,
            parts=self.launch.size,
        )
        batches = train_batches(
            self.data.training, order, workers=self.config.data.workers, device=self.device
        )
        if not self.meter.names:
            self.meter = Meter(self._name_terms())
        loss = SharedLoss(self.model, self.launch, self.device)
        if not self.launch.is_first:
            return self._follow(batches, loss, interruption)
        columns = (*self.meter.names, *VALIDATION_COLUMNS)
        drop_snapshots(self.folder.path, position.step)
        with MetricsLog(self.folder.metrics, columns, keep=position.rows) as log:
            interrupted = self._agree(loss, interruption)
            if position.step and position.progress >= 1:
                self.tell(Note("the run is complete; to go on, give more --steps or --time-budget"))
            saved = position.step if position.step else -1
            while position.progress < 1 and not interrupted:
                self._step(batches, loss)
                if position.step & (position.step - 1) == 0:  # codes move most at the start
                    save_snapshot(self.folder.path, self.model, position.step)
                if self._is_log_due():
                    self._log_terms(log, order)
                if self._is_validation_due():
                    self._validate(log, order)
                if self._is_checkpoint_due():
                    self._save(log)
                    saved = position.step
                interrupted = self._agree(loss, interruption)
            if saved != position.step:
                self._save(log)
            self._finish(log, order)
        return self._result(interrupted=interrupted)

    def _follow(
        self, batches: Iterator[Batch], loss: SharedLoss, interruption: Interruption
    ) -> TrainingResult:
        """Do the steps of the first process with another part of each batch; write nothing."""
        interrupted = self._agree(loss, interruption)
        while self.position.progress < 1 and not interrupted:
            self._step(batches, loss)
            if self.position.step % self.config.training.log_every == 0:
                self.meter.end_line()
            interrupted = self._agree(loss, interruption)
        return self._result(interrupted=interrupted)

    def _agree(self, loss: SharedLoss, interruption: Interruption) -> bool:
        """Bring time and progress up to date, the same in all processes; say whether to end."""
        self._tick()
        position = self.position
        position.seconds, wanted = loss.agree(position.seconds, interruption.is_wanted)
        position.progress = self.schedule.progress(position.step, position.seconds)
        return wanted

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

    def _step(self, batches: Iterator[Batch], loss: SharedLoss) -> None:
        """Do one step of the optimiser."""
        begun = time.monotonic()
        position, clip = self.position, self.config.training.clip
        rate = self.schedule.rate(position.step, position.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        moved = next(batches).to(self.device, non_blocking=True)
        loss.seed(self.config.training.seed, position.step)
        self.model.train()
        warm_noise(self.model, position.progress, self.config.training.noise_warmup)
        enabled = self.autocast is not None
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=enabled):
            terms = loss(moved)
        self.optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), math.inf if clip is None else clip
        )
        now = time.monotonic()
        values = loss.mean([*terms.values(), norm])
        cutouts = len(moved.pixels) * self.launch.size
        self.meter.add(values, cutouts=cutouts, seconds=now - begun)
        if self.device.type == "cpu":  # elsewhere looking at each step would stop the pipeline
            self._require_finite(last=1)
        self.optimizer.step()
        position.step += 1
        self._tick()
        if now - self._report_time > REPORT_SECONDS:
            self._report_time = now
            self._report(rate)

    def _require_finite(self, *, last: int | None = None) -> None:
        """Raise unless loss and gradient of the steps since the last line are finite."""
        if self.meter.is_finite(last=last):
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

    def _report(self, rate: float) -> None:
        self._require_finite()
        self.tell(
            StepReport(
                step=self.position.step,
                progress=self.position.progress,
                seconds=self.position.seconds,
                terms=self.meter.means(),
                learning_rate=rate,
                images_per_second=self.meter.images_per_second,
            )
        )

    def _log_terms(self, log: MetricsLog, order: BatchOrder) -> None:
        """Write a line of metrics and start the next."""
        if not len(self.meter):
            return
        self._require_finite()
        speed = round(self.meter.images_per_second, 1)
        log.append(
            {
                **self._row("train", order),
                "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
                "images_per_second": speed,
                **self.meter.end_line(),
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

    def _is_log_due(self) -> bool:
        """Say whether to write a line of metrics: every so often; if time ends the run, oftener."""
        position, options = self.position, self.config.training
        if options.steps is None:
            line = math.floor(LINES * position.progress)
            if line > self._lines:
                self._lines = line
                return True
        return position.step % options.log_every == 0

    def _is_validation_due(self) -> bool:
        """Say whether to validate after this step: every so often, and each tenth of the run."""
        step, options = self.position.step, self.config.training
        if self.position.progress >= 1:
            return False  # comes with the end of the run
        tenth = math.floor(VALIDATIONS * self.position.progress)
        crossed = tenth > self.position.part
        self.position.part = tenth
        due = crossed or step % options.validate_every == 0
        if due and options.steps is None:  # time counts: not twice in a row, nor too long
            is_cheap = self._validation_seconds <= VALIDATION_SHARE * self.position.seconds
            return is_cheap and self.position.progress - self._validated > 0.5 / VALIDATIONS
        return due

    def _validate(self, log: MetricsLog, order: BatchOrder) -> None:
        """Validate and write the line of metrics."""
        begun = time.monotonic()
        report = validate(
            self.model,
            self.data.validation_batches(self.config.training.batch_size, limit=VALIDATION_CUTOUTS),
            device=self.device,
            step=self.position.step,
        )
        self._validation_seconds += time.monotonic() - begun
        self.last_validation = report
        self._validated = self.position.progress
        known = {name: value for name, value in report.terms.items() if name in self.meter.names}
        sky = {f"sky_{name}": value for name, value in report.sky.items()}
        used = {"codes_used": report.codes_used} if report.counts else {}
        log.append({**self._row("validation", order), **known, **sky, **used})
        save_snapshot(self.folder.path, self.model, self.position.step)
        self.tell(report)
        self._tick()

    def _is_checkpoint_due(self) -> bool:
        if self.position.step % self.config.training.checkpoint_every == 0:
            return True
        return time.monotonic() - self._checkpoint_time > CHECKPOINT_SECONDS

    def _save(self, log: MetricsLog) -> None:
        """Write a checkpoint, and the model beside it."""
        self._require_finite()
        self.position.rows = log.rows
        name = self.folder.path.resolve().name
        save_checkpoint(
            self.folder,
            self.model,
            self.optimizer,
            self.config,
            self.position,
            terms=self.meter.names,
            pending=self.meter.pending,
            data=self.data.identity,
        )
        figures = figures_of(self.position, self.config, self.last_validation)
        save_model(self.folder.path, self.model, self.config, name=name, extra=figures)
        self._checkpoint_time = time.monotonic()

    def _finish(self, log: MetricsLog, order: BatchOrder) -> None:
        """Write the last lines, the plots, the card and the model with its figures."""
        self._log_terms(log, order)
        self._validate(log, order)
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
            terms=self.meter.last,
            validation=self.last_validation,
        )
