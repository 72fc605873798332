"""Presets: the published methods, each a named triple of parts."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """A method: a named triple of coupling, interpolant and objective.

    Args:
        coupling: spec of the joint distribution of (x0, x1).
        interpolant: spec of the path between them.
        objective: spec of what is regressed.
        summary: one line for `cfm list`.
        reference: author, year, arXiv id.
        use: when to choose it.
        both_sides: whether an unobserved time is predicted from the snapshots on both sides of it.
    """

    coupling: str
    interpolant: str
    objective: str
    summary: str
    reference: str
    use: str
    both_sides: bool = False


_LIPMAN = "Lipman et al. (2023), arXiv 2210.02747"
_TONG = "Tong et al. (2024), arXiv 2302.00482"
_SI = "Albergo, Boffi & Vanden-Eijnden (2023), arXiv 2303.08797"
_POOLADIAN = "Pooladian et al. (2023), arXiv 2304.14772"

BRIDGE_SHARES = {"constant": 1.0, "linear": 1 / 3, "cosine": 1 / 2}
"""Integral of sigma^2(t) over a gap for each schedule of a bridge, in units of sigma^2."""

METHODS: dict[str, Preset] = {
    "otcfm": Preset(
        "exact",
        "linear",
        "velocity",
        "Optimal-transport flow matching: straight paths between optimally paired points.",
        f"{_TONG}, Prop. 3.4",
        "the default: straight, cheap to integrate, close to dynamic optimal transport",
    ),
    "icfm": Preset(
        "independent",
        "linear",
        "velocity",
        "Independent conditional flow matching: straight paths between random pairs.",
        f"{_TONG}, Prop. 3.3",
        "only the marginals matter, not which point goes where",
    ),
    "sbcfm": Preset(
        "sinkhorn:reg=2",
        "brownian:sigma=1",
        "velocity",
        "Schrodinger-bridge conditional flow matching: Brownian bridges between entropic pairs.",
        f"{_TONG}, Prop. 3.5",
        "the source spreads by diffusion; reg is tied to 2 sigma^2",
    ),
    "fm": Preset(
        "independent",
        "onesided-linear:sigma=0.01",
        "velocity",
        "Flow matching from a standard normal source (one-sided Gaussian path).",
        _LIPMAN,
        "a generator of one cloud: --source gaussian",
    ),
    "vp": Preset(
        "independent",
        "trigonometric:sigma=0.1",
        "velocity",
        "Variance-preserving path between random pairs, with a constant blur.",
        f"{_TONG}, sec. 3; Albergo & Vanden-Eijnden (2022), arXiv 2209.15571",
        "both ends are standardised and intermediate densities should keep unit variance",
    ),
    "interflow": Preset(
        "independent",
        "trigonometric",
        "velocity",
        "InterFlow: trigonometric interpolant between random pairs, no latent noise.",
        "Albergo & Vanden-Eijnden (2022), arXiv 2209.15571, eq. 5",
        "two densities of equal scale, likelihoods along a variance-preserving path",
    ),
    "si": Preset(
        "independent",
        "linear:gamma=sqrt",
        "velocity+denoiser",
        "Stochastic interpolant: a latent between random pairs, velocity and denoiser learnt.",
        _SI,
        "dynamics from deterministic to any diffusion, chosen after training (--sde)",
    ),
    "sf2m": Preset(
        "exact",
        "brownian:sigma=1",
        "sf2m",
        "[SF]2M: Brownian bridges between optimal pairs, velocity and score learnt together.",
        "Tong et al. (2024), arXiv 2307.03672",
        "stochastic dynamics between snapshots; with --coupling sinkhorn:reg=2 the exact bridge",
    ),
    "batcheot": Preset(
        "sinkhorn:entropy=0.2",
        "linear",
        "velocity",
        "Multisample flow matching with entropic pairs (BatchEOT).",
        _POOLADIAN,
        "pairs between optimal and random; smoother fields than optimal pairs of few points",
    ),
    "stable": Preset(
        "stable",
        "linear",
        "velocity",
        "Multisample flow matching with stable pairs: no two points would both rather swap.",
        _POOLADIAN,
        "distances whose size means little: only their ranks count",
    ),
    "heuristic": Preset(
        "heuristic",
        "linear",
        "velocity",
        "Multisample flow matching with stable pairs improved by swaps of their targets.",
        _POOLADIAN,
        "nearly optimal pairs, found by swaps",
    ),
    "uotcfm": Preset(
        "unbalanced",
        "linear",
        "velocity",
        "Flow matching between unbalanced pairs: far or excess mass may stay out.",
        "Chizat et al. (2018), arXiv 1607.05816; Tong et al. (2024), arXiv 2302.00482",
        "outliers, or populations whose composition changes between snapshots",
    ),
    "wfrfm": Preset(
        "wfr",
        "wfr",
        "velocity+growth",
        "Wasserstein-Fisher-Rao flow matching: mass travels, and grows or shrinks on the way.",
        "Chizat et al. (2018), arXiv 1508.05216; Liero, Mielke & Savaré (2018), arXiv 1508.07941",
        "cells that divide and die: growth rates, and populations that change size",
    ),
    "rf": Preset(
        "paired",
        "linear",
        "velocity",
        "Rectified flow: straight paths between points and where a trained flow took them.",
        "Liu et al. (2022), arXiv 2209.03003",
        "one-step sampling: straighten a trained run (--from-run RUN)",
    ),
    "auto": Preset(
        "exact",
        "bent",
        "velocity",
        "Optimal pairs on paths that bend as the course does, as far as inner scores say.",
        f"{_TONG}, Prop. 3.4; Rohbeck et al. (2025), ICLR (splines)",
        "time courses of three snapshots or more: states at times that nobody observed",
        both_sides=True,
    ),
    "static-ot": Preset(
        "exact",
        "linear",
        "static",
        "Displacement interpolation of the optimal plan: no network, no training.",
        "McCann (1997), doi 10.1006/aima.1997.1634",
        "the baseline that every trained flow has to beat",
    ),
}
