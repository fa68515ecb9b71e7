"""Train and pickle the tutorial's model."""

import pickle

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

rows, classes = load_iris(return_X_y=True)
with open("model.pkl", "wb") as file:
    pickle.dump(LogisticRegression(max_iter=1000).fit(rows, classes), file)
