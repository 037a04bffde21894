"""The proof of what graduation's statistics promise: `make judgement`."""
