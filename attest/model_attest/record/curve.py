"""A loss curve that stays small however long the training is."""

from __future__ import annotations

from model_verify.models import MAX_LOSS_POINTS, LossCurve, LossPoint


class CurveBuilder:
    """Keeps every n-th point of those logged, and the last one; n doubles whenever there are too many."""

    def __init__(self) -> None:
        self.logged = 0
        self.stride = 1
        self._kept: list[LossPoint] = []
        self._last: LossPoint | None = None
        """The last point, where it is not among those kept."""

    def add(self, step: int, loss: str) -> None:
        """Take the next point."""
        point = LossPoint(step=step, loss=loss)
        if self.logged % self.stride == 0:
            self._kept.append(point)
            self._last = None
        else:
            self._last = point
        self.logged += 1
        if len(self._kept) == MAX_LOSS_POINTS:  # one less than may be written: the last one comes on top
            self._last = self._kept[-1]
            self._kept = self._kept[::2]
            self.stride *= 2

    def cut(self, step: int, logged: int | None) -> None:
        """Forget what was logged after `step`, when there were `logged` points; None where that is not known."""
        kept = [point for point in self._kept if point.step <= step]
        self.logged = min(
            self.logged, max(0, len(kept) - 1) * self.stride + min(1, len(kept)) if logged is None else logged
        )
        self._kept = kept[: -(-self.logged // self.stride)]
        self._last = self._last if self._last is not None and self._last.step <= step else None

    @property
    def written(self) -> LossCurve:
        """The curve as a record has it."""
        last = [] if self._last is None else [self._last]
        return LossCurve(logged=self.logged, stride=self.stride, points=[*self._kept, *last])

    @classmethod
    def of(cls, curve: LossCurve) -> CurveBuilder:
        """Return a builder that goes on where `curve`, written by one, ended."""
        builder = cls()
        builder.logged, builder.stride = curve.logged, curve.stride
        kept = -(-curve.logged // curve.stride)
        builder._kept, rest = list(curve.points[:kept]), curve.points[kept:]
        builder._last = rest[0] if rest else None
        return builder
