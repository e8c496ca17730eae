"""A classifier of texts: an embedding, two LSTMs that read both ways, the mean over the words."""

from paddle import Tensor, nn


class Classifier(nn.Layer):
    """(n, l) of words to (n, classes)."""

    def __init__(self, words: int = 50, width: int = 8, hidden: int = 6, classes: int = 3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, hidden, num_layers=2, direction="bidirect")
        self.fc = nn.Linear(2 * hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(self.embedding(x))  # n l 2h
        return self.fc(y.mean(1))


def build() -> Classifier:
    """The model that is compared."""
    return Classifier()
