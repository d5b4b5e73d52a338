"""A loss curve that stays small however long the training is."""

from __future__ import annotations

from model_verify.models import MAX_LOSS_POINTS, LossCurve, LossPoint


class CurveBuilder:
    """Keeps every n-th point of those logged, and the last one; n doubles whenever there are too many."""

    def __init__(self) -> None:
        self.logged = 0
        self.stride = 1
        # Pairs, and no models yet: a training calls `add` at every step.
        self._kept: list[tuple[int, str]] = []
        self._last: tuple[int, str] | None = None
        """The last point, where it is not among those kept."""

    def add(self, step: int, loss: str) -> None:
        """Take the next point."""
        point = (step, loss)
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
        kept = [point for point in self._kept if point[0] <= step]
        self.logged = min(
            self.logged, max(0, len(kept) - 1) * self.stride + min(1, len(kept)) if logged is None else logged
        )
        self._kept = kept[: -(-self.logged // self.stride)]
        self._last = self._last if self._last is not None and self._last[0] <= step else None

    @property
    def written(self) -> LossCurve:
        """The curve as a record has it."""
        last = [] if self._last is None else [self._last]
        points = [LossPoint(step=step, loss=loss) for step, loss in [*self._kept, *last]]
        return LossCurve(logged=self.logged, stride=self.stride, points=points)

    @classmethod
    def of(cls, curve: LossCurve) -> CurveBuilder:
        """Return a builder that goes on where `curve`, written by one, ended."""
        builder = cls()
        builder.logged, builder.stride = curve.logged, curve.stride
        kept = -(-curve.logged // curve.stride)
        points = [(point.step, point.loss) for point in curve.points]
        builder._kept, rest = points[:kept], points[kept:]
        builder._last = rest[0] if rest else None
        return builder
