"""``tagstream offline``: commands by name, their modules imported only when called."""

import click

from schemas.commands import LateGroup

COMMANDS = {
    "ablate": "offline.judge.ablate_command:ablate",
    "handbook": "offline.handbook.cli:handbook",
    "dataset": "offline.convert_dataset:dataset",
    "encoder": "offline.fetch_encoder:encoder",
    "evaluate-recall": "offline.evaluate_recall:evaluate_recall",
    "towers": "offline.export_spaces:towers",
    "measure-diversity": "offline.measure_diversity:measure_diversity",
    "sweep-recall": "offline.sweep_recall:sweep_recall",
    "report": "offline.report.command:report",
    "simulate": "offline.simulate.cli:simulate",
    "evaluate-tagger": "offline.evaluate_tagger:evaluate_tagger",
    "infer": "offline.distil.infer_command:infer_command",
    "distil-demo": "offline.distil.demo_command:distil_demo",
    "sft": "offline.distil.sft_command:sft_command",
    "dpo-pairs": "offline.distil.dpo_command:dpo_pairs_command",
    "dpo": "offline.distil.dpo_command:dpo_command",
    "judge": "offline.judge.cli:judge",
    "transcriber": "offline.transcriber_cli:transcriber",
    "demo-models": "offline.demo_models.cli:demo_models",
    "tag-data": "offline.tag_data.cli:tag_data",
    "tag-quality": "offline.tag_quality:tag_quality",
}


@click.group(cls=LateGroup, table=COMMANDS)
def offline() -> None:
    """Builds and evaluates what is learned, away from the live path.

    Example: tagstream offline evaluate-tagger offline/samples/notes.jsonl
    """
