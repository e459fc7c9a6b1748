"""The runs of a study: trained one after the other, each recorded in a small file that outlives its run directory."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import gin

from wss.errors import UserError
from wss.evaluation.label_sources import Parts
from wss.evaluation.result import Result
from wss.experiment import configure
from wss.files import write_text
from wss.methods.dars.rounds import Rounds
from wss.run_directory import CONFIG_NAME
from wss.training.summaries import read_scalars
from wss.workflows.rounds import Plan
from wss.workflows.stages import Phase, command_line, run_all, training

# Where things lie differs from machine to machine and says nothing of the result.
PLACES = ("load_dataset.directory", "train.initial_weights", "TrainingData.pseudo_directory")


@dataclasses.dataclass(frozen=True)
class Run:
    """One trained model.

    Attributes:
        name: its folder, such as "pseudoseg/train_1_8/seed_0".
        recipe: gin file.
        bindings: over the recipe.
        seed: of weights, order and augmentation.
        teacher: what labels for it, if the recipe is of self-training in one round.
    """

    name: str
    recipe: str
    bindings: tuple[str, ...] = ()
    seed: int = 0
    teacher: "Run | None" = None


@dataclasses.dataclass(frozen=True)
class Study:
    """Where the runs of a study and their records lie. Its methods replace the gin configuration.

    Attributes:
        run_dir: the runs; each is a run directory as any other.
        records: a JSON file for each finished run; a run that has one is not trained again.
        parameters: gin bindings of all runs, such as the data set's folder.
        launch: further flags of all commands, such as --strategy.
    """

    run_dir: Path
    records: Path
    parameters: Sequence[str] = ()
    launch: Sequence[str] = ()

    def finish(self, run: Run) -> None:
        """Trains and records a run, unless it is recorded; goes on where it stopped.

        Raises:
            UserError: a phase fails, or there is a record of other settings.
        """
        if self.result(run) is None:
            phases = self.phases(run)
            run_all(phases)
            scalars = read_scalars(self.folder(run) / "train")
            rounded = {
                name: {step: float(f"{value:.5g}") for step, value in by_step.items()}
                for name, by_step in scalars.items()
            }
            self._record(self.record_file(run), run, phases, scalars=rounded)

    def finish_parts(self, run: Run) -> None:
        """Evaluates and records what the pseudo labels of a run are made of, unless that is recorded."""
        if self.parts(run) is None:
            phases = [*self.phases(run), self._parts_phase(run)]
            run_all(phases)
            self._record(self._parts_file(run), run, phases)

    def phases(self, run: Run) -> list[Phase]:
        """The commands that make a run, in order, those of its teacher first."""
        before = self.phases(run.teacher) if run.teacher else []
        self._parse(run)
        shared = [run.recipe], [*self.parameters, *run.bindings]
        if run.teacher is None:
            return [training(run.name, self.folder(run), *shared, run.seed, self.launch)]
        rounds = Rounds(teacher=str(self.folder(run.teacher)))
        plan = Plan(rounds, self.run_dir / run.name, *shared, self.launch, run.seed)
        return [*before, *plan.phases]

    def folder(self, run: Run) -> Path:
        """The run directory."""
        return self.run_dir / run.name / ("round_1" if run.teacher else "")

    def result(self, run: Run) -> Result | None:
        """The evaluation of a run; None if there is no record yet.

        Raises:
            UserError: the record is of other settings.
        """
        record = self._read(self.record_file(run), run)
        return None if record is None else Result.from_dict(record["result"])

    def scalars(self, run: Run) -> dict[str, dict[int, float]] | None:
        """As `result`, of what was written while it trained: value by step by name."""
        record = self._read(self.record_file(run), run)
        if record is None:
            return None
        return {
            name: {int(step): value for step, value in by_step.items()} for name, by_step in record["scalars"].items()
        }

    def parts(self, run: Run) -> Parts | None:
        """As `result`, of what the pseudo labels are made of."""
        record = self._read(self._parts_file(run), run)
        return None if record is None else Parts.from_dict(record["result"])

    def record_file(self, run: Run) -> Path:
        """Where a run is recorded."""
        return self.records / f"{run.name}.json"

    def settings(self, run: Run) -> list[str]:
        """What decides the result of a run, and that of its teacher: gin bindings without `PLACES`, and the seed."""
        of_teacher = [f"teacher: {line}" for line in self.settings(run.teacher)] if run.teacher else []
        self._parse(run)
        lines = gin.config_str(max_line_length=10_000).splitlines()
        bindings = [line for line in lines if line and not line.startswith(("#", *PLACES))]
        return [*bindings, f"seed = {run.seed}", *of_teacher]

    def _parts_phase(self, run: Run) -> Phase:
        output = self.folder(run) / "pseudo_labels.json"
        command = ["tools.evaluate_pseudo_labels", f"--run_dir={self.folder(run)}", f"--output={output}", *self.launch]
        return Phase(f"{run.name}: what the pseudo labels are made of", command, output, output)

    def _parts_file(self, run: Run) -> Path:
        return self.records / f"{run.name}.pseudo_labels.json"

    def _record(self, file: Path, run: Run, phases: Sequence[Phase], **more) -> None:
        """Records what the last of finished phases left."""
        record = {
            "commands": [command_line(phase) for phase in phases],
            "settings": self.settings(run),
            "operative_config": (self.folder(run) / CONFIG_NAME).read_text().splitlines(),
            "result": json.loads(phases[-1].result.read_text()),
            **more,
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(record, indent=1) + "\n")

    def _read(self, file: Path, run: Run) -> dict | None:
        if not file.exists():
            return None
        record = json.loads(file.read_text())
        if changed := set(self.settings(run)) ^ set(record["settings"]):
            raise UserError(
                f"{file}: of other settings ({'; '.join(sorted(changed))}); remove it, and the run directory if there "
                "is one, to train again"
            )
        return record

    def _parse(self, run: Run) -> None:
        configure([run.recipe], [*self.parameters, *run.bindings])
