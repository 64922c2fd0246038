"""The table of questions, by the name of their task. One file each."""

from __future__ import annotations

from experiments.questions.benchmark import Benchmark
from experiments.questions.segments import SegmentStudy
from experiments.questions.study import Study
from experiments.questions.uplift import UpliftStudy

STUDIES: dict[str, type[Study]] = {
    "statistics": Benchmark,
    "segmentation": SegmentStudy,
    "uplift": UpliftStudy,
}
