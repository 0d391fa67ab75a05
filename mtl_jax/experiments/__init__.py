"""Which runs answer the question, how their scores are pooled and compared."""
