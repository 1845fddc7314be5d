"""Trains a small model and says how good it is."""

import pandas as pd
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

iris = load_iris(as_frame=True)
frame: pd.DataFrame = iris.frame
train, test = train_test_split(frame, test_size=0.2, random_state=0)
model = RandomForestClassifier(n_estimators=20, random_state=0)
model.fit(train[iris.feature_names], train["target"])
score = model.score(test[iris.feature_names], test["target"])
print(f"accuracy {score:.2f} on {len(test)} of {len(frame)} flowers")
