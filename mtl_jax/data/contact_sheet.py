"""Write the contact sheet of an ingest: pages of its images, with the boxes and the ROIs."""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2

from mtl_jax.data.contact_strip import write_private
from mtl_jax.data.extract_collection import Outcome
from mtl_jax.data.extract_rois import ImageJob
from mtl_jax.data.image_notes import parse_notes
from mtl_jax.data.ingest_plan import Plan
from mtl_jax.io import atomic
from mtl_jax.types import LesionView

PAGE_VIEWS = 60  # lesion views on a page
TRUTH = {1: "malignant", 0: "benign"}
SheetImage = tuple[ImageJob, list[int]]  # the job of an image, and the numbers of its lesion views
TEMPLATE = Path(__file__).with_name("contact_sheet.html")


def write(folder: Path, plan: Plan, outcome: Outcome) -> Path:
    """Write the contact sheet of the extracted ROIs to the new `folder`; return its first page.

    The jobs of `outcome` must have drawn their strips. Ids are those that the plan writes; only
    the owner of the files may read them.
    """
    images = _images(outcome)
    pages = list(_split(images))
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    facts = {
        "name": plan.collection.name,
        "rois": len(outcome.extracted),
        "images": len(images),
        "extent_mm": plan.roi.extent_mm,
        "missing": sum(not job.strip_path.is_file() for job, _ in images),
        "pages": len(pages),
        "file_name": _file_name,
    }
    with atomic.write_folder(folder) as draft:
        draft.chmod(0o700)
        for page, page_images in enumerate(pages, start=1):
            figures = [_figure(job, numbers, plan, outcome) for job, numbers in page_images]
            text = template.render(figures=figures, page=page, **facts)
            write_private(draft / _file_name(page), text.encode())
    return folder / _file_name(1)


def _file_name(page: int) -> str:
    return f"page_{page:03d}.html"


def _images(outcome: Outcome) -> list[SheetImage]:
    by_path: dict[Path, SheetImage] = {}
    for number in sorted(outcome.extracted):
        job = outcome.extracted[number][0]
        by_path.setdefault(job.cache_path, (job, []))[1].append(number)
    return list(by_path.values())


def _split(images: Sequence[SheetImage]) -> Iterator[list[SheetImage]]:
    """Yield the images of each page; the lesions of an image stay together."""
    page: list[SheetImage] = []
    for image in images:
        if page and sum(len(numbers) for _, numbers in [*page, image]) > PAGE_VIEWS:
            yield page
            page = []
        page.append(image)
    yield page


def _figure(job: ImageJob, numbers: Sequence[int], plan: Plan, outcome: Outcome) -> dict[str, Any]:
    source = ""
    if job.strip_path.is_file():
        data = base64.b64encode(job.strip_path.read_bytes()).decode()
        source = f"data:image/jpeg;base64,{data}"
    lesions = []
    for number in numbers:
        view = plan.views[number]
        notes = [*parse_notes(view), *outcome.notes.get(number, ())]
        lesions.append(
            {
                "truth": TRUTH[view.label],
                "view": f"{view.laterality} {view.view}".strip(),
                "case": view.case_id,
                "lesion": view.lesion_id,
                "line": _line(view),
                "notes": [note.text for note in notes],
            }
        )
    return {"source": source, "lesions": lesions}


def _line(view: LesionView) -> str:
    """Return ', line 7' of 'TABLE line 7': the name of the table may hold a patient's name."""
    words = view.where.split()[-2:]
    return f", {' '.join(words)}" if len(words) == 2 and words[1].isdecimal() else ""
