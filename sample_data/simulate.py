"""Make the sample data: a simulated single-cell time course, and two toy clouds.

    python sample_data/simulate.py [FOLDER]

rewrites every data file of FOLDER (default: the folder of this script), byte for byte the same.
Equations, parameters and columns are in README.md beside this script.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from cfmcli.data.toys import eight_gaussians, moons

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Labels = npt.NDArray[np.str_]

SEED = 2024
CELLS_PER_DAY = {0.0: 300, 1.0: 340, 2.5: 400, 5.0: 460}
PROGRAMMES = {"Stem": 8, "Early": 5, "ArmA": 7, "ArmB": 6, "House": 4}
TARGET_SUM = 500.0
FOUNDERS, DAYS = 400, (0.0, 1.0, 2.0, 3.0)


@dataclass(frozen=True)
class Development:
    """Maturation s and fate u of a cell, a two-dimensional diffusion in days.

    ds = rate (1 - s) dt + noise_s dW₁
    du = (gain (s - onset) u - u³ + bias) dt + noise_u dW₂
    """

    rate: float = 0.5
    noise_s: float = 0.10
    gain: float = 4.0
    onset: float = 0.35
    bias: float = 0.10
    noise_u: float = 0.25
    committed: float = 0.6
    step: float = 0.01

    def start(self, cells: int, rng: np.random.Generator) -> Array:
        """Cells at day 0 as (s, u), shape (cells, 2): immature, uncommitted, each different."""
        return np.array([0.10, 0.15]) * rng.standard_normal((cells, 2))

    def evolve(self, state: Array, days: float, rng: np.random.Generator) -> Array:
        """The same cells some days later, by Euler-Maruyama, shape (cells, 2)."""
        steps = int(np.ceil(days / self.step - 1e-9))
        dt = days / max(steps, 1)
        noise = np.sqrt(dt) * np.array([self.noise_s, self.noise_u])
        for _ in range(steps):
            state = state + dt * self.drift(state) + noise * rng.standard_normal(state.shape)
        return state

    def drift(self, state: Array) -> Array:
        """Deterministic part of the motion: a potential whose one valley becomes two."""
        s, u = state.T
        fate = self.gain * (s - self.onset) * u - u**3 + self.bias
        return np.column_stack([self.rate * (1 - s), fate])

    def branch(self, state: Array) -> Labels:
        """What a cell looks like: a progenitor until its fate leaves the middle."""
        u = state[:, 1]
        arms = self.fate(state)
        return np.where(np.abs(u) < self.committed, "progenitor", arms)

    def fate(self, state: Array) -> Labels:
        """The side of the ridge that a cell is on."""
        return np.where(state[:, 1] > 0, "arm_a", "arm_b")


@dataclass(frozen=True)
class Genes:
    """How each gene follows the latent state: rate = exp(base + fold · activation)."""

    programme: Labels
    base: Array
    fold: Array
    midpoint: Array
    slope: Array
    dispersion: float = 0.15
    depth_spread: float = 0.30

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Genes":
        """Genes of every programme with parameters of their own."""
        programme = np.repeat(list(PROGRAMMES), list(PROGRAMMES.values()))
        n = len(programme)
        return cls(
            programme=programme,
            base=rng.uniform(np.log(2), np.log(10), n),
            fold=rng.uniform(1.0, 2.2, n),
            midpoint=rng.uniform(0.25, 0.75, n),
            slope=rng.uniform(4.0, 8.0, n),
        )

    @property
    def names(self) -> list[str]:
        """Gene symbols, counted within the programme: Stem1, Stem2, ..., House4."""
        return [f"{name}{i + 1}" for name, n in PROGRAMMES.items() for i in range(n)]

    def rates(self, state: Array) -> Array:
        """Expected counts of a cell of depth one, shape (cells, genes)."""
        return np.exp(self.base + self.fold * self._activation(state))

    def counts(self, state: Array, rng: np.random.Generator) -> Counts:
        """Negative-binomial counts at cell-specific log-normal depth, shape (cells, genes)."""
        depth = np.exp(self.depth_spread * rng.standard_normal((len(state), 1)))
        shape = 1 / self.dispersion
        burst = rng.gamma(shape, 1 / shape, (len(state), len(self.base)))
        return rng.poisson(depth * self.rates(state) * burst)

    def _activation(self, state: Array) -> Array:
        """How far each gene is switched on, in [0, 1], shape (cells, genes)."""
        s, u = state.T[:, :, None]
        zero = np.zeros_like(s)
        driver = np.select([self.programme == "ArmA", self.programme == "ArmB"], [u, -u], s)
        switch = 1 / (1 + np.exp(-self.slope * (driver - self.midpoint)))
        pulse = 4 * switch * (1 - switch)
        other = [1 - switch, pulse, zero]
        return np.select(
            [self.programme == name for name in ("Stem", "Early", "House")], other, switch
        )


@dataclass(frozen=True)
class Paths:
    """The truth that no experiment sees: the same cells at every time.

    Args:
        times: the days, shape (T,).
        latent: (s, u) of each cell at each time, shape (cells, T, 2).
        rates: expected counts at depth one, shape (cells, T, genes).
        fate: the arm that each cell is on at the last day, shape (cells,).
    """

    times: Array
    latent: Array
    rates: Array
    fate: Labels


@dataclass(frozen=True)
class Simulation:
    """A destructive experiment, and the process behind it.

    Args:
        seed: what all randomness comes from.
        development: the latent process.
        genes: the genes that are measured.
        cells: `day` and `branch` of each cell, indexed by its id.
        latent: (s, u) of each cell when it was measured, shape (cells, 2).
        counts: the measurement, shape (cells, genes).
    """

    seed: int
    development: Development
    genes: Genes
    cells: pd.DataFrame
    latent: Array
    counts: Counts

    def paths(self, cells: int, times: npt.ArrayLike) -> Paths:
        """Follow fresh cells through increasing times without destroying them."""
        rng = _generator(self.seed, "paths")
        days = np.asarray(times, np.float64)
        state = self.development.start(cells, rng)
        states = []
        for elapsed in np.diff(days, prepend=0.0):
            state = self.development.evolve(state, elapsed, rng)
            states.append(state)
        remaining = max(0.0, max(CELLS_PER_DAY) - days[-1])
        fate = self.development.fate(self.development.evolve(state, remaining, rng))
        rates = np.stack([self.genes.rates(state) for state in states], axis=1)
        return Paths(days, np.stack(states, axis=1), rates, fate)

    def to_anndata(self) -> ad.AnnData:
        """All cells as an experimenter gets them: raw counts, day and branch."""
        counts = sparse.csr_matrix(self.counts.astype(np.float32))
        obs = self.cells.assign(branch=self.cells["branch"].astype("category"))
        return ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=self.genes.names))

    def to_frame(self, day: float) -> pd.DataFrame:
        """Cells of one day: log(1 + counts, scaled to the same sum in each cell), and branch."""
        here = (self.cells["day"] == day).to_numpy()
        counts = self.counts[here]
        values = np.log1p(TARGET_SUM * counts / counts.sum(axis=1, keepdims=True))
        frame = pd.DataFrame(values.round(4), self.cells.index[here], self.genes.names)
        return frame.assign(branch=self.cells["branch"][here])


@dataclass(frozen=True)
class Expansion:
    """Two lineages in the plane, of which one divides: a branching diffusion in days.

    dx = pace (1 - x) dt + noise dW₁
    dy = stiffness y (1 - y²) dt + noise dW₂
    A cell divides at the rate birth σ(steepness y), with σ the logistic function, and dies at the
    rate death.
    """

    pace: float = 0.4
    stiffness: float = 1.0
    noise: float = 0.15
    birth: float = 0.8
    steepness: float = 4.0
    death: float = 0.15
    upper: float = 0.4
    step: float = 0.01

    def start(self, cells: int, rng: np.random.Generator) -> Array:
        """Cells at day 0, shape (cells, 2): a share `upper` of them near y = 1, others near -1."""
        lineage = np.where(np.arange(cells) < self.upper * cells, 1.0, -1.0)
        return np.column_stack([np.zeros(cells), lineage]) + 0.25 * rng.standard_normal((cells, 2))

    def drift(self, state: Array) -> Array:
        """Deterministic part of the motion."""
        x, y = state.T
        return np.column_stack([self.pace * (1 - x), self.stiffness * y * (1 - y**2)])

    def growth(self, state: Array) -> Array:
        """Births less deaths, per day, shape (cells,)."""
        return self.birth / (1 + np.exp(-self.steepness * state[:, 1])) - self.death

    def evolve(self, state: Array, days: float, rng: np.random.Generator) -> Array:
        """The survivors and daughters of cells some days later, shape (cells then, 2)."""
        for _ in range(round(days / self.step)):
            noise = self.noise * np.sqrt(self.step) * rng.standard_normal(state.shape)
            state = state + self.step * self.drift(state) + noise
            births = rng.random(len(state)) < self.step * (self.growth(state) + self.death)
            alive = rng.random(len(state)) >= self.step * self.death
            state = np.concatenate([state[alive], state[births]])
        return state

    def paths(self, state: Array, times: npt.ArrayLike) -> tuple[Array, Array]:
        """Where cells go without noise, and the log of what each becomes on average.

        Args:
            state: cells at the first time, shape (n, 2).
            times: increasing days, shape (T,).

        Returns:
            Positions, shape (T, n, 2), and log masses, shape (T, n).
        """
        places, logs = [state], [np.zeros(len(state))]
        for elapsed in np.diff(np.asarray(times, np.float64)):
            here, log = places[-1], logs[-1]
            steps = round(elapsed / self.step)
            for _ in range(steps):
                log = log + elapsed / steps * self.growth(here)
                here = here + elapsed / steps * self.drift(here)
            places.append(here)
            logs.append(log)
        return np.stack(places), np.stack(logs)

    def to_frame(self, seed: int = SEED) -> pd.DataFrame:
        """Every day's cells, grown from founders of their own, with their true growth rate."""
        rng = _generator(seed, "expansion")
        frames = []
        for day in DAYS:
            state = self.evolve(self.start(FOUNDERS, rng), day, rng)
            names = pd.Index([f"e{day:g}_{i + 1:04d}" for i in range(len(state))], name="cell")
            columns = {"day": day, "x": state[:, 0], "y": state[:, 1]}
            frames.append(pd.DataFrame(columns | {"true_growth": self.growth(state)}, index=names))
        return pd.concat(frames).round(4)


def simulate(seed: int = SEED) -> Simulation:
    """Run the experiment: at each day other cells are grown from day 0 and measured."""
    development = Development()
    genes = Genes.draw(_generator(seed, "genes"))
    rng = _generator(seed, "cells")
    latent = np.concatenate(
        [
            development.evolve(development.start(cells, rng), day, rng)
            for day, cells in CELLS_PER_DAY.items()
        ]
    )
    names = [f"d{day:g}_{i + 1:03d}" for day, n in CELLS_PER_DAY.items() for i in range(n)]
    obs = pd.DataFrame(
        {
            "day": np.repeat(list(CELLS_PER_DAY), list(CELLS_PER_DAY.values())),
            "branch": development.branch(latent),
        },
        index=pd.Index(names, name="cell"),
    )
    return Simulation(seed, development, genes, obs, latent, genes.counts(latent, rng))


def write(folder: Path, seed: int = SEED) -> None:
    """Write every data file of this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    simulation = simulate(seed)
    simulation.to_anndata().write_h5ad(folder / "timecourse.h5ad", compression="gzip")
    for day in CELLS_PER_DAY:
        simulation.to_frame(day).to_csv(folder / f"day{day:g}.csv", lineterminator="\n")
    Expansion().to_frame(seed).to_csv(folder / "growing.csv", lineterminator="\n")
    rng = _generator(seed, "clouds")
    for name, cloud in {"source": moons(500, rng), "target": eight_gaussians(512, rng)}.items():
        frame = pd.DataFrame(cloud.round(4), columns=["x", "y"])
        frame.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")


def _generator(seed: int, purpose: str) -> np.random.Generator:
    """A stream of its own for each purpose, so that none disturbs another."""
    return np.random.default_rng([seed, *purpose.encode()])


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
