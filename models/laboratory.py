"""Another laboratory, made up: what it would have read of a profile that ours has measured."""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

_MILLION: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Laboratory:
    """How one laboratory differs, the same way for each of its samples.

    Its library preparation favours some sequences over others by a factor that is its own, in
    part more in some samples than in others; it sequences less or more; it reports some of the
    features alone. What it does to real samples is not known here: see `drawn` for how widely
    laboratories are taken to differ.

    Attributes:
        gains: (n_features,), log2 of what each feature's reads are multiplied by.
        modes: (n_modes, n_features), log2 gains that each sample has more or less of.
        noise: Standard deviation, in log2, of what is each sample's and feature's own.
        reads: Median number of reads a sample; samples differ by `_READS_SPREAD`.
        reported: (n_features,), which features it reports.
    """

    gains: NDArray[np.float64]
    modes: NDArray[np.float64]
    noise: float
    reads: float
    reported: NDArray[np.bool_]

    @classmethod
    def drawn(cls, usual: NDArray[np.float32], draw: np.random.Generator) -> Self:
        """One that could be.

        Gains have heavy tails and a standard deviation of 0.5 to 2 log2 units, as between
        protocols of small RNA sequencing; reads are a hundred thousand to ten million a sample;
        from a third to nine in ten of the features are reported, the abundant ones above all,
        with or without those that have copies, or nearly at random.

        Args:
            usual: (n_features,), log2(reads per million + 1), the reference's means.
        """
        count = len(usual)
        spread = draw.uniform(0.5, 2.0)
        habit = draw.uniform(0.08, 0.3)
        liking = usual * habit + draw.normal(0, 0.8, count)
        if draw.random() < _SHARE_WITHOUT_A_BLOCK:
            # Names that differ between releases leave out features whatever they are.
            liking[draw.random(count) < _BLOCK] = -np.inf
        reported = np.zeros(count, dtype=np.bool_)
        reported[np.argsort(-liking, kind="stable")[: int(count * draw.uniform(0.33, 0.9))]] = True
        return cls(
            gains=draw.standard_t(4, count) / np.sqrt(2) * spread,
            modes=draw.normal(0, 0.35, (2, count)),
            noise=draw.uniform(0.2, 0.5),
            reads=float(np.exp(draw.uniform(np.log(1e5), np.log(1e7)))),
            reported=reported,
        )

    def measure(
        self, profiles: NDArray[np.float32], draw: np.random.Generator
    ) -> NDArray[np.float32]:
        """What it would report of samples: reads per million, not their logarithm.

        Args:
            profiles: (n, n_features), log2(reads per million + 1), nothing missing.

        Returns:
            (n, n_features), NaN where it reports nothing; over what it reports a million a row.
        """
        amounts = np.maximum(np.exp2(profiles.astype(np.float64)) - 1, 0)
        shift = self.gains + draw.normal(size=(len(profiles), len(self.modes))) @ self.modes
        amounts *= np.exp2(shift + draw.normal(0, self.noise, profiles.shape))
        amounts /= np.maximum(amounts.sum(axis=1, keepdims=True), 1)
        reads = self.reads * np.exp(draw.normal(0, _READS_SPREAD, (len(profiles), 1)))
        counts = draw.poisson(amounts * reads).astype(np.float64)
        counts[:, ~self.reported] = np.nan
        total = np.maximum(np.nansum(counts, axis=1, keepdims=True), 1)
        return np.asarray(counts / total * _MILLION, dtype=np.float32)


_READS_SPREAD: Final = 0.5  # in natural logarithms
_SHARE_WITHOUT_A_BLOCK: Final = 0.5
_BLOCK: Final = 0.25


def measured_elsewhere(
    profiles: NDArray[np.float32], *, laboratories: int, seed: int
) -> NDArray[np.float32]:
    """Each profile as one of `laboratories` made-up ones would report it, (n, n_features).

    Args:
        profiles: (n, n_features), log2(reads per million + 1), nothing missing.
    """
    draw = np.random.default_rng(seed)
    usual = profiles.mean(axis=0)
    sent_to = draw.integers(0, laboratories, len(profiles))
    reported = np.empty_like(profiles)
    for place in range(laboratories):
        laboratory = Laboratory.drawn(usual, draw)
        rows = np.flatnonzero(sent_to == place)
        reported[rows] = laboratory.measure(profiles[rows], draw)
    return reported


def mixed_with(
    profiles: NDArray[np.float32],
    hosts: NDArray[np.float32],
    *,
    least: float = 0.0,
    most: float,
    seed: int,
) -> NDArray[np.float32]:
    """Each profile with some tissue of another in it, as a sample of a metastasis has.

    Args:
        profiles: (n, n_features), log2(reads per million + 1), nothing missing.
        hosts: (m, n_features), what is mixed in, in the same unit; each as often as any other.
        least, most: Of the reads; between them every share is as likely.
    """
    draw = np.random.default_rng(seed)
    host = hosts[draw.integers(0, len(hosts), len(profiles))].astype(np.float64)
    share = draw.uniform(least, most, (len(profiles), 1))
    own = np.exp2(profiles.astype(np.float64)) - 1
    return np.asarray(
        np.log2((1 - share) * own + share * (np.exp2(host) - 1) + 1), dtype=np.float32
    )
