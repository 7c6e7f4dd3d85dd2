"""Which detections and true boxes are errors, of what kind, and what AP would gain were each alone corrected.

Kinds and corrections follow TIDE (Bolya et al. 2020, arXiv 2008.08115, sections 2.2 and 2.3). Other than
there, each error is corrected by itself; a box counts as missed unless a confident detection is about it; it
is then not taken out of the truth but found, before all others (TIDE's costs nothing where a class is never
found); and a box that is found without confidence is an error, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from visiontasks.detection.metrics.confusion import CONFIDENCE, OVERLAP
from visiontasks.detection.metrics.matching import find_owners, find_pairs, rank_detections
from visiontasks.detection.metrics.results import Results
from visiontasks.detection.types import Flags, Floats, Ints

TOUCH: Final = 0.1  # least IoU of a false detection with a box that it is about
KINDS: Final = (
    "on background",  # it overlaps nothing
    "wrong class and place",  # it overlaps a box of another class by less than OVERLAP
    "wrong place",  # it overlaps a box of its class by less than OVERLAP
    "wrong class",  # it overlaps a box of another class
    "duplicate",  # it overlaps a box of its class that a better detection has found
    "unsure",  # it is right, but its score is below CONFIDENCE
    "missed",  # a box that no detection has found, and no confident one of wrong class or place is about
)
GROUND, BOTH, PLACE, CLASS, DUPLICATE, UNSURE, MISSED = range(len(KINDS))


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """E errors.

    kind: (E,) places in KINDS. detection: (E,) -1 for a missed box. truth: (E,) the true box that it is
        about, -1 for background.
    gain: (E,) of the mean over the classes of AP at IoU 0.5, in [0, 1].
    """

    kind: Ints
    detection: Ints
    truth: Ints
    gain: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Ranks:
    """The detections of one class, best first; AP = 1/G * sum over the hits of hits so far / rank.

    scores: (D,) falling. hits: (H,) the ranks of those that are right, from 1 on. total: G, boxes to find.
    """

    scores: Floats
    hits: Ints
    total: int

    def without(self, rank: Ints) -> Floats:
        """What AP gains if the false detection of a rank is left out: (R,) -> (R,)."""
        found = np.arange(1, len(self.hits) + 1)
        each = found / (self.hits * np.maximum(self.hits - 1, 1))
        return self._after(each, rank) / self.total

    def corrected(self, rank: Ints) -> Floats:
        """What AP gains if the false detection of a rank becomes a hit: (R,) -> (R,)."""
        own = (self._hits_until(rank) + 1) / rank
        return (own + self._after(1 / self.hits, rank)) / self.total

    def inserted(self, after: Ints) -> Floats:
        """What AP gains from one more hit behind the first so many detections: (R,) -> (R,)."""
        own = (self._hits_until(after) + 1) / (after + 1)
        each = (self.hits - np.arange(1, len(self.hits) + 1)) / (self.hits * (self.hits + 1))
        return (own + self._after(each, after)) / self.total

    def promoted(self, rank: Ints) -> Floats:
        """What AP gains if the hit of a rank becomes the first of all detections: (R,) -> (R,)."""
        number = self._hits_until(rank)
        each = (self.hits - np.arange(1, len(self.hits) + 1)) / (self.hits * (self.hits + 1))
        sums = np.concatenate([[0.0], np.cumsum(each)])
        result: Floats = (1 - number / rank + sums[number - 1]) / self.total
        return result

    def _hits_until(self, rank: Ints) -> Ints:
        return np.searchsorted(self.hits, rank, side="right").astype(np.int64)

    def _after(self, each: Floats, rank: Ints) -> Floats:
        """Sums of what each hit gains, over the hits behind a rank."""
        sums = np.append(np.cumsum(each[::-1])[::-1], 0.0)
        result: Floats = sums[self._hits_until(rank)]
        return result


def find_errors(results: Results) -> Errors:
    """All errors: false detections, those that are unsure, missed boxes. Crowds are ignored."""
    ranking = rank_detections(results)
    owner = find_owners(results, ranking, results.crowd, OVERLAP)
    counts = ~np.append(results.crowd, False)[owner]
    is_hit = (owner >= 0) & counts
    false, unsure = np.flatnonzero(owner < 0), np.flatnonzero(is_hit & (results.scores < CONFIDENCE))
    kind, truth = _explain(results, owner < 0)
    found = np.zeros(len(results.true_labels), np.bool_)
    found[owner[is_hit]] = True
    claims = _claims(results, false, kind, truth, found)
    claimed = np.zeros_like(found)
    claimed[truth[claims]] = True
    missed = np.flatnonzero(~(found | claimed | results.crowd))
    kinds = [kind, np.full(len(unsure), UNSURE), np.full(len(missed), MISSED)]
    errors = Errors(
        kind=np.concatenate(kinds),
        detection=np.concatenate([false, unsure, np.full(len(missed), -1)]),
        truth=np.concatenate([truth, owner[unsure], missed]),
        gain=np.zeros(len(false) + len(unsure) + len(missed)),
    )
    by_score = ranking.by_score[counts[ranking.by_score]]
    others = np.zeros(len(unsure) + len(missed), np.bool_)
    _add_gains(results, errors, by_score, is_hit, np.append(claims, others))
    return errors


def _explain(results: Results, is_false: Flags) -> tuple[Ints, Ints]:
    """The kind of each false detection, and the true box that it is about, -1 for none: (F,) each.

    Of the boxes that it overlaps enough to have found them it is the one that it overlaps most, else that
    of its class, else any.
    """
    boxes = results.without_classes()
    by_group = rank_detections(boxes).by_group
    pairs = find_pairs(boxes, by_group[is_false[by_group]], TOUCH)
    kept = ~results.crowd[pairs.truth]
    detection, truth, overlap = pairs.detection[kept], pairs.truth[kept], pairs.overlap[kept]
    same = results.labels[detection] == results.true_labels[truth]
    reaches = overlap >= OVERLAP
    kinds = np.where(reaches, np.where(same, DUPLICATE, CLASS), np.where(same, PLACE, BOTH))
    order = np.lexsort((overlap, reaches * 2 + (same & ~reaches), detection))  # the last of each counts
    last = np.flatnonzero(np.diff(detection[order], append=-1))
    chosen = order[last]
    kind = np.full(len(is_false), GROUND, np.int64)
    about = np.full(len(is_false), -1, np.int64)
    kind[detection[chosen]], about[detection[chosen]] = kinds[chosen], truth[chosen]
    return kind[is_false], about[is_false]


def _claims(results: Results, false: Ints, kind: Ints, truth: Ints, found: Flags) -> Flags:
    """Which false detections stand for a box that is not found: of each box the best confident one, (F,)."""
    able = np.isin(kind, (CLASS, PLACE)) & (results.scores[false] >= CONFIDENCE)
    able[able] = ~found[truth[able]]
    places = np.flatnonzero(able)
    places = places[np.argsort(-results.scores[false[places]], kind="stable")]
    _, first = np.unique(truth[places], return_index=True)
    result = np.zeros(len(false), np.bool_)
    result[places[first]] = True
    return result


def _add_gains(results: Results, errors: Errors, by_score: Ints, is_hit: Flags, claims: Flags) -> None:
    """Fill in `errors.gain`.

    A claim becomes a hit where it stands, in its own class or in the right one; other false detections are
    left out; what is unsure or missed is found first.

    Args:
        by_score: (D',) the detections that count, by class, then falling score. is_hit: (D,).
        claims: (E,).
    """
    totals = np.bincount(results.true_labels[~results.crowd], minlength=results.num_classes)
    edges = np.searchsorted(results.labels[by_score], np.arange(results.num_classes + 1))
    is_missed = errors.kind == MISSED
    labels, true_labels = np.full((2, len(errors.kind)), -1)
    labels[~is_missed] = results.labels[errors.detection[~is_missed]]
    true_labels[errors.truth >= 0] = results.true_labels[errors.truth[errors.truth >= 0]]
    rank = np.zeros(len(results.labels), np.int64)  # within the class, from 1 on
    for label in np.flatnonzero(totals).tolist():
        members = by_score[edges[label] : edges[label + 1]]
        rank[members] = np.arange(1, len(members) + 1)
        ranks = Ranks(results.scores[members], np.flatnonzero(is_hit[members]) + 1, int(totals[label]))
        own = labels == label
        promoted = own & (errors.kind == UNSURE)
        moved = own & claims & (errors.kind == PLACE)
        left_out = own & ~moved & ~promoted
        errors.gain[promoted] += ranks.promoted(rank[errors.detection[promoted]])
        errors.gain[moved] += ranks.corrected(rank[errors.detection[moved]])
        errors.gain[left_out] += ranks.without(rank[errors.detection[left_out]])
        renamed = claims & (errors.kind == CLASS) & (true_labels == label)
        scores = results.scores[errors.detection[renamed]]
        errors.gain[renamed] += ranks.inserted(np.searchsorted(-ranks.scores, -scores, side="right"))
        unseen = is_missed & (true_labels == label)
        errors.gain[unseen] += ranks.inserted(np.zeros(unseen.sum(), np.int64))
    errors.gain[:] = errors.gain / max(1, int(np.count_nonzero(totals)))
