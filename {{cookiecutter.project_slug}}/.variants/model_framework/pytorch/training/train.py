"""The data and the model: change this file for a model of your own."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from training.dataset import Dataset

SEED = 0
EPOCHS = 30
BATCH = 64


def load_data() -> Dataset:
    """Load 1,797 handwritten digits, as pictures of 8 x 8 pixels from 0 to 16."""
    digits = load_digits()
    return Dataset(
        name="Digits (Alpaydin and Kaynak, 1998)",
        rows=digits.images.astype(np.float32),
        target="digit",
        labels=digits.target,
    )


class Network(nn.Module):
    """A convolution, and a layer that scores each class.

    ``forward`` takes pictures of shape (rows, 8, 8) and returns scores of shape (rows, 10), without a softmax,
    which the service adds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(256, 10),
        )

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Score the classes of pictures."""
        scores: torch.Tensor = self.layers(pictures.unsqueeze(1) / 16)
        return scores


def fit(data: Dataset) -> Network:
    """Fit the network with Adam, on batches in an order set by the seed."""
    torch.manual_seed(SEED)
    # A single thread adds numbers in the same order each time.
    torch.set_num_threads(1)
    model = Network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    pictures, labels = torch.from_numpy(data.rows), torch.from_numpy(data.labels)
    for _ in range(EPOCHS):
        for places in torch.randperm(len(pictures)).split(BATCH):
            loss = nn.functional.cross_entropy(model(pictures[places]), labels[places])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model
