"""The script that a user of torchcfm would write: python -m tests.benchmarks.script FILES -o OUT.

It reads clouds, trains a network of three hidden layers of 64 units, and saves it.
"""

import argparse

import numpy as np
import torch

from tests.benchmarks.rivals import Torchcfm


def main() -> None:
    """Read, train, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("-o", "--output", required=True)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    loop = Torchcfm([np.loadtxt(f, delimiter=",", skiprows=1) for f in asked.files], 64, 256)
    loop.train(asked.steps)
    torch.save(loop.network.state_dict(), asked.output)


if __name__ == "__main__":
    main()
