"""The metrics of a protocol, bound to one reference."""

import numpy as np

from csrd.config.sections import Metrics
from csrd.io.volume import Volume
from csrd.metrics import PROTOCOLS
from csrd.metrics.metric import Metric, Reference


class Bound:
    """One reference's metrics; its features are computed once, or once a dose by the protocol `released`."""

    def __init__(self, reference: Volume, mask: np.ndarray, settings: Metrics) -> None:
        self.reference, self.mask, self.settings = reference, mask, settings
        self.per_dose = settings.protocol == "released"
        self._same: dict[str, Metric] = {}

    def metrics(self, low: Volume | None = None) -> dict[str, Metric]:
        """Return every metric, for images of the dose whose low-dose image is `low`."""
        if self.per_dose or not self._same:
            self._same = metrics_of(self.reference, self.mask, self.settings, low)
        return self._same


def metrics_of(
    reference: Volume, mask: np.ndarray, settings: Metrics, low: Volume | None = None
) -> dict[str, Metric]:
    """Return the metrics of the protocol, ready for images on the grid of `reference`.

    LPIPS is included where the settings have `lpips`.
    Raises InputError where the reference or a network's weights cannot be used.
    """
    bound, kinds = Reference(reference, mask, low), PROTOCOLS[settings.protocol]
    return {key: kind(bound, settings) for key, kind in kinds.items() if key != "lpips" or settings.lpips}
