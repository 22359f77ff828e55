"""Old names of modules, and where each is today; they go in the next release but one."""

from __future__ import annotations

FOLDERS = {
    "attacks.decoder": "nicg_slowdown slothspeech steps verbose_images",
    "attacks.detector": "daedalus frames overload phantom_sponges slowtrack snal",
    "attacks.early_exit": "deepsloth gradient pgd square standard uap",
    "attacks.search": "objectives optimizers variables",
    "attacks.text": "engorgio llmeffichecker loopllm nmtsloth sponge_genetic",
    "audits.run": "engine environment examples identity rows source store summary timing",
    "audits.verdict": "baseline gate gate_grammar",
    "defenses.detectors": "evaluation models perplexity squeeze svm trace",
    "defenses.guards": "box_caps deadline hazard loop_stop step_budget",
    "defenses.hardening": "calibrated hardened",
    "defenses.transforms": "bit_depth jpeg jpeg_codec resize smoothing spelling text_cleaning",
    "reports.ci": "junit sarif",
    "reports.kit": "charts plots records tables words",
    "reports.samples": "boxes texts waves",
    "targets.decoder": "captioner generation stops toy_steps toy_text",
    "targets.detector": "detection nms nms_pairs stage_clock toy_boxes track_work tracking",
    "targets.early_exit": "exit_rules module sdn thresholds toys",
}
"""Folders, and the modules that moved there from the package above under the name that they had."""

NAMES = {
    "attacks.controls.sets": "attacks.registry",
    "core.options": "core.registry",
    "audits.run.examples": "audits.run.rows",
    "attacks.early_exit.gradient": "attacks.iterative",
    "meters.shapes": "meters.flops",
    "cli.interruption": "cli.main",
    "attacks.search.variables": "attacks.search.optimizers",
    "targets.early_exit.contract": "targets.early_exit.family",
    "audits.run.workload": "audits.run.estimate",
    "zoo.architectures.vgg": "zoo.backbones",
    "zoo.architectures.resnet": "zoo.backbones",
    "zoo.architectures.convnet": "zoo.backbones",
    "zoo.architectures.normalize": "zoo.backbones",
    "reports.kit.records": "reports.kit.charts",
    "metrics.summary": "metrics.tails",
    "audits.run.environment": "audits.run.identity",
    "audits.run.source": "audits.run.job",
    "audits.digest": "audits.schema",
    "reports.headlines": "reports.verdict",
    "data.digits": "data.images",
    "targets.stored_weights": "targets.weights",
    "zoo.storage": "zoo.entry",
    "targets.unit_clock": "meters.calibration",
    "audits.run.modeled": "audits.run.timing",
    "audits.run.spare": "audits.run.timing",
    "attacks.search.random_search": "attacks.search.incumbent",
    "attacks.candidates": "attacks.search.incumbent",
    "attacks.early_exit.persistent_square": "attacks.early_exit.square",
    "attacks.derivatives": "attacks.iterative",
    "core.renamed": "core.lazy",
    "core.currency": "core.units",
    "core.seeds": "core.batches",
    "core.headlines": "core.measures",
    "core.paper": "core.threat",
    "core.outcome": "core.work",
    "core.prices": "core.work",
    "attacks.control_sets": "attacks.registry",
    "attacks.discrete": "attacks.text.search",
    "attacks.loop": "attacks.iterative",
    "attacks.spaces": "attacks.search.balls",
    "attacks.step_objectives": "attacks.decoder.objectives",
    "attacks.text_controls": "attacks.controls.text",
    "audits.code": "audits.run.identity",
    "audits.reader": "audits.run.job",
    "audits.run.lock": "audits.lock",
    "audits.run.code": "audits.run.identity",
    "audits.transfer": "audits.run.attack_batch",
    "core.budget_text": "core.budget",
    "defenses.detector": "defenses.detectors.base",
    "defenses.guard": "defenses.guards.base",
    "defenses.transform": "defenses.transforms.base",
    "metrics.natural": "metrics.tails",
    "reports.pictures": "reports.samples.images",
    "reports.samples.pictures": "reports.samples.images",
    "targets.candidates": "targets.detector.contract",
    "targets.detectors": "targets.detector.adapters",
    "targets.early_exit.heads": "targets.early_exit.sdn",
    "targets.gates": "targets.early_exit.family",
    "targets.heads": "targets.early_exit.sdn",
    "targets.steps": "targets.decoder.contract",
    "zoo.architectures": "zoo.backbones",
    "zoo.recipes.training": "training.early_exit",
    "zoo.recipes": "training",
}
"""Modules and packages that have another name too."""


def new_name(module: str) -> str | None:
    """Return where a module of an older torpor is today; None for any other name.

    >>> new_name("torpor.targets.sdn"), new_name("torpor.attacks.discrete.words"), new_name("torpor.targets.base")
    ('torpor.targets.early_exit.sdn', 'torpor.attacks.text.search.words', None)
    """
    package, _, name = module.partition(".")
    if package != "torpor":
        return None
    for old, new in _homes().items():
        if name == old or name.startswith(f"{old}."):
            found = f"torpor.{new}{name.removeprefix(old)}"
            return new_name(found) or found
    return None


def _homes() -> dict[str, str]:
    moved = {
        f"{folder.partition('.')[0]}.{name}": f"{folder}.{name}"
        for folder, names in FOLDERS.items()
        for name in names.split()
    }
    return NAMES | moved
