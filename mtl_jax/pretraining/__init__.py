"""The source task: a classification on which the convolutions are trained before any transfer."""
