"""The text of an inspection: tables with a column for each split, and the findings."""

from collections.abc import Callable, Mapping, Sequence

from wss.data.crop_share import USUAL_CROPS, percent
from wss.data.dataset_info import DatasetInfo
from wss.inspection.findings import Finding
from wss.tables import format_columns


def report(info: DatasetInfo, summaries: Mapping[str, dict], findings: Sequence[Finding]) -> str:
    """Returns the report of a data set.

    Args:
        info: The data set.
        summaries: Numbers of each split, see `Inspection.summary`.
        findings: Findings in all splits, see `findings.find`.
    """
    sections = [
        f"{info.name} in {info.directory}: {info.num_classes} classes, {len(info.splits)} splits",
        _overview(summaries),
        _crop_table(summaries),
        _class_table("images with the class", info, summaries, lambda row, _: str(row["images"])),
    ]
    if any(summary["num_masks"] for summary in summaries.values()):
        sections += [
            _class_table("median side of an object", info, summaries, lambda row, _: _or_dash(row["median_side"])),
            _class_table("pixels", info, summaries, lambda row, summary: _if_masks(summary, str(row["pixels"]))),
            _class_table("percent of the labelled pixels", info, summaries, lambda row, _: _percent(row["share"])),
        ]
    if any(summary["num_boxes"] for summary in summaries.values()):
        of_boxes = lambda row, summary: str(row["boxes"]) if summary["num_with_boxes"] else "-"
        sections.append(_class_table("boxes", info, summaries, of_boxes))
    sections += [_notes(summaries), _findings(findings)]
    return "\n\n".join(section for section in sections if section) + "\n"


def _overview(summaries: Mapping[str, dict]) -> str:
    rows: dict[str, Callable[[dict], str]] = {
        "images": lambda s: str(s["num_images"]),
        "decoded": lambda s: str(s["num_decoded"]),
        "masks": lambda s: "hidden" if s["masks_hidden"] else str(s["num_masks"]),
        "image-level labels": lambda s: str(s["num_image_labels"]),
        "images with known objects": lambda s: str(s["num_with_boxes"]),
        "images without an object": lambda s: str(s["num_without_boxes"]) if s["num_with_boxes"] else "-",
        "boxes": lambda s: str(s["num_boxes"]),
        "smallest (h x w)": lambda s: _size(s["smallest_size"]),
        "median": lambda s: _size(s["median_size"]),
        "largest": lambda s: _size(s["largest_size"]),
        "different sizes": lambda s: str(s["num_sizes"]),
        "mean RGB": lambda s: _color(s["mean_color"]),
        "deviation RGB": lambda s: _color(s["std_color"]),
        "ignored pixels %": lambda s: _percent(s["ignored_share"]),
    }
    return format_columns([["", *summaries], *([name, *map(cell, summaries.values())] for name, cell in rows.items())])


def _crop_table(summaries: Mapping[str, dict]) -> str:
    """Returns what a crop sees of a photo at its stored size, without a random scale."""
    rows = [
        [
            f"crop {crop} sees",
            *(percent(s["crop_shares"][crop]) if s["crop_shares"] else "-" for s in summaries.values()),
        ]
        for crop in USUAL_CROPS
    ]
    return format_columns([["of a photo's area", *summaries], *rows])


def _class_table(
    title: str, info: DatasetInfo, summaries: Mapping[str, dict], cell: Callable[[dict, dict], str]
) -> str:
    rows = [
        [f"{c} {name}", *(cell(summary["classes"][c], summary) for summary in summaries.values())]
        for c, name in enumerate(info.class_names)
    ]
    return format_columns([[title, *summaries], *rows])


def _notes(summaries: Mapping[str, dict]) -> str:
    lines = []
    for split, summary in summaries.items():
        if summary["estimated"]:
            lines.append(
                f"{split}: classes, pixels, sizes and colours are estimated from {summary['num_decoded']} of "
                f"{summary['num_images']} images"
            )
        if summary["rarest_classes"]:
            lines.append(f"{split}: rarest classes: {', '.join(summary['rarest_classes'])}")
        if summary["class_ids"]:
            lines.append(f"{split}: class ids: {', '.join(map(str, summary['class_ids']))}")
    return "\n".join(lines)


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return "no findings"
    return "\n".join(f"{finding.level}: {finding.split}: {finding.message}" for finding in findings)


def _if_masks(summary: dict, text: str) -> str:
    return text if summary["num_masks"] else "-"


def _percent(share: float | None) -> str:
    if share is None:
        return "-"
    return "<0.01" if 0 < share < 0.00005 else f"{100 * share:.2f}"


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def _size(size: tuple[int, int] | None) -> str:
    return "-" if size is None else f"{size[0]}x{size[1]}"


def _color(color: Sequence[float] | None) -> str:
    return "-" if color is None else " ".join(f"{value:.0f}" for value in color)
