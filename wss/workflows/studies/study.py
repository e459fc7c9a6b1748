"""The runs of a study: trained one after the other, each recorded in a small file that outlives its run directory."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import gin

from wss import config
from wss.errors import UserError
from wss.evaluation.label_sources import LabelSources
from wss.evaluation.result import Result
from wss.experiment import configure
from wss.files import load_json, write_text
from wss.methods.bap_nal.stages import BoxStages
from wss.methods.dars.rounds import Rounds
from wss.run_directory import RunDirectory
from wss.training.summaries import read_scalars
from wss.workflows.box_stages import SEGMENTATION, BoxPlan
from wss.workflows.self_training_rounds import Plan
from wss.workflows.stages import PLACES, Stage, command_line, run_all, training_stage
from wss.workflows.studies.runs import Run


@dataclasses.dataclass(frozen=True)
class Study:
    """Where the runs of a study and their records lie. Its methods replace the gin configuration.

    Attributes:
        run_dir: Folder of the runs; each is a run directory as any other.
        records: Folder with a JSON file for each finished run. A run that has one is not trained again.
        parameters: Gin bindings of all runs, such as the data set's folder.
        launch: Further flags of all commands, such as --strategy.
        guessing: Module that guesses image-level labels. It takes gin files and bindings, and the CSV file as --output.
    """

    run_dir: Path
    records: Path
    _: dataclasses.KW_ONLY
    parameters: Sequence[str] = ()
    launch: Sequence[str] = ()
    guessing: str = ""

    def finish(self, run: Run) -> None:
        """Trains and records a run, unless it is recorded; goes on where it stopped.

        Raises:
            UserError: A stage fails, or there is a record of other settings.
        """
        if self.result(run) is None:
            stages = self.stages(run)
            run_all(stages)
            scalars = read_scalars(RunDirectory(self.folder(run)).summaries)
            rounded = {
                name: {step: float(f"{value:.5g}") for step, value in by_step.items()}
                for name, by_step in scalars.items()
            }
            masks = {"masks": self._box_plan(run).scores()} if run.from_boxes else {}
            self._record(self.record_file(run), run, stages, scalars=rounded, **masks)

    def finish_label_sources(self, run: Run, evaluation: str) -> None:
        """Evaluates and records what the pseudo labels of a run are made of, unless that is recorded.

        Args:
            run: A run of PseudoSeg.
            evaluation: Module that evaluates. It takes --run_dir and the JSON file to write as --output.
        """
        if self.label_sources(run) is None:
            output = self.folder(run) / "pseudo_labels.json"
            command = [evaluation, f"--run_dir={self.folder(run)}", f"--output={output}", *self.launch]
            title = f"{run.name}: what the pseudo labels are made of"
            stages = [*self.stages(run), Stage(title=title, command=command, done=output, result=output)]
            run_all(stages)
            self._record(self._label_sources_file(run), run, stages)

    def stages(self, run: Run) -> list[Stage]:
        """Returns the commands that make a run, in order, those of its teacher first."""
        before = self.stages(run.teacher) if run.teacher else []
        if run.from_boxes:
            return [*before, *self._box_plan(run).stages]
        self._parse(run)
        parameters = [*self.parameters, *run.bindings]
        if run.guessed_labels:
            guess = self._guess(run)
            before.append(guess)
            parameters.append(f"TrainingData.image_labels = {str(guess.result)!r}")
        if run.teacher is None:
            stage = training_stage(
                run.name,
                self.folder(run),
                gin_files=[run.recipe],
                parameters=parameters,
                seed=run.seed,
                launch=self.launch,
            )
            return [*before, stage]
        plan = Plan(
            Rounds(teacher=str(self.folder(run.teacher))),
            self.run_dir / run.name,
            gin_files=[run.recipe],
            parameters=parameters,
            launch=self.launch,
            seed=run.seed,
        )
        return [*before, *plan.stages]

    def folder(self, run: Run) -> Path:
        """Returns the run directory."""
        if run.from_boxes:
            return self.run_dir / run.name / SEGMENTATION
        return self.run_dir / run.name / ("round_1" if run.teacher else "")

    def result(self, run: Run) -> Result | None:
        """Returns the evaluation of a run; None if there is no record yet.

        Raises:
            UserError: The record is of other settings.
        """
        record = self._read(self.record_file(run), run)
        return None if record is None else Result.from_dict(record["result"])

    def scalars(self, run: Run) -> dict[str, dict[int, float]] | None:
        """Returns value by step by name of what a run wrote while it trained; None if there is no record yet.

        Raises:
            UserError: The record is of other settings.
        """
        record = self._read(self.record_file(run), run)
        if record is None:
            return None
        return {
            name: {int(step): value for step, value in by_step.items()} for name, by_step in record["scalars"].items()
        }

    def masks(self, run: Run) -> dict[str, dict] | None:
        """Returns how good the masks are that a run from boxes learns from, by source; None if there is no record yet.

        Raises:
            UserError: The record is of other settings.
        """
        record = self._read(self.record_file(run), run)
        return None if record is None else record["masks"]

    def label_sources(self, run: Run) -> LabelSources | None:
        """Returns what the pseudo labels of a run are made of; None if there is no record yet.

        Raises:
            UserError: The record is of other settings.
        """
        record = self._read(self._label_sources_file(run), run)
        return None if record is None else LabelSources.from_dict(record["result"])

    def record_file(self, run: Run) -> Path:
        """Returns the file that a run is recorded in."""
        return self.records / f"{run.name}.json"

    def settings(self, run: Run) -> list[str]:
        """Returns what decides the result of a run and of its teacher: gin bindings without `PLACES`, and the seed."""
        of_teacher = [f"teacher: {line}" for line in self.settings(run.teacher)] if run.teacher else []
        self._parse(run)
        return [*config.bindings(without=PLACES), f"seed = {run.seed}", *of_teacher]

    def _box_plan(self, run: Run) -> BoxPlan:
        """Returns the stages of a run from boxes; those of its teacher make the masks."""
        masks = [f"BoxStages.masks = {str(self._box_plan(run.teacher).labels)!r}"] if run.teacher else []
        parameters = [*self.parameters, *run.bindings, *masks]
        configure([run.recipe], parameters)
        return BoxPlan(
            BoxStages(),
            self.run_dir / run.name,
            gin_files=[run.recipe],
            parameters=parameters,
            launch=self.launch,
            seed=run.seed,
        )

    def _guess(self, run: Run) -> Stage:
        """Returns what guesses the image-level labels of a run; runs of one labelled list have the same."""
        split = gin.get_bindings("TrainingData")["labeled_split"]
        file = self.run_dir / "guessed_labels" / f"{split}.csv"
        bindings = [f"--gin_param={parameter}" for parameter in (*self.parameters, *run.bindings)]
        command = [self.guessing, f"--gin_file={run.recipe}", *bindings, f"--output={file}"]
        return Stage(title=f"image-level labels from {split}", command=command, done=file, result=file)

    def _label_sources_file(self, run: Run) -> Path:
        return self.records / f"{run.name}.pseudo_labels.json"

    def _record(self, file: Path, run: Run, stages: Sequence[Stage], **more) -> None:
        """Records what the last of finished stages left."""
        record = {
            "commands": [command_line(stage) for stage in stages],
            "settings": self.settings(run),
            "operative_config": RunDirectory(self.folder(run)).config.read_text().splitlines(),
            "result": load_json(stages[-1].result, "evaluate the run again"),
            **more,
        }
        write_text(file, json.dumps(record, indent=1) + "\n")

    def _read(self, file: Path, run: Run) -> dict | None:
        if not file.exists():
            return None
        record = load_json(file, "remove it, and the run directory if there is one, to train again")
        if changed := set(self.settings(run)) ^ set(record["settings"]):
            raise UserError(
                f"{file}: of other settings ({'; '.join(sorted(changed))}); remove it, and the run directory if there "
                "is one, to train again"
            )
        return record

    def _parse(self, run: Run) -> None:
        configure([run.recipe], [*self.parameters, *run.bindings])
